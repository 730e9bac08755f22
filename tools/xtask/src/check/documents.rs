// SPDX-License-Identifier: BSD-2-Clause
//! What the documents refer to exists: paths, links, headings, commands and messages. [`documents`] lists the documents.

use crate::Cli;
use crate::project::{Project, names_in};
use anyhow::{Context, Result};
use clap::CommandFactory;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use regex::Regex;
use std::fs;
use std::path::Path;

/// The documents outside `docs`.
const DOCUMENTS: [&str; 5] = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "src/README.md"];

/// The document whose tables explain messages of the libraries.
const MESSAGES: &str = "docs/troubleshooting.md";
/// As many consecutive words of a message are looked for in the source.
const WORDS: usize = 3;

/// Returns the paths of all documents, those of `docs` last and in the order of their names.
pub(crate) fn documents(project: &Project) -> Result<Vec<String>> {
    let mut guides: Vec<String> =
        names_in(&project.root.join("docs"))?.into_iter().filter(|name| name.ends_with(".md")).collect();
    guides.sort();
    Ok(DOCUMENTS.map(str::to_owned).into_iter().chain(guides.iter().map(|name| format!("docs/{name}"))).collect())
}

/// Returns a line for each reference to something that does not exist.
pub(super) fn broken_references(project: &Project) -> Result<Vec<String>> {
    let path =
        Regex::new(r"`((?:src|tests|tools|docs|c-tests|examples|include|pkgconfig|dist|\.ci|\.cargo)/[\w./-]*)`")?;
    let command = Regex::new(r"cargo xtask ([a-z][a-z-]*)")?;
    let known: Vec<String> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut wrong = Vec::new();
    for document in documents(project)? {
        let text = fs::read_to_string(project.root.join(&document)).with_context(|| document.clone())?;
        for found in path.captures_iter(&text).filter_map(|captures| captures.get(1)) {
            // A path with "foo" in it is an example.
            if !found.as_str().to_lowercase().contains("foo") && !project.root.join(found.as_str()).exists() {
                wrong.push(format!("{document} names {}, which does not exist", found.as_str()));
            }
        }
        for found in command.captures_iter(&text).filter_map(|captures| captures.get(1)) {
            if !known.iter().any(|name| name == found.as_str()) {
                wrong.push(format!("{document} names cargo xtask {}, which does not exist", found.as_str()));
            }
        }
        for link in links(&text).iter().filter(|link| !resolves(&project.root.join(&document), &text, link)) {
            wrong.push(format!("{document} links to {link}, which does not exist"));
        }
    }
    let source = source(project)?;
    let text = fs::read_to_string(project.root.join(MESSAGES)).context(MESSAGES)?;
    for message in messages(&text) {
        if !occurs(&message, &source)? {
            wrong.push(format!("{MESSAGES} explains `{message}`, which no library prints"));
        }
    }
    Ok(wrong)
}

/// The words of the Rust files of the libraries, with continued lines joined.
fn source(project: &Project) -> Result<String> {
    let mut source = String::new();
    for path in project.files("src")?.iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")) {
        source += &fs::read_to_string(project.root.join(path)).with_context(|| path.display().to_string())?;
    }
    words(&Regex::new(r"\\\n\s*")?.replace_all(&source, ""))
}

/// The words of a text with a space around each, without punctuation and without what is filled in: `{}` in the source,
/// `...` in a document.
fn words(text: &str) -> Result<String> {
    let text = Regex::new(r"\{[^{}\n]*\}|\.\.\.")?.replace_all(text, " ");
    let words = text.split_whitespace().map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()));
    Ok(words.filter(|word| !word.is_empty()).fold(" ".to_owned(), |words, word| words + word + " "))
}

/// The messages in the first column of the tables. Other programs print those with "(from".
fn messages(markdown: &str) -> Vec<String> {
    let ours = |line: &&str| line.starts_with("| `") && !line.contains("` (from ");
    let first = |line: &str| line.split(" | ").next().unwrap_or_default().to_owned();
    let cells: Vec<String> = markdown.lines().filter(ours).map(first).collect();
    cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Whether the words of the source contain [`WORDS`] consecutive words of a message, or all of a shorter one. The rest
/// of it may come from elsewhere, such as a path or the system's reason.
fn occurs(message: &str, source: &str) -> Result<bool> {
    let words = words(message)?;
    let words: Vec<&str> = words.split_whitespace().collect();
    Ok(words.windows(WORDS.min(words.len()).max(1)).any(|words| source.contains(&format!(" {} ", words.join(" ")))))
}

/// The targets of the links and images of a document, but for those with a scheme such as https.
fn links(markdown: &str) -> Vec<String> {
    let target = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    };
    Parser::new(markdown).filter_map(target).filter(|target| !target.contains(':')).collect()
}

/// Whether the file of a link exists and, when the link names a heading, has that heading.
fn resolves(document: &Path, text: &str, link: &str) -> bool {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let linked = document.parent().unwrap_or(document).join(path);
    match heading {
        "" => linked.exists(),
        heading if path.is_empty() => has_heading(text, heading),
        heading => fs::read_to_string(linked).is_ok_and(|text| has_heading(&text, heading)),
    }
}

/// Whether a heading of the document has this anchor.
fn has_heading(markdown: &str, anchor: &str) -> bool {
    let mut heading: Option<String> = None;
    for event in Parser::new(markdown) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(text) | Event::Code(text), Some(heading)) => heading.push_str(&text),
            (Event::End(TagEnd::Heading(_)), Some(found)) => {
                if anchor_of(found) == anchor {
                    return true;
                }
                heading = None;
            }
            _ => {}
        }
    }
    false
}

/// The anchor that GitHub makes for a heading: lower case, hyphens for spaces, no punctuation.
fn anchor_of(heading: &str) -> String {
    let kept = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter),
        _ => None,
    };
    heading.to_lowercase().chars().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A TPM, by `cmd`\n[a](x.md) `[b](y.md)` ![c](z.png) <https://e.org> [d](https://e.org/) [e](#f)\n\
                        ```sh\n[g](h.md)\n```\n";

    #[test]
    fn links_without_a_scheme_are_found_and_code_is_skipped() {
        assert_eq!(links(TEXT), ["x.md", "z.png", "#f"]);
    }

    #[test]
    fn a_message_occurs_if_three_of_its_words_do() {
        let text = "| message | what to do |\n| `/dev/x: ... (a ..., b c)` | `d` |\n| `e` (from x) | f |\n";
        let [message] = &messages(text)[..] else { panic!("{:?}", messages(text)) };
        let occurs = |source: &str| occurs(message, &words(source).unwrap()).unwrap();
        assert!(occurs("fail!(\"{path} (a {n:#x}, b c)\")"));
        assert!(!occurs("fail!(\"{path} (a {n:#x}, c)\")"));
    }

    #[test]
    fn a_heading_is_found_by_its_anchor() {
        assert!(has_heading(TEXT, "a-tpm-by-cmd"));
        assert!(!has_heading(TEXT, "a-tpm"));
    }

    #[test]
    fn a_link_to_a_missing_file_or_heading_does_not_resolve() {
        let dir = tempfile::tempdir().unwrap();
        let document = dir.path().join("a.md");
        fs::write(dir.path().join("b.md"), "# Here\n").unwrap();
        for link in ["b.md", "b.md#here", "#a-tpm-by-cmd"] {
            assert!(resolves(&document, TEXT, link), "{link}");
        }
        for link in ["c.md", "b.md#there", "#here", "c.md#here"] {
            assert!(!resolves(&document, TEXT, link), "{link}");
        }
    }
}
