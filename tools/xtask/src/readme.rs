// SPDX-License-Identifier: BSD-2-Clause
//! The commands of README.md, run as a reader would: every `sh` block, in order, in one shell.

use crate::project::Project;
use anyhow::{Context, Result, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use std::fs;
use xshell::cmd;

/// Fails when a command fails.
pub(crate) fn run(project: &Project) -> Result<()> {
    ensure!(
        project.target == project.root.join("target"),
        "README.md speaks of target/stage, but cargo builds in {}: unset CARGO_TARGET_DIR or build.target-dir",
        project.target.display()
    );
    let text = fs::read_to_string(project.root.join("README.md")).context("cannot read README.md")?;
    let blocks = shell_blocks(&text);
    ensure!(!blocks.is_empty(), "README.md has no command to run");
    println!("running the {} blocks of commands in README.md", blocks.len());
    let script = format!("set -eu\n{}", blocks.concat());
    let shell = project.shell()?;
    let output = cmd!(shell, "sh -c {script}").quiet().ignore_status().output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "a command in README.md failed: {}", output.status);
    Ok(())
}

fn shell_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside = false;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => inside = &*language == "sh",
            Event::Text(text) if inside => blocks.push(text.into_string()),
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_marked_sh_are_run() {
        let text = "a\n```sh\none\ntwo\n```\n```console\n$ three\n```\n`four`\n```sh\nfive\n```\n";
        assert_eq!(shell_blocks(text).concat(), "one\ntwo\nfive\n");
    }
}
