// SPDX-License-Identifier: BSD-2-Clause
//! What the libraries take on the disk.

use crate::cell::{self, or_dash};
use crate::servers::Parts;
use anyhow::Result;
use std::fs;
use std::path::Path;

/// Prints the table.
pub(crate) fn print(parts: &Parts) -> Result<()> {
    let versions = parts.theirs.iter().map(|theirs| format!("C {}, KiB", theirs.version));
    let cells = ["library", "ours, KiB"].map(str::to_owned).into_iter().chain(versions);
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&parts.ours)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".so.0")));
    }
    names.sort();
    for name in names {
        let kibibytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
        let ours = fs::metadata(parts.ours.join(&name))?.len();
        let size = |dir: &Path| or_dash(fs::metadata(dir.join(&name)).ok().map(|file| kibibytes(file.len())));
        let theirs = parts.theirs.iter().map(|theirs| size(&theirs.dir));
        let cells = [name.clone(), kibibytes(ours)].into_iter().chain(theirs);
        println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    }
    Ok(())
}
