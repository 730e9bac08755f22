// SPDX-License-Identifier: BSD-2-Clause
//! Cells that several tables use.

use crate::outcome::{Cell, continues, new_context, recovers};

pub(super) const SUCCESS: Cell = continues(&["SUCCESS"]);
pub(super) const SUCCESS_RECOVERS: Cell = recovers(&["SUCCESS"]);
pub(super) const TRY_AGAIN: Cell = continues(&["TRY_AGAIN"]);
pub(super) const IO_ERROR: Cell = continues(&["IO_ERROR"]);
pub(super) const IO_ERROR_RECOVERS: Cell = recovers(&["IO_ERROR"]);
pub(super) const NO_CONNECTION_RECOVERS: Cell = recovers(&["NO_CONNECTION"]);
pub(super) const BAD_SEQUENCE: Cell = continues(&["BAD_SEQUENCE"]);
pub(super) const NOT_IMPLEMENTED: Cell = continues(&["NOT_IMPLEMENTED"]);
pub(super) const INIT_FAILS: Cell = new_context(&["IO_ERROR"]);
