// SPDX-License-Identifier: BSD-2-Clause
//! The programs that use TCTI modules, each with a script that has it do its work: [`ROWS`]. docs/programs.md has the
//! same table.

use crate::script;
use crate::table::{Line, Table};
use std::sync::Arc;
use tss2_kit::suite::Suite;

/// One consumer.
pub(crate) struct Row {
    /// The name in docs/programs.md.
    pub(crate) name: &'static str,
    /// Its work in this test, in the words of docs/programs.md.
    pub(crate) does: &'static str,
    /// The package, of Debian or ours, whose version is printed.
    pub(crate) package: &'static str,
    /// The file in `rows` without its extension, which is also the name of the test.
    pub(crate) file: &'static str,
    script: &'static str,
    /// Our packages whose libraries it has to load. It may load others of ours and [`FOREIGN`], and no other TCTI
    /// library.
    served_by: &'static [&'static str],
}

/// The package with the TCTI module of tpm2-abrmd.
const FOREIGN: &str = "libtss2-tcti-tabrmd0";

const BOTH: &[&str] = &["libtss2-tctildr-rs0", "libtss2-tcti-swtpm-rs0"];

macro_rules! row {
    ($name:literal, $package:literal, $file:literal, $served_by:expr, $does:literal) => {
        Row {
            name: $name,
            does: $does,
            package: $package,
            file: $file,
            script: include_str!(concat!("rows/", $file, ".sh")),
            served_by: $served_by,
        }
    };
}

pub(crate) const ROWS: [Row; 13] = [
    row!("tpm2-tools", "tpm2-tools", "tpm2-tools", BOTH, "36 steps from start-up to clear"),
    row!("OpenSSL", "tpm2-openssl", "tpm2-openssl", BOTH, "a key, its certificate, a TLS handshake"),
    row!("PKCS#11", "libtpm2-pkcs11-1", "tpm2-pkcs11", BOTH, "a token, a key, a signature"),
    row!("Clevis", "clevis-tpm2", "clevis", BOTH, "a secret under a PCR"),
    row!("tpm2-abrmd", "tpm2-abrmd", "tpm2-abrmd", BOTH, "tpm2-tools through it, with more keys than the TPM holds"),
    row!("FAPI", "libtss2-fapi1", "fapi", BOTH, "keys provisioned, a signature"),
    row!("tpm2-initramfs-tool", "tpm2-initramfs-tool", "tpm2-initramfs-tool", BOTH, "a passphrase under a PCR"),
    row!("systemd", "systemd", "systemd", &["libtss2-tcti-swtpm-rs0"], "a credential, encrypted and decrypted"),
    row!("Python, tpm2-pytss", "python3-tpm2-pytss", "python", BOTH, "`examples/python/sign.py`"),
    row!("C, any TCTI", "libtss2-tcti-rs-dev", "c-tctildr", BOTH, "`examples/c/random.c`"),
    row!("C, one TCTI", "libtss2-tcti-rs-dev", "c-swtpm", &["libtss2-tcti-swtpm-rs0"], "`examples/c/sign.c`"),
    row!("Rust, tss-esapi", "libtss2-esys-3.0.2-0", "rust", BOTH, "`examples/rust/src/main.rs`"),
    row!("Go", "golang-go", "go", BOTH, "`examples/go/main.go`"),
];

/// Adds a test for each row.
pub(crate) fn tests(suite: &mut Suite, table: &Arc<Table>) {
    for row in &ROWS {
        let table = Arc::clone(table);
        suite.test(format!("consumers::{}", row.file), &[], move || run(row, &table));
    }
}

fn run(row: &'static Row, table: &Table) {
    let served_by = script::run(row.script);
    let is_allowed = |package: &String| package.ends_with("-rs0") || package == FOREIGN;
    assert!(served_by.iter().all(is_allowed), "loaded libraries of {served_by:?}");
    assert!(row.served_by.iter().all(|package| served_by.contains(*package)), "loaded only libraries of {served_by:?}");
    table.add(Line { row, served_by });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_guide_has_the_same_rows() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/programs.md");
        let guide = fs::read_to_string(guide).expect("docs/programs.md");
        let (_, table) = guide.split_once("| program | Debian package |").expect("the table of programs");
        let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let listed: Vec<Vec<String>> =
            table.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
        let first_and_last = |cells: &Vec<String>| (cells.first().cloned(), cells.last().cloned());
        let listed: Vec<_> = listed.iter().map(first_and_last).collect();
        let rows: Vec<_> = ROWS.iter().map(|row| (Some(row.name.to_owned()), Some(row.does.to_owned()))).collect();
        assert_eq!(listed, rows);
    }

    #[test]
    fn each_script_has_a_row() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rows");
        let names = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let scripts: std::collections::BTreeSet<String> = names.filter(|name| name != "prelude.sh").collect();
        assert_eq!(scripts, ROWS.iter().map(|row| format!("{}.sh", row.file)).collect());
    }
}
