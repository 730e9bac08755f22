// SPDX-License-Identifier: BSD-2-Clause
//! The schedule of URBs: which is passed to the stick at which time. It does no I/O; the caller passes the time.
#![forbid(unsafe_code)]

use super::wire::{self, Malformed, Request, Submit};
use crate::stick::{Reply, Stick};
use core::time::Duration;
use std::time::Instant;

/// The status of a completed URB, a negative errno (Linux, Documentation/driver-api/usb/error-codes.rst).
const EPIPE: i32 = -32;
const EOVERFLOW: i32 = -75;
const ECONNRESET: i32 = -104;
const EREMOTEIO: i32 = -121;

/// URB_SHORT_NOT_OK: an IN that is shorter than its buffer is an error.
const SHORT_NOT_OK: u32 = 1;

/// A pending URB.
struct Transfer {
    urb: Submit,
    /// It does not complete before this time.
    due: Instant,
    /// Whether the stick never replies to it.
    is_silent: bool,
}

/// Serves USB/IP requests with a [`Stick`].
#[derive(Default)]
pub struct Responder {
    input: Vec<u8>,
    output: Vec<u8>,
    /// The pending URBs, in the order of their submission.
    transfers: Vec<Transfer>,
    /// The time of the last [`Responder::work`].
    worked: Option<Instant>,
}

impl Responder {
    /// Takes bytes from the kernel. An URB that begins in them completes `latency` after `now`, or when the stick
    /// replies, if that is later.
    pub fn receive(&mut self, bytes: &[u8], now: Instant, latency: Duration) -> Result<(), Malformed> {
        self.input.extend_from_slice(bytes);
        while let Some(request) = wire::take(&mut self.input)? {
            match request {
                Request::Submit(urb) => {
                    let due = now.checked_add(latency).unwrap_or(now);
                    self.transfers.push(Transfer { urb, due, is_silent: false });
                }
                Request::Unlink { seqnum, victim } => {
                    let found = self.transfers.iter().position(|transfer| transfer.urb.seqnum == victim);
                    let status = found.map_or(0, |at| {
                        self.transfers.remove(at);
                        ECONNRESET
                    });
                    wire::ret_unlink(&mut self.output, seqnum, status);
                }
            }
        }
        Ok(())
    }

    /// Performs the transfers that are due. An IN without data is tried again after each transfer.
    pub fn work(&mut self, stick: &mut Stick, now: Instant) {
        while self.step(stick, now) {}
        self.worked = Some(now);
    }

    /// Returns when [`Responder::work`] has to be called next; `None`: when bytes have arrived.
    pub fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|transfer| transfer.due).filter(|due| Some(*due) > self.worked).min()
    }

    /// Returns the bytes for the kernel. The caller removes those that were sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether there are bytes for the kernel.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Completes the first URB that can be completed; URBs of one endpoint complete in order. Returns whether there
    /// was one.
    fn step(&mut self, stick: &mut Stick, now: Instant) -> bool {
        let mut busy = Vec::new();
        for (at, transfer) in self.transfers.iter_mut().enumerate() {
            if busy.contains(&transfer.urb.endpoint) {
                continue;
            }
            busy.push(transfer.urb.endpoint);
            if transfer.is_silent || transfer.due > now {
                continue;
            }
            match ask(stick, &transfer.urb) {
                Reply::Nak => {}
                Reply::Silence => transfer.is_silent = true,
                // The kernel cancels all URBs when the socket is closed.
                Reply::Gone => return false,
                reply => {
                    complete(&mut self.output, &transfer.urb, reply);
                    self.transfers.remove(at);
                    return true;
                }
            }
        }
        false
    }
}

fn ask(stick: &mut Stick, urb: &Submit) -> Reply {
    match (urb.endpoint, urb.is_in) {
        (0, _) => stick.control(urb.setup),
        (endpoint, true) => stick.bulk_in(endpoint, urb.length),
        (endpoint, false) => stick.bulk_out(endpoint, &urb.data),
    }
}

fn complete(output: &mut Vec<u8>, urb: &Submit, reply: Reply) {
    match reply {
        Reply::Data(_) if !urb.is_in => wire::ret_submit(output, urb.seqnum, 0, urb.length, &[]),
        Reply::Data(mut data) => {
            data.truncate(urb.length);
            let is_wrong = data.len() < urb.length && urb.flags & SHORT_NOT_OK != 0;
            wire::ret_submit(output, urb.seqnum, if is_wrong { EREMOTEIO } else { 0 }, data.len(), &data);
        }
        Reply::Overflow => wire::ret_submit(output, urb.seqnum, EOVERFLOW, 0, &[]),
        Reply::Stall | Reply::Nak | Reply::Silence | Reply::Gone => {
            wire::ret_submit(output, urb.seqnum, EPIPE, 0, &[]);
        }
    }
}

#[cfg(test)]
mod tests;
