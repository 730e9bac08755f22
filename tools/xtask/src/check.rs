// SPDX-License-Identifier: BSD-2-Clause
//! Checks the conventions of the source tree: [`run`].

pub(crate) mod documents;
mod layers;
mod surroundings;
mod unsafety;

use crate::project::{Project, names_in};
use crate::{headers, manual, needs};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Maximum length of the file with a module's exported functions, in lines of code.
const MAX_FACE_LINES: usize = 50;

/// Prints all violations and fails, or lists the files with unsafe code if there are no violations.
pub(crate) fn run(project: &Project) -> Result<()> {
    let unsafety = unsafety::survey(project)?;
    let mut wrong = unsafety.violations;
    wrong.extend(files_of_libraries(project)?);
    wrong.extend(layers::violations(project)?);
    wrong.extend(headers::stale(project)?);
    wrong.extend(needs::unlisted(project)?);
    wrong.extend(documents::broken_references(project)?);
    wrong.extend(surroundings::differences(project)?);
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} violations of the conventions", wrong.len());
    }
    println!("files with unsafe code, apart from the exported functions:");
    for (path, blocks) in unsafety.islands {
        println!("  {path} ({blocks} blocks)");
    }
    println!("no violations of the conventions");
    Ok(())
}

/// Checks that each library has its header, manual page and package name, and that each header belongs to a library.
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
        // The loader exports seven functions.
        if lines > MAX_FACE_LINES && library.dir != "tctildr" {
            wrong
                .push(format!("{} has {lines} lines of code; the limit is {MAX_FACE_LINES}", library.face().display()));
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
                "the package in {}/Cargo.toml is not named {}",
                library.module().display(),
                library.name()
            ));
        }
    }
    let documented: BTreeSet<String> = documented_functions(project)?;
    for library in &libraries {
        for function in library.exports(project)?.iter().filter(|name| *name != "Tss2_Tcti_Info") {
            if !documented.contains(function) {
                wrong.push(format!("no manual page documents the function {function}"));
            }
        }
    }
    Ok(wrong)
}

/// Returns the functions that the NAME sections of the manual pages list.
fn documented_functions(project: &Project) -> Result<BTreeSet<String>> {
    let mut functions = BTreeSet::new();
    for page in manual::pages(project)? {
        let text = fs::read_to_string(project.root.join(page))?;
        let name = text.split("# NAME").nth(1).and_then(|rest| rest.split("\n#").next()).unwrap_or_default();
        let names = name.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        functions.extend(names.filter(|word| word.contains("_")).map(str::to_owned));
    }
    Ok(functions)
}
