// SPDX-License-Identifier: BSD-2-Clause
//! Lists the file sizes of the libraries.

use crate::cell::{self, or_dash};
use crate::servers::Selection;
use anyhow::Result;
use std::fs;
use std::path::Path;

/// Prints the table.
pub(crate) fn print(selection: &Selection) -> Result<()> {
    let versions = selection.theirs.iter().map(|theirs| format!("C {}, KiB", theirs.version));
    let cells = ["library", "ours, KiB"].map(str::to_owned).into_iter().chain(versions);
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&selection.ours)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".so.0")));
    }
    names.sort();
    for name in names {
        let kibibytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1024.0);
        let ours = fs::metadata(selection.ours.join(&name))?.len();
        let size = |dir: &Path| or_dash(fs::metadata(dir.join(&name)).ok().map(|file| kibibytes(file.len())));
        let theirs = selection.theirs.iter().map(|theirs| size(&theirs.dir));
        let cells = [name.clone(), kibibytes(ours)].into_iter().chain(theirs);
        println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    }
    Ok(())
}
