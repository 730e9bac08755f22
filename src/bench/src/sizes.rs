// SPDX-License-Identifier: BSD-2-Clause
//! What the libraries take on the disk.

use crate::cell::or_dash;
use crate::servers::Parts;
use anyhow::Result;
use std::fs;

/// Prints the table.
pub(crate) fn print(parts: &Parts) -> Result<()> {
    println!("| library | ours, KiB | C, KiB |\n|---|---|---|");
    let mut names = Vec::new();
    for entry in fs::read_dir(&parts.ours)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".so.0")));
    }
    names.sort();
    for name in names {
        let kibibytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
        let ours = fs::metadata(parts.ours.join(&name))?.len();
        let theirs = fs::metadata(parts.theirs.join(&name)).ok().map(|file| kibibytes(file.len()));
        println!("| {name} | {} | {} |", kibibytes(ours), or_dash(theirs));
    }
    Ok(())
}
