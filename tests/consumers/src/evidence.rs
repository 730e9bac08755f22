// SPDX-License-Identifier: BSD-2-Clause
//! Which TCTI libraries were loaded, by the reports of the dynamic linker, and which packages they are from.

use crate::machine;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tss2_kit::output;

/// The directory into which the linker writes a report for each process.
pub(crate) struct Evidence(TempDir);

impl Evidence {
    /// Has the linker report on the command and on all processes that it starts.
    pub(crate) fn of(command: &mut Command) -> Evidence {
        let reports = tempfile::tempdir().unwrap();
        command.env("LD_DEBUG", "libs").env("LD_DEBUG_OUTPUT", reports.path().join("of"));
        Evidence(reports)
    }

    /// Returns the packages of the TCTI libraries that any process has initialised, including the loader.
    pub(crate) fn packages(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        for report in fs::read_dir(self.0.path()).unwrap() {
            let report = fs::read(report.unwrap().path()).unwrap();
            files.extend(tcti_libraries(&String::from_utf8_lossy(&report)));
        }
        files.iter().map(|file| owner(&file.canonicalize().unwrap())).collect()
    }
}

fn tcti_libraries(report: &str) -> Vec<PathBuf> {
    let files = report.lines().filter_map(|line| line.split_once("calling init: ")).map(|(_, file)| Path::new(file));
    let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files
        .filter(|file| name(file).starts_with("libtss2-tcti") || name(file).starts_with("libtss2-tctildr"))
        .map(Path::to_owned)
        .collect()
}

fn owner(file: &Path) -> String {
    let said = output::succeed(machine::command("dpkg").arg("--search").arg(file));
    said.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_libraries_that_were_initialised() {
        let report = "7:\tfind library=libtss2-tcti-x.so.0 [0]; searching\n7:\tcalling init: /l/libc.so.6\n\
                      7:\tcalling init: /l/libtss2-tctildr.so.0\n7:\tcalling init: /l/libtss2-tcti-y.so.0\n";
        let expected = ["/l/libtss2-tctildr.so.0", "/l/libtss2-tcti-y.so.0"].map(PathBuf::from);
        assert_eq!(tcti_libraries(report), expected);
    }
}
