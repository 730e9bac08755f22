// SPDX-License-Identifier: BSD-2-Clause
//! Equipment of the end-to-end tests in `tests/e2e`: where the staged libraries are ([`stage`]), what a test needs
//! ([`need`]), TPMs to talk to ([`server`], [`pty`]) and programs to do it with ([`program`], [`tools`]).
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub mod asynchronous;
pub mod behind;
pub mod every;
pub mod fapi;
pub mod forks;
pub mod linker;
pub mod mssim;
pub mod need;
pub mod output;
pub mod program;
pub mod pty;
pub mod refused;
pub mod server;
pub mod sid;
pub mod simulator;
pub mod ssh;
pub mod stage;
pub mod suite;
pub mod tools;
pub mod waiting;
pub mod web;
