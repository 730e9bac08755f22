// SPDX-License-Identifier: BSD-2-Clause
//! The host controller's schedule: which URB meets the stick when. Without I/O; the time is passed in.
#![forbid(unsafe_code)]

use super::wire::{self, Garbled, Request, Submit};
use crate::stick::{Reply, Stick};
use core::time::Duration;
use std::time::Instant;

/// Of an URB that was given back, negative errno (Linux, Documentation/driver-api/usb/error-codes.rst).
const EPIPE: i32 = -32;
const EOVERFLOW: i32 = -75;
const ECONNRESET: i32 = -104;
const EREMOTEIO: i32 = -121;

/// URB_SHORT_NOT_OK: an IN that is shorter than its buffer is an error.
const SHORT_NOT_OK: u32 = 1;

/// An URB that is not given back.
struct Transfer {
    urb: Submit,
    /// Not before.
    due: Instant,
    /// The stick does not answer it.
    is_silent: bool,
}

/// Serves USB/IP requests with a [`Stick`].
#[derive(Default)]
pub struct Responder {
    input: Vec<u8>,
    output: Vec<u8>,
    /// In the order they were submitted.
    transfers: Vec<Transfer>,
    /// The time of the last [`Responder::work`].
    worked: Option<Instant>,
}

impl Responder {
    /// Bytes from the kernel. An URB that begins in them ends `latency` after `now`, or when the stick answers, if that
    /// is later.
    pub fn receive(&mut self, bytes: &[u8], now: Instant, latency: Duration) -> Result<(), Garbled> {
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

    /// Carries out what is due. An IN that found nothing is tried again after each transfer.
    pub fn work(&mut self, stick: &mut Stick, now: Instant) {
        while self.step(stick, now) {}
        self.worked = Some(now);
    }

    /// When [`Responder::work`] has something to do next; `None`: when bytes have come.
    pub fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|transfer| transfer.due).filter(|due| Some(*due) > self.worked).min()
    }

    /// What the kernel is to get; whoever sends bytes takes them off.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether the kernel is to get something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Gives back the first URB that can be; URBs of one endpoint go one after the other.
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
                // The kernel ends all URBs when the socket is closed.
                Reply::Gone => return false,
                reply => {
                    give_back(&mut self.output, &transfer.urb, reply);
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

fn give_back(output: &mut Vec<u8>, urb: &Submit, reply: Reply) {
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
