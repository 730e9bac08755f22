// SPDX-License-Identifier: BSD-2-Clause
//! Programs that check whether a TPM exists: what the loader logs for them at the default level.

use crate::needs::NO_TPM;
use std::process::{Command, Output};
use tss2_kit::need::{CC, Need, PKG_CONFIG, TPM2_TOOLS};
use tss2_kit::program::{self, Link};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("probing::without_a_tpm_one_line_is_logged", &[&BUILD[..], &[NO_TPM]].concat(), no_tpm);
    suite.test("probing::getting_an_info_logs_nothing", &BUILD, infos);
    suite.test("probing::the_info_of_an_unknown_name_logs_one_line", &BUILD, no_such_info);
    suite.test("probing::getting_the_size_logs_nothing", &BUILD, size);
    suite.test("probing::the_null_tcti_logs_one_line", &[TPM2_TOOLS], null);
}

fn probe(arguments: &[&str]) -> Output {
    // The module of tpm2-abrmd, where it is installed, connects to the system's D-Bus and prints messages.
    let dir = tempfile::tempdir().unwrap();
    program::shared("stub", &dir.path().join("libtss2-tcti-tabrmd.so.0"), &["-DSTUB=REFUSES"]);
    let mut command = stage::command(program::build("probe", Link::Staged("tss2-tctildr"), &[]));
    command.env("LD_LIBRARY_PATH", format!("{}:{}", dir.path().display(), stage::lib().display()));
    output::run(command.args(arguments))
}

/// Returns the codes that it printed, and the number of lines in the log.
fn answers(output: &Output) -> (Vec<String>, usize) {
    let codes = output::stdout(output).lines().map(str::to_owned).collect();
    (codes, output::stderr(output).lines().count())
}

fn no_tpm() {
    let output = probe(&["open"]);
    assert_eq!(answers(&output), (vec!["0xa000a".to_owned()], 1), "{}", output::show(&output));
}

/// Also without a name, on a machine without a TPM.
fn infos() {
    for names in [&[][..], &["cmd", "device", "mssim", "null", "pcap", "spi-ltt2go", "spidev", "swtpm"]] {
        let output = probe(&[&["info"], names].concat());
        let expected = vec!["0x0".to_owned(); names.len().max(1)];
        assert_eq!(answers(&output), (expected, 0), "{names:?}: {}", output::show(&output));
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

/// libtss2-esys and the tool print lines of their own.
fn null() {
    let mut command: Command = stage::command("tpm2_getrandom");
    let output = output::run(command.args(["--tcti=null", "4"]));
    let printed = output::stderr(&output);
    let ours: Vec<&str> = printed.lines().filter(|line| line.contains(":tcti:")).collect();
    assert!(matches!(&ours[..], [line] if line.contains("the TCTI null has no TPM behind it")), "{printed}");
    assert!(!output.status.success());
}
