// SPDX-License-Identifier: BSD-2-Clause
//! No panic crosses into C.

use crate::abi::TSS2_RC;
use crate::rc::{Rc, Result};
use once_cell::sync::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an exported function; a panic becomes `GENERAL_FAILURE`. What the body owned is dropped by then.
pub fn guard(body: impl FnOnce() -> Result<()>) -> TSS2_RC {
    crate::log::init();
    report_panics_to_the_log();
    Rc::to_c(catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(Rc::GENERAL_FAILURE)))
}

/// Each of our libraries carries its own standard library, so this hook is nobody else's.
fn report_panics_to_the_log() {
    static HOOK: OnceCell<()> = OnceCell::new();
    if cfg!(any(test, feature = "testing")) {
        return; // the test harness has a hook of its own
    }
    HOOK.get_or_init(|| {
        std::panic::set_hook(Box::new(|panic| {
            log::error!("internal error, please report it: {panic}");
        }));
    });
}
