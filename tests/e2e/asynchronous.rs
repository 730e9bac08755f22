// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's libtss2-esys and libtss2-fapi without a call that waits.

use tss2_kit::asynchronous::{self, BUILD, By, REAL, waits_without_work};
use tss2_kit::behind;
use tss2_kit::every::{Case, EVERY, short_commands};
use tss2_kit::fapi::Fapi;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{FAPI, LIBTPMS, SWTPM, VALGRIND};
use tss2_kit::program::{self, Link};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{Around, Socket, Swtpm, Tpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// Ways to a TPM besides [`EVERY`].
const MORE: [Case; 2] = [
    ("a_kept_connection", &[SWTPM], || Box::new(Around("", Swtpm::start(Socket::Tcp), ",keep=true"))),
    ("a_recorder", &[SWTPM], || Box::new(Around("pcap:", Swtpm::start(Socket::Unix), ""))),
];

pub(crate) fn tests(suite: &mut Suite) {
    let pollable = || EVERY.into_iter().filter(|(name, ..)| *name != "libtpms").chain(MORE);
    for (name, needs, start) in pollable() {
        let needs = [needs, &BUILD].concat();
        suite.test(format!("asynchronous::esys_on_{name}"), &needs, move || {
            for by in [By::Loader, By::Program] {
                waits_without_work(by, &[start().name_conf()], &REAL);
            }
        });
    }
    let needs = [&BUILD[..], &[SWTPM, LIBTPMS]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop", &needs, || {
        let tpms = nine();
        waits_without_work(By::Loader, &names(&tpms), &REAL);
    });
    let needs = [&needs[..], &[VALGRIND]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop_under_valgrind", &needs, || {
        let valgrind = "valgrind -q --error-exitcode=99 --leak-check=full";
        let tpms = nine();
        asynchronous::run(valgrind, By::Loader, &names(&tpms));
    });
    for (name, needs, start) in pollable() {
        let needs = [&BUILD[..], needs, &FAPI, short_commands(name)].concat();
        suite.test(format!("asynchronous::fapi_on_{name}"), &needs, move || fapi(&*start(), "P_RSA2048SHA256", 1000));
    }
    let needs = [&BUILD[..], &[SWTPM], &FAPI].concat();
    suite.test("asynchronous::fapi_with_elliptic_curves", &needs, || {
        fapi(&Swtpm::start(Socket::Unix), "P_ECCP256SHA256", 0); // their keys are made at once
    });
}

fn names(tpms: &[Box<dyn Tpm>]) -> Vec<String> {
    tpms.iter().map(|tpm| tpm.name_conf()).collect()
}

fn nine() -> Vec<Box<dyn Tpm>> {
    let mut tpms: Vec<Box<dyn Tpm>> = MORE.iter().map(|(_, _, start)| start()).collect();
    for socket in [Socket::Tcp, Socket::Unix] {
        tpms.push(Box::new(Swtpm::start(socket)));
        tpms.push(Box::new(Mssim::start(socket, 0)));
    }
    tpms.extend([behind::command(), Box::new(PtyDevice::start()), Box::new(Swtpm::start(Socket::Unix))]);
    tpms
}

/// What FAPI may take of the processor, in milliseconds: some 150 are its own, files and cryptography. A module that is
/// busy until its answer is there takes as much more as was waited.
const OF_FAPI: u32 = 500;

/// Makes keys until poll has waited for so many milliseconds. `Fapi_GetPollHandles` gives our handles before the first
/// command and between two, when FAPI has to go on by itself.
fn fapi(tpm: &dyn Tpm, profile: &str, milliseconds: u32) {
    let fapi = Fapi::new(profile, &tpm.name_conf());
    let mut command = stage::command(program::build("fapi", Link::Staged("tss2-tctildr tss2-fapi"), &[]));
    fapi.configure(command.arg(milliseconds.to_string()).env("TCTI_PCAP_FILE", fapi.directory().join("capture")));
    let printed = output::succeed(&mut command);
    let [steps, waited, processor]: [u32; 3] =
        ["steps", "waited", "processor"].map(|name| output::number(&printed, name));
    assert!((50..500).contains(&steps) && waited >= milliseconds && processor < OF_FAPI, "{printed}");
}
