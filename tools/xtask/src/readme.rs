// SPDX-License-Identifier: BSD-2-Clause
//! The commands of README.md and of the guides in `docs`, run as a reader would: every `sh` block of a document, in order, in
//! one shell per document.

use crate::check::documents::documents;
use crate::project::{Project, names_in};
use anyhow::{Context, Result, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// The documents whose commands change the tree. They run in a copy of it.
const CHANGE_THE_TREE: [&str; 1] = ["docs/new-module.md"];
/// The directory of the copy, below the target directory.
const COPY: &str = "documents";
/// The target directory of the copy, which stays there to shorten later runs.
const TARGET: &str = "target";

/// Runs every document that has `sh` blocks and fails when a command of one fails.
pub(crate) fn run(project: &Project) -> Result<()> {
    ensure!(
        project.target == project.root.join("target"),
        "the documents name target/stage, but cargo builds in {}: unset CARGO_TARGET_DIR or build.target-dir",
        project.target.display()
    );
    let mut failed = Vec::new();
    for document in documents(project)? {
        let text = fs::read_to_string(project.root.join(&document)).with_context(|| document.clone())?;
        let blocks = shell_blocks(&text);
        ensure!(!blocks.is_empty() || document != "README.md", "README.md has no command to run");
        if blocks.is_empty() {
            continue;
        }
        let dir = match CHANGE_THE_TREE.contains(&document.as_str()) {
            true => copy(project)?,
            false => project.root.clone(),
        };
        if !passes(project, &document, &blocks, &dir)? {
            failed.push(document);
        }
    }
    ensure!(failed.is_empty(), "a command failed in {}", failed.join(", "));
    Ok(())
}

/// Copies the tree without what was built, and returns the directory of the copy.
fn copy(project: &Project) -> Result<PathBuf> {
    let copy = project.target.join(COPY);
    fs::create_dir_all(&copy)?;
    let shell = project.shell()?;
    for name in names_in(&copy)?.iter().filter(|name| *name != TARGET) {
        shell.remove_path(copy.join(name))?;
    }
    let files = project.files(".")?;
    // With the times of the originals, so that cargo builds only what has changed.
    cmd!(shell, "cp --parents --preserve=mode,timestamps {files...} {copy}").quiet().run()?;
    Ok(copy)
}

/// Runs the blocks of a document in one shell, which starts in `dir`.
fn passes(project: &Project, document: &str, blocks: &[String], dir: &Path) -> Result<bool> {
    println!("running the {} blocks of commands in {document}", blocks.len());
    let script = format!("set -eu\n{}", blocks.concat());
    let shell = project.shell()?;
    shell.change_dir(dir);
    let output = cmd!(shell, "sh -c {script}").quiet().ignore_status().output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        eprintln!("a command in {document} failed: {}", output.status);
    }
    Ok(output.status.success())
}

/// Returns the text of each block that is marked `sh`.
fn shell_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside = false;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if &*language == "sh" => {
                inside = true;
                blocks.push(String::new());
            }
            Event::Text(text) if inside => blocks.last_mut().into_iter().for_each(|block| block.push_str(&text)),
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that run the blocks themselves.
    const RECURSIVE: [&str; 3] = ["cargo xtask test", "cargo xtask fresh", ".ci/run"];

    #[test]
    fn only_blocks_marked_sh_are_run() {
        let text = "a\n```sh\none\ntwo\n```\n```console\n$ three\n```\n`four`\n```sh\nfive\n```\n```\nsix\n```\n";
        assert_eq!(shell_blocks(text), ["one\ntwo\n", "five\n"]);
    }

    #[test]
    fn a_block_in_a_list_is_one_block_without_its_indentation() {
        assert_eq!(shell_blocks("* a\n\n  ```sh\n  one\n  two\n  ```\n"), ["one\ntwo\n"]);
    }

    #[test]
    fn no_sh_block_of_a_document_runs_the_documents() {
        let project = Project::find().unwrap();
        for document in documents(&project).unwrap() {
            let text = fs::read_to_string(project.root.join(&document)).unwrap();
            let script = shell_blocks(&text).concat();
            assert!(RECURSIVE.iter().all(|command| !script.contains(command)), "{document}");
        }
    }

    #[test]
    fn the_guides_are_among_the_documents() {
        let documents = documents(&Project::find().unwrap()).unwrap();
        assert!(documents.iter().any(|document| document == "docs/differences.md"), "{documents:?}");
        assert_eq!(documents.first().map(String::as_str), Some("README.md"));
    }
}
