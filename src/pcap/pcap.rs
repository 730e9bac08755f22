// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Pcap`] forwards every call to another TCTI, the child, and records the messages in a capture file.
//! Return codes are those of the child; once open, the capture never causes one.
#![forbid(unsafe_code)]

mod blocks;
mod capture;
mod conversation;
mod layout;
pub mod target;

use crate::capture::Capture;
use crate::conversation::Direction;
use crate::target::Target;
use core::ptr::null_mut;
use tcti_core::deadline::millis;
use tcti_core::header::Header;
use tcti_core::rx::MAX_RESPONSE;
use tcti_core::{
    Cancel, Conf, Deadline, Error, GetPollHandles, Inheritance, Module, Open, Progress, Result, ReturnCode, RxBuf,
    SetLocality, Tcti, Transport, Wait, Wrapped, fail,
};
use tcti_loader::NameConf;

/// A recorded TCTI.
pub struct Pcap<C> {
    /// Opens or reopens the child.
    open: Box<dyn Fn() -> Result<C> + Send>,
    /// Absent when it could not be reopened; the next command tries again.
    child: Option<C>,
    /// The locality that the caller has set, for a child that is reopened.
    locality: Option<u8>,
    capture: Capture,
}

impl<C: Tcti + Send + 'static> Pcap<C> {
    /// Opens the child first, so that no capture file is created if that fails.
    fn new(open: impl Fn() -> Result<C> + Send + 'static, target: Target) -> Result<Pcap<C>> {
        let child = open()?;
        Ok(Pcap { open: Box::new(open), child: Some(child), locality: None, capture: Capture::open(target)? })
    }

    /// Calls the child between two commands. `BAD_SEQUENCE` means that the child has not recovered from a failed exchange,
    /// as some C modules do not. A late response must not be taken for the next one, so the child is reopened.
    fn between_commands(&mut self, call: impl Fn(&mut C) -> Result<()>) -> Result<()> {
        if let Some(child) = &mut self.child {
            match call(child) {
                Err(error) if error.code() == ReturnCode::BAD_SEQUENCE => {}
                answer => return answer,
            }
            log::warn!("the TCTI that is recorded did not recover from an error and is reopened");
        }
        self.child = None; // first, because many TPMs accept one connection at a time
        self.note(Direction::ToTpm, "the TCTI is reopened");
        let mut child = (self.open)()?;
        if let Some(locality) = self.locality {
            child.set_locality(locality)?;
        }
        call(self.child.insert(child))
    }

    /// Receives the response from the child.
    fn receive(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<()> {
        let child = self.child.as_mut().ok_or(ReturnCode::IO_ERROR)?;
        let deadline = Deadline::after(wait);
        // Does not ask for the size first: some C modules only guess it, and no TPM has a larger response than fits.
        match rx.read_with(|room| child.receive(room, wait))? {
            Err(error) if error.code() == ReturnCode::INSUFFICIENT_BUFFER => {}
            answer => return answer.map(drop),
        }
        let left = || match deadline.remaining() {
            None => Wait::Forever,
            Some(left) => Wait::Millis(u32::try_from(millis(left)).unwrap_or(u32::MAX)),
        };
        let size = child.response_size(left())?;
        if size > MAX_RESPONSE {
            return Err(fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "the TCTI that is recorded announces a response of {size} bytes; the limit is {MAX_RESPONSE}"
            ));
        }
        rx.read_into(size, |room| child.receive(room, left()))?.map(drop)
    }

    /// Records a packet with a comment and no message.
    fn note(&mut self, direction: Direction, text: &str) {
        self.capture.record(direction, &[], Some(text));
    }

    /// Records a call of the child and, if it failed, its return code.
    fn note_answer(&mut self, direction: Direction, what: &str, answer: &Result<()>) {
        match answer.as_ref().map_err(Error::code) {
            Ok(()) => self.note(direction, what),
            Err(code) => self.note(direction, &format!("{what}: error {:#x} ({code:?})", code.to_c())),
        }
    }
}

/// Describes a malformed response for a comment; the session rejects it.
fn flaw(response: &[u8]) -> Option<String> {
    let size = Header::parse(response).map(|header| header.size);
    let len = response.len();
    match size {
        None => Some(format!("no response: {len} bytes")),
        Some(size) if usize::try_from(size) != Ok(len) => {
            Some(format!("malformed response: the header says {size} bytes, {len} came"))
        }
        Some(_) => None,
    }
}

impl Module for Pcap<tcti_loader::Child> {
    const MAGIC: u64 = 0x9cf4_5c5d_7d9d_0d3f;
    const SIZE_OPTIONAL: bool = true;
    const WRAPPED: Option<Wrapped<Self>> = Some(Wrapped {
        offset: layout::CHILD,
        context: |pcap| pcap.child.as_ref().map_or(null_mut(), tcti_loader::Child::as_ptr),
    });
}

impl Open for Pcap<tcti_loader::Child> {
    fn open(conf: Conf<'_>) -> Result<Pcap<tcti_loader::Child>> {
        let conf = conf.c_str().map(ToOwned::to_owned);
        Pcap::new(move || tcti_loader::open(&NameConf::parse(conf.as_deref())?), Target::from_environment())
    }
}

impl<C: Tcti + Send + 'static> Transport for Pcap<C> {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        // Before it is sent, so that a command without a response is recorded too.
        self.capture.record(Direction::ToTpm, command, None);
        let sent = self.between_commands(|child| child.transmit(command));
        if sent.is_err() {
            self.note_answer(Direction::ToHost, "transmit", &sent);
        }
        sent
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        match self.receive(rx, wait) {
            Ok(()) => {
                self.capture.record(Direction::ToHost, rx.as_slice(), flaw(rx.as_slice()).as_deref());
                Ok(Progress::Complete)
            }
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => Ok(Progress::Pending),
            refused => {
                self.note_answer(Direction::ToHost, "receive", &refused);
                refused.map(|()| Progress::Complete)
            }
        }
    }

    /// Does nothing: the child drops what is in flight, or is reopened for the next command.
    fn abandon(&mut self) {}

    /// Starts a new conversation; the child notices the fork itself.
    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.capture.after_fork();
    }

    const CANCEL: Option<Cancel<Self>> = Some(|pcap| {
        let cancelled = pcap.child.as_mut().ok_or(ReturnCode::IO_ERROR)?.cancel();
        pcap.note_answer(Direction::ToTpm, "cancel", &cancelled);
        cancelled
    });

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|pcap, locality| {
        let set = pcap.between_commands(|child| child.set_locality(locality));
        pcap.note_answer(Direction::ToTpm, &format!("locality {locality}"), &set);
        if set.is_ok() {
            pcap.locality = Some(locality);
        }
        set
    });

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|pcap, watch| match &mut pcap.child {
        Some(child) => child.poll_handles(&mut |handle| {
            if handle.fd >= 0 {
                watch(handle.fd)
            }
        }),
        None => Ok(()),
    });
}

#[cfg(test)]
mod tests;
