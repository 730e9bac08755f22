// SPDX-License-Identifier: BSD-2-Clause
//! The contexts of the loader, which forward every call unchanged to a module: [`sys`]. The crate `tcti-loader` finds and opens
//! modules.

pub mod sys;
