// SPDX-License-Identifier: BSD-2-Clause
//! The conventions of the tree, held by machine.

use crate::project::{Project, names_in};
use crate::{Cli, headers, manual, needs, unsafety};
use anyhow::{Result, bail};
use clap::CommandFactory;
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Longest C face of a module, in lines of code.
const MAX_FACE_LINES: usize = 50;
/// The documents whose paths and commands are held against the tree.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "src/README.md",
    "docs/early-boot.md",
    "docs/fuzzing.md",
    "docs/performance.md",
    "docs/reliability.md",
    "docs/soak.md",
];

/// Prints what is wrong and fails, or what holds.
pub(crate) fn run(project: &Project) -> Result<()> {
    let unsafety = unsafety::survey(project)?;
    let mut wrong = unsafety.violations;
    wrong.extend(files_of_libraries(project)?);
    wrong.extend(headers::stale(project)?);
    wrong.extend(needs::forgotten(project)?);
    wrong.extend(documents(project)?);
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} things are not as they should be", wrong.len());
    }
    println!("unsafe code stands in these files alone, besides the exports of the C faces:");
    for (path, blocks) in unsafety.islands {
        println!("  {path} ({blocks} blocks)");
    }
    println!("all conventions hold");
    Ok(())
}

/// Each library has its header, .pc template, manual page and ABI list, and nothing of the kind has no library.
fn files_of_libraries(project: &Project) -> Result<Vec<String>> {
    let libraries = project.libraries()?;
    let mut wrong = Vec::new();
    let mut compare = |dir: &str, wanted: BTreeSet<String>, is_ours: &dyn Fn(&str) -> bool| -> Result<()> {
        let found: BTreeSet<String> =
            names_in(&project.root.join(dir))?.into_iter().filter(|name| is_ours(name)).collect();
        wrong.extend(wanted.difference(&found).map(|name| format!("{dir}/{name} is missing")));
        wrong.extend(found.difference(&wanted).map(|name| format!("{dir}/{name} belongs to no library")));
        Ok(())
    };
    let base = headers::BASE.map(str::to_owned);
    compare(headers::DIR, libraries.iter().map(|library| library.header()).chain(base).collect(), &|_| true)?;

    for library in &libraries {
        let face = fs::read_to_string(project.root.join(library.face()))?;
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = face.lines().filter(code).count();
        // The loader's face has seven functions.
        if lines > MAX_FACE_LINES && library.dir != "tctildr" {
            wrong
                .push(format!("{} has {lines} lines of code; a C face has {MAX_FACE_LINES}", library.face().display()));
        }
        let page = Path::new("src").join(&library.dir).join(format!("man/{}.7.md", library.name()));
        if !project.root.join(&page).exists() {
            wrong.push(format!("{} is missing", page.display()));
        }
        let manifest = fs::read_to_string(project.root.join(library.module()).join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse()?;
        let package = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        if package != Some(&library.name()) {
            wrong.push(format!(
                "{}/Cargo.toml names another package than {}",
                library.module().display(),
                library.name()
            ));
        }
    }
    let documented: BTreeSet<String> = pages_of_functions(project)?;
    for library in &libraries {
        for function in library.exports(project)?.iter().filter(|name| *name != "Tss2_Tcti_Info") {
            if !documented.contains(function) {
                wrong.push(format!("no manual page names the function {function}"));
            }
        }
    }
    Ok(wrong)
}

/// The functions that the NAME sections of the pages list.
fn pages_of_functions(project: &Project) -> Result<BTreeSet<String>> {
    let mut functions = BTreeSet::new();
    for page in manual::pages(project)? {
        let text = fs::read_to_string(project.root.join(page))?;
        let name = text.split("# NAME").nth(1).and_then(|rest| rest.split("\n#").next()).unwrap_or_default();
        let names = name.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        functions.extend(names.filter(|word| word.contains("_")).map(str::to_owned));
    }
    Ok(functions)
}

/// Every path and every command that a document names is there.
fn documents(project: &Project) -> Result<Vec<String>> {
    let path =
        Regex::new(r"`((?:src|tests|tools|docs|c-tests|examples|include|pkgconfig|dist|\.ci|\.cargo)/[\w./-]*)`")?;
    let command = Regex::new(r"cargo xtask ([a-z][a-z-]*)")?;
    let known: Vec<String> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let Ok(text) = fs::read_to_string(project.root.join(document)) else {
            wrong.push(format!("{document} is missing"));
            continue;
        };
        for found in path.captures_iter(&text).filter_map(|captures| captures.get(1)) {
            // A path with "foo" in it is an example.
            if !found.as_str().to_lowercase().contains("foo") && !project.root.join(found.as_str()).exists() {
                wrong.push(format!("{document} names {}, which is not there", found.as_str()));
            }
        }
        for found in command.captures_iter(&text).filter_map(|captures| captures.get(1)) {
            if !known.iter().any(|name| name == found.as_str()) {
                wrong.push(format!("{document} names cargo xtask {}, which there is not", found.as_str()));
            }
        }
    }
    Ok(wrong)
}
