// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Swtpm`]: raw commands and responses on the data channel, everything else on the control channel (swtpm
//! "Control Channel Specification", `tpm_ioctl.h`). swtpm serves one data connection at a time. Each command therefore has
//! its own, so that several programs can share one swtpm, unless `keep=true`.
#![forbid(unsafe_code)]

mod start;

use std::io::IoSlice;
use std::mem;
use tcti_core::conf::boolean;
use tcti_core::{
    Conf, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode, RxBuf, SetLocality,
    Sharing, Transport, Wait, fail,
};
use tcti_net::{Channels, Stream};

/// Control commands, big-endian on the wire; the reply is a result code, big-endian, 0 for success.
#[derive(Clone, Copy, Debug)]
enum Control {
    /// Power-cycles the TPM; flags follow.
    Init = 2,
    /// Sets the locality; one byte follows.
    SetLocality = 5,
}

/// Flag of `Control::Init`: start without the volatile state.
const DELETE_VOLATILE: u32 = 1;

/// How long a data connection lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// Until the caller has taken the response.
    Command,
    /// As long as the context (`keep=true`).
    Context,
    /// Until the response is complete. Set when a kept connection was lost that other processes share: they have to
    /// connect again too, and swtpm serves one connection at a time.
    Exchange,
}

/// A swtpm.
pub struct Swtpm {
    channels: Channels,
    lifetime: Lifetime,
    data: Option<Stream>,
    /// Whether the log already says what to do about a swtpm that was not initialised.
    is_explained: bool,
}

impl Swtpm {
    /// Powers the TPM on, and keeps its saved volatile state.
    pub(crate) fn initialise(&mut self) -> Result<()> {
        self.control(Control::Init, &0_u32.to_be_bytes())
    }

    /// Returns the name of the data channel for messages.
    pub(crate) fn name(&self) -> &str {
        self.channels.data.name()
    }

    /// Power-cycles the TPM, and deletes its volatile state.
    pub fn reset(&mut self) -> Result<()> {
        self.control(Control::Init, &DELETE_VOLATILE.to_be_bytes())
    }

    fn connect(&mut self) -> Result<Stream> {
        if self.lifetime == Lifetime::Context && !self.channels.may_be_kept() {
            self.lifetime = Lifetime::Exchange;
        }
        let stream = self.channels.connect_data()?;
        Ok(if self.lifetime == Lifetime::Context { stream.shared() } else { stream })
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.control(Control::SetLocality, &[locality])
    }

    fn control(&mut self, command: Control, payload: &[u8]) -> Result<()> {
        let stream = self.channels.control.connect()?;
        let code = (command as u32).to_be_bytes();
        let parts = &mut [IoSlice::new(&code), IoSlice::new(payload)];
        let timeout = self.channels.control.timeout();
        let reply = self.channels.control.ask(&stream, parts, size_of::<u32>(), timeout)?;
        let result = reply.as_slice().first_chunk().map_or(u32::MAX, |result| u32::from_be_bytes(*result));
        if result != 0 {
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "swtpm answers {command:?} on {} with error {result:#x}. Is it the control channel of a swtpm?",
                self.channels.control.name()
            ));
        }
        self.channels.control.release(stream);
        Ok(())
    }
}

impl Module for Swtpm {
    const MAGIC: u64 = 0x496e_6669_6e65_6f6e;
}

impl Open for Swtpm {
    fn open(conf: Conf<'_>) -> Result<Swtpm> {
        let (mut keep, mut init) = (false, false);
        let channels = Channels::parse(conf, &["keep", "init"], |key, value| match key {
            "keep" => Some(boolean(key, value).map(|on| keep = on)),
            "init" => Some(boolean(key, value).map(|on| init = on)),
            _ => None,
        })?;
        let lifetime = if keep { Lifetime::Context } else { Lifetime::Command };
        let mut swtpm = Swtpm { channels, lifetime, data: None, is_explained: false };
        // Checks that the data channel accepts connections; a new context starts in locality 0.
        swtpm.data = Some(swtpm.connect()?);
        swtpm.set_locality(0)?;
        swtpm.response_taken();
        if init {
            swtpm.is_explained = true;
            start::start(&mut swtpm)?;
            swtpm.is_explained = false;
        }
        Ok(swtpm)
    }
}

impl Transport for Swtpm {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if !self.data.as_ref().is_some_and(Stream::is_quiet) {
            self.abandon(); // in every process that shares it
            self.data = Some(self.connect()?);
        }
        let Some(stream) = &self.data else { return Err(ReturnCode::IO_ERROR.into()) };
        stream.send(&mut [IoSlice::new(command)])
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some(stream) = &self.data else { return Err(ReturnCode::BAD_SEQUENCE.into()) };
        let progress = stream.recv(rx, wait)?;
        if progress == Progress::Complete && !self.is_explained {
            self.is_explained = start::explain(rx.as_slice(), self.channels.data.name());
        }
        if (progress, self.lifetime) == (Progress::Complete, Lifetime::Exchange) {
            stream.shut_down(); // for the next process
        }
        Ok(progress)
    }

    fn response_taken(&mut self) {
        match (self.lifetime, self.data.take()) {
            (Lifetime::Command, Some(stream)) => self.channels.data.release(stream),
            (Lifetime::Context, stream) => self.data = stream,
            (Lifetime::Command, None) | (Lifetime::Exchange, _) => {}
        }
    }

    /// Closes the data connection. The TPM runs in the server and loses nothing.
    fn abandon(&mut self) {
        if let Some(stream) = self.data.take() {
            stream.end();
        }
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        match inheritance {
            Inheritance::Shared if self.lifetime == Lifetime::Context => {}
            Inheritance::Shared | Inheritance::Copies => self.data = None,
            Inheritance::Nothing => mem::forget(self.data.take()),
        }
        self.channels.after_fork(inheritance);
    }

    fn is_shared(&self) -> bool {
        self.lifetime == Lifetime::Context
    }

    fn resume(&mut self, last: LastExchange) -> Result<()> {
        if last == LastExchange::Interrupted {
            self.abandon();
        }
        Ok(())
    }

    /// Shuts an exclusive connection down: swtpm would keep serving it as long as a forked process has a copy. A forked
    /// process that has not used it yet connects again and loses nothing.
    fn close(&mut self, sharing: Sharing) {
        if sharing == Sharing::Exclusive {
            self.abandon();
        }
    }

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(Swtpm::set_locality);

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|swtpm, watch| {
        swtpm.data.iter().map(Stream::number).for_each(watch);
        Ok(())
    });
}

#[cfg(test)]
mod tests;
