// SPDX-License-Identifier: BSD-2-Clause
//! Cells that several tables have.

use crate::outcome::{Cell, goes_on, new_context, when_back};

pub(super) const ANSWERS: Cell = goes_on(&["SUCCESS"]);
pub(super) const AGAIN: Cell = goes_on(&["TRY_AGAIN"]);
pub(super) const IO: Cell = goes_on(&["IO_ERROR"]);
pub(super) const IO_WHEN_BACK: Cell = when_back(&["IO_ERROR"]);
pub(super) const GONE: Cell = when_back(&["NO_CONNECTION"]);
pub(super) const SEQUENCE: Cell = goes_on(&["BAD_SEQUENCE"]);
pub(super) const NOT_OPENED: Cell = new_context(&["IO_ERROR"]);
pub(super) const NONE_HERE: Cell = goes_on(&["NOT_IMPLEMENTED"]);
