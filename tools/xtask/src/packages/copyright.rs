// SPDX-License-Identifier: BSD-2-Clause
//! Adds the copyright holders and licences of the vendored crates to Debian's copyright file: [`with_crates`].

use super::vendor;
use crate::project::Project;
use anyhow::{Context, Result};
use serde_json::Value;

/// Returns `text` with a paragraph for each vendored crate, inserted before the licences.
pub(crate) fn with_crates(project: &Project, text: &str) -> Result<String> {
    let metadata = project.metadata(&["--locked"])?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata lists no packages")?;
    let foreign = packages.iter().filter(|package| package.get("source").is_some_and(|source| !source.is_null()));
    let crates: String = foreign.filter_map(paragraph).collect();
    let (ours, licences) = text
        .split_once("\nLicense: BSD-2-Clause\n\n")
        .context("the copyright file has no paragraph for BSD-2-Clause")?;
    Ok(format!("{ours}\nLicense: BSD-2-Clause\n{crates}\n{licences}"))
}

fn paragraph(package: &Value) -> Option<String> {
    let text = |key| package.get(key).and_then(Value::as_str);
    let (name, version) = (text("name")?, text("version")?);
    let authors = package.get("authors")?.as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n ");
    let holders = if authors.is_empty() { format!("The authors of the crate {name}") } else { authors };
    let licence = licence(text("license").unwrap_or("unknown"));
    Some(format!("\nFiles: {}/{name}-{version}/*\nCopyright: {holders}\nLicense: {licence}\n", vendor::DIR))
}

/// Converts an SPDX licence expression to Debian's notation.
fn licence(spdx: &str) -> String {
    spdx.replace(['(', ')'], "")
        .replace('/', " OR ")
        .replace("Apache-2.0 WITH LLVM-exception", "Apache-2.0 with LLVM exception")
        .replace("LGPL-2.1-or-later", "LGPL-2.1+")
        .replace(" OR ", " or ")
        .replace(" AND ", ", and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_converted_to_debian_notation() {
        assert_eq!(licence("MIT/Apache-2.0"), "MIT or Apache-2.0");
        assert_eq!(licence("(MIT OR Apache-2.0) AND Unicode-3.0"), "MIT or Apache-2.0, and Unicode-3.0");
        assert_eq!(licence("Apache-2.0 WITH LLVM-exception OR MIT"), "Apache-2.0 with LLVM exception or MIT");
    }
}
