// SPDX-License-Identifier: BSD-2-Clause
//! Cells that several tables use.

use crate::outcome::{Cell, continues, new_context, recovers};
use crate::reply::Code;

pub(super) const SUCCESS: Cell = continues(&[Code::Success]);
pub(super) const SUCCESS_RECOVERS: Cell = recovers(&[Code::Success]);
pub(super) const TRY_AGAIN: Cell = continues(&[Code::TryAgain]);
pub(super) const IO_ERROR: Cell = continues(&[Code::IoError]);
pub(super) const IO_ERROR_RECOVERS: Cell = recovers(&[Code::IoError]);
pub(super) const NO_CONNECTION_RECOVERS: Cell = recovers(&[Code::NoConnection]);
pub(super) const BAD_SEQUENCE: Cell = continues(&[Code::BadSequence]);
pub(super) const NOT_IMPLEMENTED: Cell = continues(&[Code::NotImplemented]);
pub(super) const INIT_FAILS: Cell = new_context(&[Code::IoError]);
