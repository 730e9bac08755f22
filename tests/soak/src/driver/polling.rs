// SPDX-License-Identifier: BSD-2-Clause
//! Uses a context as an event loop does: polls its descriptor and receives when it is ready ([`Driver::poll`]).

use super::Driver;
use super::outcome::PATIENCE;
use crate::sys::poll_handle;
use crate::target::Target;
use nix::libc::{POLLIN, POLLOUT};
use nix::poll::PollFlags;
use std::time::Duration;
use tcti_core::{PollHandle, Wait};

impl<P: Target> Driver<P> {
    /// Polls while a response is due. The context has one descriptor, which becomes readable unless a fault holds the
    /// response back, or is writable at once because receive would not wait.
    pub(super) fn poll(&mut self, slot: usize) {
        let most = self.most_millis(slot);
        let timeout =
            if most > 5 && self.may_block(slot) { PATIENCE } else { Duration::from_millis(most.min(50).into()) };
        let Some(context) = &mut self.slots[slot].context else { return };
        let handles = match context.poll_handles() {
            Ok(handles) => handles,
            Err(error) => return self.hindered(slot, "getPollHandles", error.code()),
        };
        let wrong = match handles[..] {
            [handle @ PollHandle { fd: 0.., events: POLLIN | POLLOUT, .. }] => {
                let waits = handle.events == POLLIN;
                let within = if waits { timeout } else { Duration::ZERO };
                let came = self.watchdog.watch(format_args!("poll on context {slot}"), || poll_handle(&handle, within));
                if waits && came.is_empty() && timeout < PATIENCE {
                    return;
                }
                self.receive(slot, Wait::Millis(0));
                came.is_empty() || came.contains(PollFlags::POLLNVAL) || !waits && self.slots[slot].due.is_some()
            }
            _ => true,
        };
        if wrong {
            self.tally.failures.push(format!("{handles:?} to poll while a response is due; {}", self.state(slot)));
        }
    }
}
