// SPDX-License-Identifier: BSD-2-Clause
//! Checks that dependencies only point down: the product does not depend on tests or tools, only C faces link the C boundary,
//! and no source file is compiled into a second crate. Also that no two modules have the same magic.

use crate::project::Project;
use anyhow::{Context, Result};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The crate of the C boundary. It brings an allocator and a panic hook, which belong in no other library or program.
const C_BOUNDARY: &str = "tcti-ffi";
/// Whoever links it besides C faces: the contexts of the loader, and the fuzzer that calls contexts as C does.
const LINK_IT_TOO: [&str; 2] = ["src/tctildr", "tests/fuzz"];

/// The magic that the C modules cmd and mssim share, and ours with them.
const SHARED_IN_C: &str = "0xf05b04cd9f02728d";

/// Returns the violations.
pub(super) fn violations(project: &Project) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let dirs = ["src", "tests", "tools", "examples/module"];
    let mut files = Vec::new();
    for dir in dirs {
        files.extend(project.files(dir)?);
    }
    let manifests: Vec<_> =
        files.iter().filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml")).collect();
    let mut packages = BTreeMap::new();
    for path in &manifests {
        let text = fs::read_to_string(project.root.join(path))?;
        let manifest: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        let name = name.with_context(|| format!("{} names no package", path.display()))?.to_owned();
        // Unit tests may depend on more: those of spi-helper call contexts as C does.
        let tables = ["dependencies", "build-dependencies"];
        let tables = tables.iter().filter_map(|table| manifest.get(*table).and_then(toml::Value::as_table));
        let dependencies: Vec<String> = tables.flat_map(|table| table.keys().cloned()).collect();
        packages.insert(name, (path.parent().unwrap_or(Path::new("")), dependencies));
    }
    for (name, (dir, dependencies)) in &packages {
        for (dependency, (of, _)) in dependencies.iter().filter_map(|name| packages.get_key_value(name)) {
            if dir.starts_with("src") && !of.starts_with("src") {
                wrong.push(format!("{name} ships and depends on {dependency}, which does not"));
            }
            if dir.starts_with("tests") && of.starts_with("tools") {
                wrong.push(format!("the tests {name} depend on the tool {dependency}"));
            }
            if dependency == C_BOUNDARY
                && !dir.ends_with("module")
                && !LINK_IT_TOO.iter().any(|it| dir == &Path::new(it))
            {
                wrong.push(format!("{name} depends on {C_BOUNDARY}, which is for C faces"));
            }
        }
    }
    let magic = Regex::new(r"const MAGIC: u64 = (0x[0-9a-fA-F_]+);")?;
    let mut magics: BTreeMap<String, &Path> = BTreeMap::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(project.root.join(path))?;
        if text.lines().any(|line| line.trim_start().starts_with("#[path")) {
            wrong.push(format!("{} compiles a file of another module with #[path]", path.display()));
        }
        for found in magic.captures_iter(&text) {
            let number = found.get(1).map_or("", |number| number.as_str()).replace('_', "");
            if number == SHARED_IN_C {
                continue;
            }
            if let Some(other) = magics.insert(number, path) {
                wrong.push(format!(
                    "{} and {} have the same MAGIC; generate a random one",
                    other.display(),
                    path.display()
                ));
            }
        }
    }
    Ok(wrong)
}
