// SPDX-License-Identifier: BSD-2-Clause
//! Generates include/tss2: one header per library, made by cbindgen from its exported functions. The base headers
//! tss2_common.h and tss2_tcti.h define macros and are written by hand.

use crate::project::{Library, Project};
use anyhow::{Context, Result};
use std::fs;

/// Directory of the headers, relative to the root.
pub(crate) const DIR: &str = "include/tss2";

/// Headers that are written by hand.
pub(crate) const BASE: [&str; 2] = ["tss2_common.h", "tss2_tcti.h"];

/// Writes all generated headers.
pub(crate) fn write(project: &Project) -> Result<()> {
    for library in project.libraries()? {
        let path = project.root.join(DIR).join(library.header());
        fs::write(&path, generate(project, &library)?).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {DIR}/{}", library.header());
    }
    Ok(())
}

/// Returns one message for each header that differs from what [`write()`] would generate.
pub(crate) fn stale(project: &Project) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for library in project.libraries()? {
        let committed = fs::read_to_string(project.root.join(DIR).join(library.header())).unwrap_or_default();
        if committed != generate(project, &library)? {
            stale.push(format!("{DIR}/{} is stale; run: cargo xtask headers", library.header()));
        }
    }
    Ok(stale)
}

fn generate(project: &Project, library: &Library) -> Result<String> {
    let mut config = cbindgen::Config::from_file(project.root.join("cbindgen.toml")).map_err(anyhow::Error::msg)?;
    config.include_guard = Some(library.header().to_uppercase().replace('.', "_"));
    let face = project.root.join(library.face());
    if fs::read_to_string(project.root.join(library.abi())).unwrap_or_default().contains("*mut bool") {
        config.sys_includes.push("stdbool.h".to_owned());
    }
    let mut builder = cbindgen::Builder::new().with_config(config);
    let abi = project.root.join(library.abi());
    if abi.exists() {
        builder = builder.with_src(abi);
    }
    let bindings = builder.with_src(face).generate()?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = String::from_utf8(header)?;
    // The conditions under `# Safety` describe the parameters of the C function.
    Ok(header.replace(" * # Safety\n", " * # Parameters\n"))
}
