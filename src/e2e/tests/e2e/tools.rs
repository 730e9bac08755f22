// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's tpm2-tools, unmodified, on our loader and modules: `c-tests/tpm2-tools.sh`.

use std::path::Path;
use tss2_e2e::need::{LIBTPMS, Need, OPENSSL, SWTPM, TPM2_TOOLS};
use tss2_e2e::pty::PtyDevice;
use tss2_e2e::server::{Socket, StateFile, Swtpm, Tpm};
use tss2_e2e::suite::Suite;
use tss2_e2e::{output, stage};

/// The transport, what it needs and how it starts.
type Case = (&'static str, Need, fn() -> Box<dyn Tpm>);

const CASES: [Case; 4] = [
    ("libtpms", LIBTPMS, || Box::new(StateFile::new())),
    ("swtpm_over_tcp", SWTPM, || Box::new(Swtpm::start(Socket::Tcp))),
    ("swtpm_over_a_unix_socket", SWTPM, || Box::new(Swtpm::start(Socket::Unix))),
    ("device", SWTPM, || Box::new(PtyDevice::start())),
];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, need, start) in CASES {
        suite.test(format!("tools::all_steps_on_{name}"), &[need, TPM2_TOOLS, OPENSSL], move || all_steps(&*start()));
        suite.test(format!("tools::our_libraries_serve_{name}"), &[need, TPM2_TOOLS], move || {
            our_libraries_serve(&*start());
        });
    }
    suite.test("tools::libtpms_in_memory_gives_random_bytes", &[LIBTPMS, TPM2_TOOLS], || random("libtpms:"));
    suite.test("tools::libtpms_without_a_colon_too", &[LIBTPMS, TPM2_TOOLS], || random("libtpms"));
}

fn all_steps(tpm: &dyn Tpm) {
    let dir = tempfile::tempdir().unwrap();
    let mut script = stage::command("sh");
    script.arg(stage::c_tests("tpm2-tools.sh")).arg(dir.path()).env("TPM2TOOLS_TCTI", tpm.name_conf());
    let printed = output::succeed(&mut script);
    let steps = printed.lines().last().and_then(|line| line.strip_suffix(" steps")).expect(&printed);
    assert!(steps.parse::<u32>().unwrap() >= 25, "{printed}");
}

/// The dynamic linker's own report of the files it initialised.
fn our_libraries_serve(tpm: &dyn Tpm) {
    let name_conf = tpm.name_conf();
    let mut tool = stage::command("tpm2_getrandom");
    tool.args(["--hex", "8", "-T", &name_conf]).env("LD_DEBUG", "libs");
    let output = output::run(&mut tool);
    assert!(output.status.success(), "{}", output::show(&output));
    let report = output::stderr(&output);
    let files: Vec<&Path> =
        report.lines().filter_map(|line| line.split_once("calling init: ")).map(|(_, file)| Path::new(file)).collect();
    let loaded = |name: &str| -> Vec<&Path> {
        let is = |file: &&&Path| file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
        files.iter().filter(is).copied().collect()
    };
    let module = name_conf.split(':').next().unwrap();
    assert_eq!(loaded("libtss2-tctildr.so"), [stage::library("tctildr")]);
    assert_eq!(loaded("libtss2-tcti-"), [stage::library(&format!("tcti-{module}"))]);
}

fn random(name_conf: &str) {
    let mut tool = stage::command("tpm2_getrandom");
    let output = output::run(tool.args(["--hex", "8", "-T", name_conf]));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let bytes = output::stdout(&output);
    assert!(bytes.len() == 16 && bytes.bytes().all(|digit| digit.is_ascii_hexdigit()), "{bytes}");
}
