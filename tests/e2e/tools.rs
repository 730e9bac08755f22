// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's tpm2-tools, unmodified, on our loader and modules: `c-tests/tpm2-tools.sh`. Also the C program
//! that drives an SPI bus, `c-tests/spi-helper.c`.

use crate::indirect;
use crate::transports::{TRANSPORTS, Transport};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use tss2_kit::need::{CC, LIBTPMS, OPENSSL, PKG_CONFIG, TPM2_TOOLS, VALGRIND};
use tss2_kit::scenario::tools;
use tss2_kit::server::TestTpm;
use tss2_kit::suite::Suite;
use tss2_kit::{linker, output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    for Transport { name, needs, short_commands, start, .. } in TRANSPORTS {
        let needs = [needs, &[TPM2_TOOLS, OPENSSL]].concat();
        suite.test(format!("tools::our_libraries_serve_{name}"), &needs, move || our_libraries_serve(&*start()));
        let needs = [&needs[..], short_commands].concat();
        suite.test(format!("tools::all_steps_on_{name}"), &needs, move || {
            let tpm = start();
            tools::all_steps(&tpm.name_conf());
        });
    }
    let spi = [CC, PKG_CONFIG, LIBTPMS];
    suite.test("spi::a_platform_function_that_ends_its_thread_ends_the_process", &spi, spi_exit);
    suite.test("spi::platform_functions", &spi, || spi_check(&mut stage::command(indirect::spi_program())));
    suite.test("spi::platform_functions_under_valgrind", &[&spi[..], &[VALGRIND]].concat(), || {
        let mut valgrind = stage::command("valgrind");
        valgrind.args(["-q", "--error-exitcode=99", "--leak-check=full"]).arg(indirect::spi_program());
        spi_check(&mut valgrind);
    });
    suite.test("tools::libtpms_in_memory_returns_random_bytes", &[LIBTPMS, TPM2_TOOLS], || random("libtpms:"));
    suite.test("tools::libtpms_works_without_a_colon", &[LIBTPMS, TPM2_TOOLS], || random("libtpms"));
}

fn our_libraries_serve(tpm: &dyn TestTpm) {
    let name_conf = tpm.name_conf();
    let mut tool = stage::command("tpm2_getrandom");
    let (output, files) = linker::run(tool.args(["--hex", "8", "-T", &name_conf]));
    assert!(output.status.success(), "{}", output::show(&output));
    let module = name_conf.split(':').next().unwrap();
    assert_eq!(linker::named(&files, "libtss2-tctildr.so"), [stage::library("tctildr")]);
    assert_eq!(linker::named(&files, "libtss2-tcti-"), [&stage::library(&format!("tcti-{module}"))]);
}

/// Runs the program's own checks: each platform function missing, failing and working.
fn spi_check(command: &mut Command) {
    let output = output::run(command.args(["check", "libtpms:"]).env("TSS2_LOG", "all+none"));
    assert!(output.status.success(), "{}", output::show(&output));
    assert!(output::stdout(&output).ends_with("\n0 checks failed\n"), "{}", output::show(&output));
    assert!(output::stdout(&output).contains("GetRandom in 8 transactions"), "{}", output::show(&output));
}

/// A platform function that does not return would leave the context in use and the bus acquired.
fn spi_exit() {
    let output = output::run(stage::command(indirect::spi_program()).args(["exit", "libtpms:"]));
    assert_eq!(output.status.signal(), Some(6), "SIGABRT: {}", output::show(&output));
}

fn random(name_conf: &str) {
    let mut tool = stage::command("tpm2_getrandom");
    let output = output::run(tool.args(["--hex", "8", "-T", name_conf]));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let bytes = output::stdout(&output);
    assert!(bytes.len() == 16 && bytes.bytes().all(|digit| digit.is_ascii_hexdigit()), "{bytes}");
}
