// SPDX-License-Identifier: BSD-2-Clause
//! Programs that load a key through FAPI or PKCS#11, and fork. Only one process can use a session after a fork, with
//! any TCTI; the connection belongs to all.

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
        for order in [Order::Child, Order::Orphan, Order::Turns, Order::Both] {
            let name = format!("servers::{}_with_fapi_on_{}", order.name(), chip.name());
            suite.test(name, &needs, move || fapi(chip, order));
        }
    }
    // tpm2-pkcs11 has two contexts at the same time, and swtpm serves one connection at a time, so none can be kept
    // open.
    for chip in [Chip::Device, Chip::Swtpm] {
        for order in [Order::Child, Order::Orphan, Order::Again, Order::Both] {
            // A TPM has no room for the keys of both processes, and without a resource manager none are swapped.
            if matches!((chip, order), (Chip::Swtpm, Order::Both)) {
                continue;
            }
            let needs = [CC, Need::File(PKCS11, "libtpm2-pkcs11-1"), SWTPM];
            let name = format!("servers::{}_with_pkcs11_on_{}", order.name(), chip.name());
            suite.test(name, &needs, move || pkcs11(chip, order));
        }
    }
}

/// The processes that work after a fork, see `c-tests/fapi-fork.c` and `c-tests/pkcs11-fork.c`.
#[derive(Clone, Copy)]
enum Order {
    /// The child, while its parent waits.
    Child,
    /// The child, after its parent has exited.
    Orphan,
    /// The child, which initializes PKCS#11 again.
    Again,
    /// Parent and child in turn.
    Turns,
    /// Parent and child at the same time.
    Both,
}

impl Order {
    /// Its part of the test's name.
    fn name(self) -> &'static str {
        match self {
            Order::Child => "a_child_continues",
            Order::Orphan => "a_child_continues_after_its_parent_has_exited",
            Order::Again => "a_child_initializes_again",
            Order::Turns => "parent_and_child_take_turns",
            Order::Both => "parent_and_child_work_at_the_same_time",
        }
    }

    /// The argument of the programs.
    fn argument(self) -> &'static str {
        match self {
            Order::Child => "child",
            Order::Orphan => "orphan",
            Order::Again => "again",
            Order::Turns => "turns",
            Order::Both => "both",
        }
    }
}

/// Builds the program for FAPI.
pub(crate) fn fapi_program() -> PathBuf {
    program::build("fapi-fork", Link::Staged("tss2-tctildr tss2-fapi"), &[])
}

/// Builds the program for PKCS#11.
pub(crate) fn pkcs11_program() -> PathBuf {
    program::build("pkcs11-fork", Link::Nothing, &["-ldl"])
}

fn fapi(chip: Chip, order: Order) {
    let tpm = chip.start();
    let tcti = name_conf(tpm.as_deref());
    let fapi = Fapi::new("P_ECCP256SHA256", &tcti);
    // Removes the objects of the test before.
    output::succeed(stage::command("tpm2_clear").args(["-T", &tcti]));
    let mut command = stage::command(fapi_program());
    fapi.configure(command.arg(order.argument()));
    assert_eq!(output::succeed(&mut command), "done\n");
}

fn pkcs11(chip: Chip, order: Order) {
    let tpm = chip.start();
    let store = tempfile::tempdir().unwrap();
    let mut command = stage::command(pkcs11_program());
    command.arg(PKCS11).arg(order.argument()).env("TPM2_PKCS11_TCTI", name_conf(tpm.as_deref()));
    assert_eq!(output::succeed(command.env("TPM2_PKCS11_STORE", store.path())), "done\n");
}
