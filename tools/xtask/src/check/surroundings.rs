// SPDX-License-Identifier: BSD-2-Clause
//! Checks that the table "Environment and files" of SECURITY.md lists every environment variable, every path and every file
//! with a call that opens something, of the libraries, and nothing else.

use crate::project::Project;
use anyhow::{Context, Result};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "SECURITY.md";
const HEADING: &str = "## Environment and files";

/// What the libraries take from outside, or what the table lists.
#[derive(Default, PartialEq, Eq, Debug)]
struct Surroundings {
    variables: BTreeSet<String>,
    /// With `*` for each part that is filled in.
    paths: BTreeSet<String>,
    files: BTreeSet<String>,
}

/// Returns a line for each difference between the table and the source.
pub(super) fn differences(project: &Project) -> Result<Vec<String>> {
    let text = fs::read_to_string(project.root.join(DOCUMENT)).context(DOCUMENT)?;
    let (listed, found) = (of_table(&text)?, of_source(project)?);
    let mut wrong = Vec::new();
    for (what, listed, found) in [
        ("the environment variable", &listed.variables, &found.variables),
        ("the path", &listed.paths, &found.paths),
        ("the file that opens something,", &listed.files, &found.files),
    ] {
        wrong.extend(found.difference(listed).map(|name| format!("{DOCUMENT}, {HEADING}: {what} {name} is missing")));
        wrong
            .extend(listed.difference(found).map(|name| format!("{DOCUMENT}, {HEADING}: {what} {name} is not in src")));
    }
    Ok(wrong)
}

/// Reads the quoted words of the first and of the last column.
fn of_table(document: &str) -> Result<Surroundings> {
    let (variable, path) = (Regex::new("^[A-Z][A-Z0-9_]+$")?, Regex::new(PATH)?);
    let section = document.split(HEADING).nth(1).context(HEADING)?;
    let mut listed = Surroundings::default();
    for row in
        section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let quoted = |cell: Option<&&str>| -> Vec<String> {
            cell.map_or_else(Vec::new, |cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        for word in quoted(cells.first()) {
            match () {
                () if variable.is_match(&word) => listed.variables.insert(word),
                () if path.is_match(&word) => listed.paths.insert(word),
                () => false,
            };
        }
        listed.files.extend(quoted(cells.last()));
    }
    Ok(listed)
}

/// A path, a library or the default capture.
const PATH: &str = r"^(?:/[a-z]+/.*|lib[\w.-]+\.so(?:\.\d)?|[\w.]+\.pcap)$";

fn of_source(project: &Project) -> Result<Surroundings> {
    let files: Vec<_> =
        project.files("src")?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs")).collect();
    let mut found = Surroundings::default();
    let mut texts = Vec::new();
    for path in files {
        texts.push((fs::read_to_string(project.root.join(&path))?, path));
    }
    let declares_tests = Regex::new(r"#\[cfg\((?:any\()?test\b[^\]]*\]\s*(?:pub(?:\([a-z]+\))? )?mod (\w+);")?;
    let tests: BTreeSet<_> = texts
        .iter()
        .flat_map(|(text, path)| {
            declares_tests
                .captures_iter(text)
                .filter_map(|it| it.get(1))
                .map(|name| (dir(path), name.as_str().to_owned()))
        })
        .collect();
    for (text, path) in &texts {
        let is_test = path
            .iter()
            .filter_map(|part| Path::new(part).file_stem()?.to_str())
            .any(|part| tests.contains(&(dir(path), part.to_owned())));
        let is_build_script = path.ends_with("build.rs") || path.ends_with("ffi/link.rs");
        if !is_test && !is_build_script {
            add(&mut found, text, &path.display().to_string())?;
        }
    }
    Ok(found)
}

/// Returns the crate of a file: the directory below `src`.
fn dir(path: &Path) -> String {
    path.iter().nth(1).map_or_else(String::new, |dir| dir.to_string_lossy().into_owned())
}

/// Calls that open, connect or start something. The functions of nix have common names, so their import counts.
const OPENS: &str = r"(?x) \bFile::(?:open|create) | \bOpenOptions::new | \bfs::(?:read|write)\w*\( | \bopenat\(
    | nix::fcntl::\{?[^;]*\bopen\b | \bLibrary::(?:open|new)\( | \bCommand::new\( | \bsocket::\{?[^;]*\bconnect\b
    | \bdevice\.open\(\)";

/// Adds what a file contains, without comments and unit tests.
fn add(found: &mut Surroundings, text: &str, name: &str) -> Result<()> {
    let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n");
    let variable = Regex::new(r#"(?:\bvar|\bvar_os|getenv)\(\s*(?:c?"(\w+)"|(\w+))"#)?;
    for captures in variable.captures_iter(&code) {
        let constant =
            captures.get(2).map(|it| Regex::new(&format!(r#"const {}: [^=]*= c?"(\w+)""#, it.as_str()))).transpose()?;
        let value = constant.and_then(|it| it.captures(&code)?.get(1).map(|it| it.as_str().to_owned()));
        let unknown = captures.get(2).map(|it| it.as_str().to_owned());
        found.variables.extend(captures.get(1).map(|it| it.as_str().to_owned()).or(value).or(unknown));
        found.files.insert(name.to_owned());
    }
    if Regex::new(OPENS)?.is_match(&code) {
        found.files.insert(name.to_owned());
    }
    let (path, filled_in) = (Regex::new(PATH)?, Regex::new(r"(?:\{[^}]*\})+")?);
    for literal in Regex::new(r#""((?:[^"\\\n]|\\.)*)""#)?.captures_iter(&code).filter_map(|it| it.get(1)) {
        let literal = filled_in.replace_all(literal.as_str(), "*").into_owned();
        if path.is_match(&literal) {
            found.paths.insert(literal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_table_is_read() {
        let text = format!(
            "{HEADING}\n| what | how | where |\n|---|---|---|\n| `A_B` and `/a/*` | `O_X` | `src/x.rs` |\n\n| `C` | |\n"
        );
        let listed = of_table(&text).unwrap();
        assert_eq!(listed, Surroundings { variables: set(&["A_B"]), paths: set(&["/a/*"]), files: set(&["src/x.rs"]) });
    }

    #[test]
    fn variables_paths_and_calls_are_found_outside_of_tests_and_comments() {
        let source = "const NAME: &str = \"A_B\";\n// \"/no/comment\"\nlet it = env::var_os(NAME);\nlet x = env::var(\"C_D\");\n\
                      format!(\"/a/{b:03}{c}\");\n#[cfg(test)]\nmod tests { File::open(\"/no/test\"); }\n";
        let mut found = Surroundings::default();
        add(&mut found, source, "one.rs").unwrap();
        add(&mut found, "use nix::fcntl::{OFlag, open};", "two.rs").unwrap();
        add(&mut found, "fn open() {}\nlet it = T::open();", "three.rs").unwrap();
        let files = set(&["one.rs", "two.rs"]);
        assert_eq!(found, Surroundings { variables: set(&["A_B", "C_D"]), paths: set(&["/a/*"]), files });
    }
}
