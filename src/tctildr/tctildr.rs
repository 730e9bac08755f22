// SPDX-License-Identifier: BSD-2-Clause
//! Contexts of the loader, which forward every call as it came: [`sys`]. How a module is found is in the crate
//! `tcti-loader`.

mod inside;
pub mod sys;
