// SPDX-License-Identifier: BSD-2-Clause
//! The ground floor of the test programs (`tests/e2e`, `tests/reliability`, `tests/soak`, `tests/guest`,
//! `tests/consumers`) and of the bench. It depends on none of them; a module that only one of them needs belongs there.
//!
//! | to | open |
//! |---|---|
//! | find staged libraries, headers and simulators, and start programs on them | [`stage`] |
//! | add a test to a program, and say what it needs | [`suite`], [`need`] |
//! | run a program and check its output | [`output`] |
//! | see which libraries a program loaded | [`linker`] |
//! | compile a C program of `c-tests` | [`program`] |
//! | wait for another process | [`waiting`] |
//! | start a TPM that a test can open: swtpm, libtpms | [`server`] |
//! | the same with the simulators' protocol | [`mssim`] |
//! | the same as a character device | [`pty`] |
//! | plug in a simulated LetsTrust-TPM2Go | [`simulator`] |
//! | run nginx, Apache or haproxy with a key in a TPM | [`web`] |
//! | configure the distribution's libtss2-fapi | [`fapi`] |
//! | run a C program or script that more than one test program runs, on a given TPM | [`scenario`] |
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub mod fapi;
pub mod linker;
pub mod mssim;
pub mod need;
pub mod output;
pub mod program;
pub mod pty;
pub mod scenario;
pub mod server;
pub mod simulator;
pub mod stage;
pub mod suite;
pub mod waiting;
pub mod web;
