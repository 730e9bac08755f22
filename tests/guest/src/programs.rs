// SPDX-License-Identifier: BSD-2-Clause
//! The C programs that the topics use. `TSS2_PROGRAMS` names the directory in which they are kept.

use crate::servers::stack;
use std::path::PathBuf;
use tss2_kit::need::{ESYS, FAPI, TSS2_HEADERS};
use tss2_kit::program::{self, Link};
use tss2_kit::scenario::asynchronous;
use tss2_kit::scenario::forks;
use tss2_kit::scenario::refused;
use tss2_reliability as reliability;

const LOADER: Link = Link::Staged("tss2-tctildr");

/// What a program meets on the kernel's devices.
pub(crate) fn device() -> PathBuf {
    program::build("device", LOADER, &[])
}

/// The program that holds keys until its input ends.
pub(crate) fn holds() -> PathBuf {
    program::build("holds", LOADER, &[])
}

/// The program that is driven step by step.
pub(crate) fn steps() -> PathBuf {
    program::build("steps", LOADER, &[])
}

/// What a program meets on a device whose driver has no poll.
pub(crate) fn unpolled() -> PathBuf {
    program::build("unpolled", LOADER, &[])
}

/// Compiles all of them, on the host.
pub(crate) fn build() {
    for program in [
        program::conformance,
        program::link_tctildr,
        device,
        holds,
        steps,
        unpolled,
        forks::program,
        stack::pkcs11_program,
        refused::program,
        reliability::program,
    ] {
        let _: PathBuf = program();
    }
    if [ESYS, TSS2_HEADERS].into_iter().all(|need| need.missing().is_none()) {
        asynchronous::program();
    }
    if FAPI.into_iter().chain([TSS2_HEADERS]).all(|need| need.missing().is_none()) {
        stack::fapi_program();
    }
}
