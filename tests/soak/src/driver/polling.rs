// SPDX-License-Identifier: BSD-2-Clause
//! Uses a context as an event loop does: polls its descriptor and receives when it is ready ([`Driver::poll`]).

use super::Driver;
use super::outcome::PATIENCE;
use crate::sys::poll_handle;
use crate::target::Target;
use nix::libc::POLLIN;
use nix::poll::PollFlags;
use std::time::Duration;
use tcti_core::{PollHandle, Wait};

/// More often than this, a descriptor is not readable for one response: its bytes, and those of a fault.
const MOST_PIECES: usize = 10_000;

impl<P: Target> Driver<P> {
    /// Polls while a response is due. The context has one descriptor, which becomes readable unless a fault holds the
    /// response back, and again for each piece of it.
    pub(super) fn poll(&mut self, slot: usize) {
        let most = self.most_millis(slot);
        let timeout =
            if most > 5 && self.may_block(slot) { PATIENCE } else { Duration::from_millis(most.min(50).into()) };
        let Some(context) = &mut self.slots[slot].context else { return };
        let mut handles = Vec::new();
        if let Err(error) = context.poll_handles(&mut |handle| handles.push(handle)) {
            return self.hindered(slot, "getPollHandles", error.code());
        }
        let right = match handles[..] {
            [handle @ PollHandle { fd: 0.., events: POLLIN, .. }] => self.poll_handle(slot, handle, timeout),
            _ => false,
        };
        if !right {
            self.tally.failures.push(format!("{handles:?} to poll while a response is due; {}", self.state(slot)));
        }
    }

    /// Waits for the descriptor once, and then receives as long as it is readable. Returns whether that is no more often than
    /// a response has bytes, and whether the descriptor became readable if nothing holds the response back.
    fn poll_handle(&mut self, slot: usize, handle: PollHandle, timeout: Duration) -> bool {
        let mut within = timeout;
        for _ in 0..MOST_PIECES {
            let came = self.watchdog.watch(format_args!("poll on context {slot}"), || poll_handle(&handle, within));
            match came {
                PollFlags::POLLIN => self.receive(slot, Wait::Millis(0)),
                other => return other.is_empty() && within < PATIENCE,
            }
            if self.slots[slot].due.is_none() {
                return true;
            }
            within = Duration::ZERO;
        }
        false
    }
}
