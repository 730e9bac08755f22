// SPDX-License-Identifier: BSD-2-Clause
//! Programs that look whether there is a TPM: what they make the loader print at the default level.

use std::process::{Command, Output};
use tss2_kit::need::{CC, Need, PKG_CONFIG, TPM2_TOOLS};
use tss2_kit::program::{self, Link};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("probing::no_tpm_is_one_line", &[&BUILD[..], &[Need::NoTpm]].concat(), no_tpm);
    suite.test("probing::an_info_is_told_without_a_word", &BUILD, infos);
    suite.test("probing::an_info_of_a_name_that_is_none_is_one_line", &BUILD, no_such_info);
    suite.test("probing::a_size_is_told_without_a_word", &BUILD, size);
    suite.test("probing::no_tpm_behind_null_is_one_line", &[TPM2_TOOLS], null);
}

fn probe(arguments: &[&str]) -> Output {
    // That of tpm2-abrmd, where it is installed, asks the system's D-Bus and prints what it thinks of it.
    let dir = tempfile::tempdir().unwrap();
    program::shared("stub", &dir.path().join("libtss2-tcti-tabrmd.so.0"), &["-DSTUB=REFUSES"]);
    let mut command = stage::command(program::build("probe", Link::Staged("tss2-tctildr"), &[]));
    command.env("LD_LIBRARY_PATH", format!("{}:{}", dir.path().display(), stage::lib().display()));
    output::run(command.args(arguments))
}

/// The codes that it printed, and the lines of the log.
fn answers(output: &Output) -> (Vec<String>, usize) {
    let codes = output::stdout(output).lines().map(str::to_owned).collect();
    (codes, output::stderr(output).lines().count())
}

fn no_tpm() {
    let output = probe(&["open"]);
    assert_eq!(answers(&output), (vec!["0xa000a".to_owned()], 1), "{}", output::show(&output));
}

/// Also for no name where there is no TPM.
fn infos() {
    for names in [&[][..], &["cmd", "device", "mssim", "null", "pcap", "spi-ltt2go", "spidev", "swtpm"]] {
        let output = probe(&[&["info"], names].concat());
        let wanted = vec!["0x0".to_owned(); names.len().max(1)];
        assert_eq!(answers(&output), (wanted, 0), "{names:?}: {}", output::show(&output));
    }
}

fn no_such_info() {
    let output = probe(&["info", "no-such-tcti"]);
    assert_eq!(answers(&output), (vec!["0xa0015".to_owned()], 1), "{}", output::show(&output));
}

fn size() {
    let output = probe(&["size"]);
    assert_eq!(answers(&output), (vec!["0x0".to_owned()], 0), "{}", output::show(&output));
}

/// libtss2-esys and the tool have lines of their own.
fn null() {
    let mut command: Command = stage::command("tpm2_getrandom");
    let output = output::run(command.args(["--tcti=null", "4"]));
    let printed = output::stderr(&output);
    let ours: Vec<&str> = printed.lines().filter(|line| line.contains(":tcti:")).collect();
    assert!(matches!(&ours[..], [line] if line.contains("the TCTI null has no TPM behind it")), "{printed}");
    assert!(!output.status.success());
}
