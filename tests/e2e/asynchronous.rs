// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's libtss2-esys and libtss2-fapi on our modules, without blocking calls.

use crate::indirect;
use crate::transports::{PLAIN, TRANSPORTS, Transport};
use tss2_kit::fapi::Fapi;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, FAPI, LIBTPMS, PKG_CONFIG, SWTPM, VALGRIND};
use tss2_kit::program::{self, Link};
use tss2_kit::pty::PtyDevice;
use tss2_kit::scenario::asynchronous::{self, BUILD, OpenedBy, REAL, waits_without_work};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm, Wrapped};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// Ways to a TPM in addition to [`TRANSPORTS`].
const MORE: [Transport; 2] = [
    Transport {
        name: "a_kept_connection",
        needs: &[SWTPM],
        start: || Box::new(Wrapped("", Swtpm::start(SocketKind::Tcp), ",keep=true")),
        ..PLAIN
    },
    Transport {
        name: "a_recorder",
        needs: &[SWTPM],
        start: || Box::new(Wrapped("pcap:", Swtpm::start(SocketKind::Unix), "")),
        ..PLAIN
    },
];

pub(crate) fn tests(suite: &mut Suite) {
    let pollable = || TRANSPORTS.into_iter().filter(|transport| transport.is_pollable).chain(MORE);
    for Transport { name, needs, start, .. } in pollable() {
        let needs = [needs, &BUILD].concat();
        suite.test(format!("asynchronous::esys_on_{name}"), &needs, move || {
            for by in [OpenedBy::Loader, OpenedBy::Program] {
                let tpm = start();
                waits_without_work(by, &[tpm.name_conf()], &REAL);
            }
        });
    }
    for Transport { name, needs, short_commands, start, .. } in pollable() {
        let needs = [&[CC, PKG_CONFIG][..], needs, short_commands].concat();
        suite.test(format!("asynchronous::one_poll_handle_on_{name}"), &needs, move || {
            let tpm = start();
            let directory = tempfile::tempdir().unwrap();
            let mut command = stage::command(program::build("once", Link::Staged("tss2-tctildr"), &[]));
            command.arg(tpm.name_conf()).env("TCTI_PCAP_FILE", directory.path().join("capture"));
            output::passes(&output::succeed(&mut command), 400);
        });
    }
    let needs = [&BUILD[..], &[SWTPM, LIBTPMS]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop", &needs, || {
        let tpms = nine();
        waits_without_work(OpenedBy::Loader, &names(&tpms), &REAL);
    });
    let needs = [&needs[..], &[VALGRIND]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop_under_valgrind", &needs, || {
        let valgrind = "valgrind -q --error-exitcode=99 --leak-check=full";
        let tpms = nine();
        asynchronous::run(valgrind, OpenedBy::Loader, &names(&tpms));
    });
    for Transport { name, needs, short_commands, start, .. } in pollable() {
        let needs = [&BUILD[..], needs, &FAPI, short_commands].concat();
        suite.test(format!("asynchronous::fapi_on_{name}"), &needs, move || fapi(&*start(), "P_RSA2048SHA256", 1000));
    }
    let needs = [&BUILD[..], &[SWTPM], &FAPI].concat();
    suite.test("asynchronous::fapi_with_elliptic_curves", &needs, || {
        // Elliptic curve keys are created at once, so there is nothing to wait for.
        fapi(&Swtpm::start(SocketKind::Unix), "P_ECCP256SHA256", 0);
    });
}

fn names(tpms: &[Box<dyn TestTpm>]) -> Vec<String> {
    tpms.iter().map(|tpm| tpm.name_conf()).collect()
}

fn nine() -> Vec<Box<dyn TestTpm>> {
    let mut tpms: Vec<Box<dyn TestTpm>> = MORE.iter().map(|transport| (transport.start)()).collect();
    for socket in [SocketKind::Tcp, SocketKind::Unix] {
        tpms.push(Box::new(Swtpm::start(socket)));
        tpms.push(Box::new(Mssim::start(socket, 0)));
    }
    tpms.extend([indirect::command(), Box::new(PtyDevice::start()), Box::new(Swtpm::start(SocketKind::Unix))]);
    tpms
}

/// The most processor time that FAPI may take, in milliseconds. About 150 are its own, for files and cryptography. A
/// module that polls in a loop until the response arrives takes as much more as poll waited.
const FAPI_CPU: u32 = 500;

/// Creates keys until poll has waited for `milliseconds`. `Fapi_GetPollHandles` returns our handles also before the
/// first command and between two commands, when FAPI has to be called without waiting.
fn fapi(tpm: &dyn TestTpm, profile: &str, milliseconds: u32) {
    let fapi = Fapi::new(profile, &tpm.name_conf());
    let mut command = stage::command(program::build("fapi", Link::Staged("tss2-tctildr tss2-fapi"), &[]));
    fapi.configure(command.arg(milliseconds.to_string()).env("TCTI_PCAP_FILE", fapi.directory().join("capture")));
    let printed = output::succeed(&mut command);
    let [steps, waited, cpu]: [u32; 3] = ["steps", "waited", "cpu"].map(|name| output::number(&printed, name));
    assert!((50..500).contains(&steps) && waited >= milliseconds && cpu < FAPI_CPU, "{printed}");
}
