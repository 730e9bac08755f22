// SPDX-License-Identifier: BSD-2-Clause
//! Programs that load a key by FAPI or PKCS#11, and fork. A session belongs to the process that goes on with it, whatever
//! carries it; the connection belongs to all.

use super::{Chip, name_conf};
use std::path::PathBuf;
use tss2_kit::fapi::Fapi;
use tss2_kit::need::{CC, FAPI, Need, PKG_CONFIG, SWTPM, TSS2_HEADERS};
use tss2_kit::program::{self, Link};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const PKCS11: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so";

pub(super) fn tests(suite: &mut Suite) {
    let needs = [&FAPI[..], &[CC, PKG_CONFIG, SWTPM, TSS2_HEADERS]].concat();
    for chip in [Chip::Device, Chip::SwtpmKept] {
        for (sentence, order) in [
            ("a_child_goes_on", "child"),
            ("a_child_goes_on_when_its_parent_has_ended", "orphan"),
            ("parent_and_child_take_turns", "turns"),
            ("parent_and_child_work_at_the_same_time", "both"),
        ] {
            let sentence = format!("servers::{sentence}_with_fapi_on_{}", chip.name());
            suite.test(sentence, &needs, move || fapi(chip, order));
        }
    }
    // tpm2-pkcs11 has two contexts at the same time, and swtpm answers one connection at a time: none can be kept.
    for chip in [Chip::Device, Chip::Swtpm] {
        for (sentence, order) in [
            ("a_child_goes_on", "child"),
            ("a_child_goes_on_when_its_parent_has_ended", "orphan"),
            ("a_child_begins_again", "again"),
            ("parent_and_child_work_at_the_same_time", "both"),
        ] {
            if matches!((chip, order), (Chip::Swtpm, "both")) {
                continue; // the keys of two take more room than a TPM has, and nobody swaps them as the kernel does
            }
            let needs = [CC, Need::File(PKCS11, "libtpm2-pkcs11-1"), SWTPM];
            let sentence = format!("servers::{sentence}_with_pkcs11_on_{}", chip.name());
            suite.test(sentence, &needs, move || pkcs11(chip, order));
        }
    }
}

/// The program for FAPI.
pub(crate) fn fapi_program() -> PathBuf {
    program::build("fapi-fork", Link::Staged("tss2-tctildr tss2-fapi"), &[])
}

/// The program for PKCS#11.
pub(crate) fn pkcs11_program() -> PathBuf {
    program::build("pkcs11-fork", Link::Nothing, &["-ldl"])
}

fn fapi(chip: Chip, order: &str) {
    let tpm = chip.start();
    let tcti = name_conf(tpm.as_deref());
    let fapi = Fapi::new("P_ECCP256SHA256", &tcti);
    // Of the test before.
    output::succeed(stage::command("tpm2_clear").args(["-T", &tcti]));
    let mut command = stage::command(fapi_program());
    fapi.configure(command.arg(order));
    assert_eq!(output::succeed(&mut command), "done\n");
}

fn pkcs11(chip: Chip, order: &str) {
    let tpm = chip.start();
    let store = tempfile::tempdir().unwrap();
    let mut command = stage::command(pkcs11_program());
    command.arg(PKCS11).arg(order).env("TPM2_PKCS11_TCTI", name_conf(tpm.as_deref()));
    assert_eq!(output::succeed(command.env("TPM2_PKCS11_STORE", store.path())), "done\n");
}
