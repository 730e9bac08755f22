// SPDX-License-Identifier: BSD-2-Clause
//! The faults that wait for the next exchanges of a channel.

use crate::fault::Fault;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A queue of faults, which one thread fills and the thread of the channel takes from.
#[derive(Debug, Default)]
pub struct Armed(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    faults: VecDeque<(Fault, Sender<Vec<u8>>)>,
    has_struck: bool,
}

impl Armed {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault. A [`crate::Peer`] that has played it sends the bytes of the response that were held back.
    pub fn arm(&self, fault: Fault) -> Receiver<Vec<u8>> {
        let (sender, unsent) = channel();
        self.queue().faults.push_back((fault, sender));
        unsent
    }

    /// Removes all faults. Returns whether one has struck since the last call.
    pub fn disarm(&self) -> bool {
        std::mem::take(&mut *self.queue()).has_struck
    }

    /// Takes the next fault if it strikes now, and the sender for the bytes that it holds back.
    pub fn take(&self, strikes: impl FnOnce(&Fault) -> bool) -> Option<(Fault, Sender<Vec<u8>>)> {
        let mut queue = self.queue();
        queue.faults.front().filter(|(fault, _)| strikes(fault))?;
        queue.has_struck = true;
        queue.faults.pop_front()
    }
}
