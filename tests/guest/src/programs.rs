// SPDX-License-Identifier: BSD-2-Clause
//! The C programs of the topics. `TSS2_PROGRAMS` names the directory in which they are kept.

use crate::servers::stack;
use crate::steps;
use std::path::PathBuf;
use tss2_kit::need::{ESYS, FAPI, TSS2_HEADERS};
use tss2_kit::program::{self, Link};
use tss2_kit::scenario::asynchronous;
use tss2_kit::scenario::forks;
use tss2_kit::scenario::refused;
use tss2_reliability as reliability;

const LOADER: Link = Link::Staged("tss2-tctildr");

/// Builds the program that tests the module on the kernel's devices.
pub(crate) fn device() -> PathBuf {
    program::build("device", LOADER, &[])
}

/// Builds the program that keeps keys loaded until its input ends.
pub(crate) fn holds() -> PathBuf {
    program::build("holds", LOADER, &[])
}

/// Builds the program that tests the module on a driver without poll.
pub(crate) fn unpolled() -> PathBuf {
    program::build("unpolled", LOADER, &[])
}

/// Builds all programs, on the host.
pub(crate) fn build() {
    for program in [
        program::conformance,
        program::link_tctildr,
        device,
        holds,
        steps::program,
        unpolled,
        forks::program,
        stack::pkcs11_program,
        refused::program,
        reliability::program,
    ] {
        let _: PathBuf = program();
    }
    if [ESYS, TSS2_HEADERS].into_iter().all(|need| need.unmet().is_none()) {
        asynchronous::program();
    }
    if FAPI.into_iter().chain([TSS2_HEADERS]).all(|need| need.unmet().is_none()) {
        stack::fapi_program();
    }
}
