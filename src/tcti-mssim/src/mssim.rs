// SPDX-License-Identifier: BSD-2-Clause
//! The simulators' protocol (`TpmTcpProtocol.h` of the TPM 2.0 reference code): commands in an envelope on one
//! connection, power and cancel on another. A simulator writes a response in pieces and waits for our acknowledgement
//! between them, so acknowledgements must not be delayed. Codes and sizes are big-endian; a platform command is answered
//! with a zero.
#![forbid(unsafe_code)]

use crate::{
    MS_SIM_CANCEL_OFF, MS_SIM_CANCEL_ON, MS_SIM_NV_ON, MS_SIM_POWER_ON, MS_SIM_TPM_SEND_COMMAND, TPM_SESSION_END,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use tcti_core::net::{Arrival, Channels, Stream};
use tcti_core::rx::MAX_RESPONSE;
use tcti_core::{
    Cancel, Conf, Deadline, GetPollHandles, Open, PollHandle, Progress, Rc, Result, RxBuf, SetLocality, Transport,
    Wait, fail,
};

/// Where commands come from unless the caller says otherwise, as with the C module.
const DEFAULT_LOCALITY: u8 = 3;

/// Bytes around a response: its size before it, zero behind it.
const SIZE: usize = 4;
const TRAILER: usize = 4;

/// A simulator.
pub(crate) struct Mssim {
    channels: Channels,
    link: Link,
    locality: u8,
    /// What has arrived of the response in its envelope.
    envelope: RxBuf,
}

/// The connections.
enum Link {
    /// None: an exchange failed. The next command connects anew.
    Down,
    /// Both.
    Up { data: Stream, platform: Stream },
    /// Both; the command under way was cancelled and its response is still to come.
    Cancelled { data: Stream, platform: Stream },
}

impl Link {
    fn streams(&self) -> Option<(&Stream, &Stream)> {
        match self {
            Link::Down => None,
            Link::Up { data, platform } | Link::Cancelled { data, platform } => Some((data, platform)),
        }
    }
}

impl Mssim {
    /// Sends one platform command and waits for its reply.
    pub(crate) fn platform(&mut self, code: u32) -> Result<()> {
        if self.link.streams().is_none() {
            self.connect()?;
        }
        let Some((_, platform)) = self.link.streams() else { return Err(Rc::IO_ERROR) };
        let result = signal(&self.channels, platform, code);
        if result.is_err() {
            self.abandon(); // a late reply must not be taken for the next one
        }
        result
    }

    /// Connects both channels and switches the simulator on, which does nothing to one that is on.
    fn connect(&mut self) -> Result<()> {
        let data = self.channels.connect_data()?;
        let platform = self.channels.control.connect()?;
        signal(&self.channels, &platform, MS_SIM_POWER_ON)?;
        signal(&self.channels, &platform, MS_SIM_NV_ON)?;
        self.link = Link::Up { data, platform };
        Ok(())
    }

    /// Reads and drops the response to a cancelled command, so that it meets no other, and ends the cancellation.
    fn settle(&mut self) -> Result<()> {
        let (data, platform) = match core::mem::replace(&mut self.link, Link::Down) {
            Link::Cancelled { data, platform } => (data, platform),
            other => {
                self.link = other;
                return Ok(());
            }
        };
        let deadline = Deadline::within(self.channels.data.timeout());
        let whole = collect(&data, &mut self.envelope, &deadline);
        self.envelope.clear();
        signal(&self.channels, &platform, MS_SIM_CANCEL_OFF)?;
        // Without the whole response the connection is of no use any more, and the next command makes another.
        if whole.is_ok_and(|progress| progress == Progress::Complete) {
            self.link = Link::Up { data, platform };
        }
        Ok(())
    }
}

/// Sends a platform command and reads its reply.
fn signal(channels: &Channels, platform: &Stream, code: u32) -> Result<()> {
    let name = channels.control.name();
    let reply = channels.control.ask(platform, &mut [IoSlice::new(&code.to_be_bytes())], size_of::<u32>())?;
    match *reply.as_slice() {
        [0, 0, 0, 0] => Ok(()),
        [a, b, c, d] => Err(fail!(
            Rc::IO_ERROR,
            "the simulator answers platform command {code} on {name} with error {}",
            u32::from_be_bytes([a, b, c, d])
        )),
        _ => Err(fail!(
            Rc::IO_ERROR,
            "{name} is no platform channel of a simulator; it answers like the control channel of a swtpm: use TCTI swtpm"
        )),
    }
}

/// Reads until the envelope is whole.
fn collect(data: &Stream, envelope: &mut RxBuf, deadline: &Deadline) -> Result<Progress> {
    while missing(envelope)? > 0 {
        match data.recv_some(envelope, deadline)? {
            Arrival::Bytes => {}
            Arrival::Nothing => return Ok(Progress::Pending),
            Arrival::End => return Err(data.ended(envelope)),
        }
    }
    Ok(Progress::Complete)
}

/// Bytes that an envelope still lacks: at least those of its size while that is incomplete.
fn missing(envelope: &RxBuf) -> Result<usize> {
    let Some(size) = envelope.as_slice().first_chunk() else { return Ok(SIZE - envelope.len()) };
    let size = u32::from_be_bytes(*size);
    let whole = usize::try_from(size).ok().filter(|size| *size <= MAX_RESPONSE).map(|size| SIZE + size + TRAILER);
    whole.and_then(|whole| whole.checked_sub(envelope.len())).ok_or_else(|| {
        fail!(
            Rc::MALFORMED_RESPONSE,
            "the simulator announces a response of {size} bytes and sends {}",
            envelope.len() - SIZE
        )
    })
}

impl Open for Mssim {
    const MAGIC: u64 = 0xf05b_04cd_9f02_728d;

    fn open(conf: Conf<'_>) -> Result<Mssim> {
        let channels = Channels::parse(conf, |_, _| None)?;
        let mut mssim = Mssim { channels, link: Link::Down, locality: DEFAULT_LOCALITY, envelope: RxBuf::new() };
        mssim.connect()?;
        Ok(mssim)
    }
}

impl Transport for Mssim {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.settle()?;
        if !self.link.streams().is_some_and(|(data, _)| data.is_quiet()) {
            self.link = Link::Down;
            self.connect()?;
        }
        let Some((data, _)) = self.link.streams() else { return Err(Rc::IO_ERROR) };
        let size = u32::try_from(command.len()).map_err(|_| Rc::BAD_VALUE)?;
        data.send(&mut [
            IoSlice::new(&MS_SIM_TPM_SEND_COMMAND.to_be_bytes()),
            IoSlice::new(&[self.locality]),
            IoSlice::new(&size.to_be_bytes()),
            IoSlice::new(command),
        ])?;
        if self.channels.data.is_tcp() {
            data.acknowledge_at_once()?;
        }
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some((data, _)) = self.link.streams() else {
            return Err(fail!(Rc::IO_ERROR, "the connection to {} was lost", self.channels.data.name()));
        };
        let progress = collect(data, &mut self.envelope, &Deadline::after(wait))?;
        if progress == Progress::Complete {
            let bytes = self.envelope.as_slice();
            let body = bytes.get(SIZE..bytes.len() - TRAILER).unwrap_or_default();
            let trailer = bytes.last_chunk::<TRAILER>().map_or(0, |trailer| u32::from_be_bytes(*trailer));
            if trailer != 0 {
                return Err(fail!(Rc::MALFORMED_RESPONSE, "the simulator reports error {trailer} behind its response"));
            }
            rx.extend(body);
            self.envelope.clear();
        }
        Ok(progress)
    }

    fn abandon(&mut self) {
        self.link = Link::Down;
        self.envelope.clear();
    }

    const CANCEL: Option<Cancel<Self>> = Some(|mssim| {
        mssim.platform(MS_SIM_CANCEL_ON)?;
        mssim.link = match core::mem::replace(&mut mssim.link, Link::Down) {
            Link::Up { data, platform } => Link::Cancelled { data, platform },
            other => other,
        };
        Ok(())
    });

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|mssim, locality| {
        mssim.locality = locality;
        Ok(())
    });

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|mssim| {
        let fd = mssim.link.streams().map_or(-1, |(data, _)| data.as_fd().as_raw_fd());
        Ok(vec![PollHandle { fd, events: 0, revents: 0 }])
    });
}

impl Drop for Mssim {
    fn drop(&mut self) {
        let _ = self.settle();
        if let Some((data, platform)) = self.link.streams() {
            let end = TPM_SESSION_END.to_be_bytes();
            // A simulator that is gone needs no goodbye.
            let _ = data.send(&mut [IoSlice::new(&end)]);
            let _ = platform.send(&mut [IoSlice::new(&end)]);
        }
    }
}

#[cfg(test)]
mod tests;
