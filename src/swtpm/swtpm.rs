// SPDX-License-Identifier: BSD-2-Clause
//! swtpm as a transport: raw commands and responses on the data channel, everything else on the control channel
//! (swtpm "Control Channel Specification", `tpm_ioctl.h`). swtpm serves one data connection at a time, so each command
//! has its own unless `keep=true`; several programs can then share one swtpm.
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

/// What happens to the data connection between commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    PerCommand,
    Open,
    /// The one that was kept has ended. Later ones end with the exchange, since another process has the one that was lost
    /// and will have to connect, too, and swtpm serves one connection at a time.
    Lost,
}

/// A swtpm.
pub struct Swtpm {
    channels: Channels,
    keep: Keep,
    data: Option<Stream>,
    /// Whether the log has what to do about a swtpm that was not initialised.
    is_explained: bool,
}

impl Swtpm {
    /// Powers the TPM on, with what it kept.
    pub(crate) fn initialise(&mut self) -> Result<()> {
        self.control(Control::Init, &0_u32.to_be_bytes())
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        self.channels.data.name()
    }

    /// Power-cycles the TPM. swtpm answers with its volatile state deleted.
    pub fn reset(&mut self) -> Result<()> {
        self.control(Control::Init, &DELETE_VOLATILE.to_be_bytes())
    }

    fn connect(&mut self) -> Result<Stream> {
        if self.keep == Keep::Open && !self.channels.may_be_kept() {
            self.keep = Keep::Lost;
        }
        let stream = self.channels.connect_data()?;
        Ok(if self.keep == Keep::Open { stream.shared() } else { stream })
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
        let mut keep = Keep::PerCommand;
        let mut starts = false;
        let channels = Channels::parse(conf, &["keep", "init"], |key, value| match key {
            "keep" => Some(boolean(key, value).map(|on| keep = if on { Keep::Open } else { Keep::PerCommand })),
            "init" => Some(boolean(key, value).map(|on| starts = on)),
            _ => None,
        })?;
        let mut swtpm = Swtpm { channels, keep, data: None, is_explained: false };
        // The data channel must answer, and a new context starts in locality 0.
        swtpm.data = Some(swtpm.connect()?);
        swtpm.set_locality(0)?;
        swtpm.response_taken();
        if starts {
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
            self.abandon(); // for every process that has it
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
        if (progress, self.keep) == (Progress::Complete, Keep::Lost) {
            stream.shut_down(); // another process has its turn now; the caller may still poll the descriptor
        }
        Ok(progress)
    }

    fn response_taken(&mut self) {
        match (self.keep, self.data.take()) {
            (Keep::PerCommand, Some(stream)) => self.channels.data.release(stream),
            (Keep::Open, stream) => self.data = stream,
            (Keep::PerCommand, None) | (Keep::Lost, _) => {}
        }
    }

    /// The TPM is in the server and loses nothing when a connection ends.
    fn abandon(&mut self) {
        if let Some(stream) = self.data.take() {
            stream.end();
        }
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        match inheritance {
            Inheritance::Shared if self.keep == Keep::Open => {}
            Inheritance::Shared | Inheritance::Copies => self.data = None,
            Inheritance::Nothing => mem::forget(self.data.take()),
        }
        self.channels.after_fork(inheritance);
    }

    fn is_shared(&self) -> bool {
        self.keep == Keep::Open
    }

    fn resume(&mut self, before: LastExchange) -> Result<()> {
        if before == LastExchange::Interrupted {
            self.abandon();
        }
        Ok(())
    }

    /// swtpm would go on with a connection of which any forked process has a copy. One that has not used it yet connects
    /// again and loses nothing.
    fn close(&mut self, company: Sharing) {
        if company == Sharing::Exclusive {
            self.abandon();
        }
    }

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(Swtpm::set_locality);

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|swtpm| Ok(swtpm.data.iter().map(Stream::lend).collect()));
}

#[cfg(test)]
mod tests;
