// SPDX-License-Identifier: BSD-2-Clause
//! Scenarios that run on any TPM. `tests/e2e` runs them on the host, `tests/guest` on the kernel's devices.

pub mod asynchronous;
pub mod forks;
pub mod refused;
pub mod tools;
