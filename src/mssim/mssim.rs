// SPDX-License-Identifier: BSD-2-Clause
//! The simulators' protocol (`TpmTcpProtocol.h` of the TPM 2.0 reference code): commands in an envelope on one
//! connection, power and cancel on another. A simulator writes a response in pieces and waits for our acknowledgement
//! between them, so acknowledgements must not be delayed. Codes and sizes are big-endian; a platform command is answered
//! with a zero.
#![forbid(unsafe_code)]

pub mod abi;

use abi::{
    MS_SIM_CANCEL_OFF, MS_SIM_CANCEL_ON, MS_SIM_NV_ON, MS_SIM_POWER_ON, MS_SIM_TPM_SEND_COMMAND, TPM_SESSION_END,
};
use std::io::IoSlice;
use std::mem;
use std::time::Duration;
use tcti_core::io::Arrival;
use tcti_core::rx::MAX_RESPONSE;
use tcti_core::{
    Cancel, Conf, Deadline, Error, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result,
    ReturnCode, RxBuf, SetLocality, Sharing, Transport, Wait, fail,
};
use tcti_net::{Channels, Stream};

/// Where commands come from unless the caller says otherwise, as with the C module of tpm2-tss 4.2.0.
const DEFAULT_LOCALITY: u8 = 0;

/// Bytes around a response: its size before it, zero behind it.
const SIZE: usize = 4;
const TRAILER: usize = 4;

/// How long Finalize waits for the simulator's last reply.
const FAREWELL: Duration = Duration::from_secs(1);

/// A simulator.
pub struct Mssim {
    channels: Channels,
    link: Link,
    locality: u8,
    /// Whether the simulator cancels commands, or may: until it has acknowledged that it does not.
    cancelling: bool,
    /// How long the next connections will last.
    lasts: Lasts,
    /// What has arrived of the response in its envelope.
    envelope: RxBuf,
}

/// The connections.
enum Link {
    /// None: an exchange failed. The next command connects anew.
    Down,
    /// None, and they went with a command under way, whose response will not come.
    Lost,
    /// None: they lasted as long as an exchange. Its response is not collected yet, and the caller may still wait for the
    /// descriptor.
    Over { _data: Stream },
    /// Both, and what happens on them.
    Up { data: Stream, platform: Stream, exchange: Exchange, lasts: Lasts },
}

/// How long connections last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// As long as the context.
    Context,
    /// As long as an exchange: other processes want to connect, too, and a simulator serves one at a time.
    Exchange,
}

/// What happens on the data channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    None,
    /// A response is due.
    Due,
    /// A response is due, and nobody wants it any more.
    Cancelled,
}

impl Link {
    fn streams(&self) -> Option<(&Stream, &Stream)> {
        match self {
            Link::Down | Link::Lost | Link::Over { .. } => None,
            Link::Up { data, platform, .. } => Some((data, platform)),
        }
    }

    fn exchange(&self) -> Exchange {
        match self {
            Link::Down | Link::Over { .. } => Exchange::None,
            Link::Lost => Exchange::Due,
            Link::Up { exchange, .. } => *exchange,
        }
    }

    fn set(&mut self, now: Exchange) {
        if let Link::Up { exchange, .. } = self {
            *exchange = now;
        }
    }
}

impl Mssim {
    /// Sends one platform command and waits for its reply. `IO_ERROR` when the simulator refuses it, which costs the
    /// command under way nothing, and when the connection is lost, which costs it too.
    pub fn platform(&mut self, code: u32) -> Result<()> {
        // One that the simulator has closed since, as a restarted one does, is replaced as `send` does.
        let has_ended = self.link.streams().is_some_and(|(_, platform)| !platform.is_quiet());
        if has_ended && self.link.exchange() == Exchange::None {
            self.abandon();
        }
        if matches!(self.link, Link::Down | Link::Over { .. }) {
            self.connect()?;
        }
        let Some((_, platform)) = self.link.streams() else { return Err(self.lost()) };
        match signal(&self.channels, platform, code, self.channels.control.timeout()) {
            Ok(reply) => {
                self.rest();
                self.response_taken();
                accepted(&self.channels, code, reply)
            }
            Err(rc) => {
                // A late reply must not be taken for the next one.
                let lost = self.link.exchange() == Exchange::Due;
                self.abandon();
                self.link = if lost { Link::Lost } else { Link::Down };
                Err(rc)
            }
        }
    }

    fn lost(&self) -> Error {
        fail!(ReturnCode::IO_ERROR, "the connection to {} was lost", self.channels.data.name())
    }

    /// Connects both channels, and switches the simulator on, which does nothing to one that is on. Nor does the end of a
    /// cancellation where there is none: another process may have cancelled a command and ended, and nobody knows.
    ///
    /// A simulator serves one connection at a time on each channel, on its own. The reply on the platform channel says that
    /// this one is served; only then comes the data channel, or two programs would each wait for the channel that the
    /// other one has.
    fn connect(&mut self) -> Result<()> {
        if self.lasts == Lasts::Context && !self.channels.may_be_kept() {
            self.lasts = Lasts::Exchange;
        }
        // One that lasts as long as an exchange is this process's, and ends with it, whoever was forked meanwhile.
        let of_whom = |stream: Stream, lasts| if lasts == Lasts::Context { stream.shared() } else { stream };
        let platform = of_whom(self.channels.connect_control()?, self.lasts);
        let off = (self.cancelling || self.lasts == Lasts::Exchange).then_some(MS_SIM_CANCEL_OFF);
        for code in [MS_SIM_POWER_ON, MS_SIM_NV_ON].into_iter().chain(off) {
            let reply = signal(&self.channels, &platform, code, self.channels.control.timeout())?;
            accepted(&self.channels, code, reply)?;
        }
        let data = of_whom(self.channels.data.connect()?, self.lasts);
        self.cancelling = false;
        self.link = Link::Up { data, platform, exchange: Exchange::None, lasts: self.lasts };
        Ok(())
    }

    /// Reads and drops the response to a cancelled command, so that it meets no other, and ends the cancellation.
    fn settle(&mut self) -> Result<()> {
        let Some((data, _)) = self.link.streams() else { return Ok(()) };
        let whole = collect(data, &mut self.envelope, &Deadline::within(self.channels.data.timeout()));
        self.envelope.clear();
        self.link.set(Exchange::None);
        if !whole.is_ok_and(|progress| progress == Progress::Complete) {
            // The connection is of no use any more. The next one ends the cancellation.
            self.abandon();
            return Ok(());
        }
        let ended = self.platform(MS_SIM_CANCEL_OFF);
        self.cancelling &= ended.is_err();
        ended
    }

    /// Nobody needs the connections until the next exchange.
    fn rest(&mut self) {
        if let Link::Up { lasts: Lasts::Exchange, exchange: Exchange::None, .. } = self.link {
            self.leave();
        }
    }

    /// Says goodbye, which ends the connections in every process that has them.
    fn leave(&mut self) {
        if let Link::Up { data, platform, .. } = mem::replace(&mut self.link, Link::Down) {
            let end = TPM_SESSION_END.to_be_bytes();
            // A simulator that is gone needs no goodbye.
            let _ = data.end_with(&mut [IoSlice::new(&end)]);
            let _ = platform.end_with(&mut [IoSlice::new(&end)]);
            self.link = Link::Over { _data: data };
        }
    }

    /// What this process had under way is over: the other one has seen to it, or still has it.
    fn forget(&mut self) {
        self.link.set(Exchange::None);
        self.envelope.clear();
        (self.cancelling, self.lasts) = (false, Lasts::Exchange);
    }
}

/// Sends a platform command and gives its reply; an error when that does not come or is none.
fn signal(channels: &Channels, platform: &Stream, code: u32, timeout: Duration) -> Result<u32> {
    let code = code.to_be_bytes();
    let parts = &mut [IoSlice::new(&code)];
    let reply = channels.control.ask(platform, parts, size_of::<u32>(), timeout)?;
    match *reply.as_slice() {
        [a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(fail!(
            ReturnCode::IO_ERROR,
            "{} is no platform channel of a simulator; it answers like the control channel of a swtpm: use TCTI swtpm",
            channels.control.name()
        )),
    }
}

fn accepted(channels: &Channels, code: u32, reply: u32) -> Result<()> {
    match reply {
        0 => Ok(()),
        error => Err(fail!(
            ReturnCode::IO_ERROR,
            "the simulator answers platform command {code} on {} with error {error}",
            channels.control.name()
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
            ReturnCode::MALFORMED_RESPONSE,
            "the simulator announces a response of {size} bytes and sends {}",
            envelope.len() - SIZE
        )
    })
}

impl Module for Mssim {
    const MAGIC: u64 = 0xf05b_04cd_9f02_728d;
}

impl Open for Mssim {
    fn open(conf: Conf<'_>) -> Result<Mssim> {
        let channels = Channels::parse(conf, &[], |_, _| None)?;
        let mut mssim = Mssim {
            channels,
            link: Link::Down,
            locality: DEFAULT_LOCALITY,
            cancelling: false,
            lasts: Lasts::Context,
            envelope: RxBuf::new(),
        };
        mssim.connect()?;
        Ok(mssim)
    }
}

impl Transport for Mssim {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if !self.link.streams().is_some_and(|(data, _)| data.is_quiet()) {
            self.abandon(); // both connections, whoever has a copy: a simulator would go on with the other one
            self.connect()?;
        }
        let Some((data, _)) = self.link.streams() else { return Err(ReturnCode::IO_ERROR.into()) };
        let size = u32::try_from(command.len()).map_err(|_| ReturnCode::BAD_VALUE)?;
        data.send(&mut [
            IoSlice::new(&MS_SIM_TPM_SEND_COMMAND.to_be_bytes()),
            IoSlice::new(&[self.locality]),
            IoSlice::new(&size.to_be_bytes()),
            IoSlice::new(command),
        ])?;
        if self.channels.data.is_tcp() {
            data.acknowledge_at_once()?;
        }
        self.link.set(Exchange::Due);
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some((data, _)) = self.link.streams() else { return Err(self.lost()) };
        let progress = collect(data, &mut self.envelope, &Deadline::after(wait))?;
        if progress == Progress::Complete {
            let bytes = self.envelope.as_slice();
            let body = bytes.get(SIZE..bytes.len() - TRAILER).unwrap_or_default();
            let trailer = bytes.last_chunk::<TRAILER>().map_or(0, |trailer| u32::from_be_bytes(*trailer));
            if trailer != 0 {
                return Err(fail!(
                    ReturnCode::MALFORMED_RESPONSE,
                    "the simulator reports error {trailer} behind its response"
                ));
            }
            rx.extend(body)?;
            self.envelope.clear();
            self.link.set(Exchange::None);
            self.rest(); // while it is our turn: the simulator serves nobody else
        }
        Ok(progress)
    }

    fn response_taken(&mut self) {
        if let Link::Over { .. } = self.link {
            self.link = Link::Down;
        }
    }

    /// The TPM is in the simulator and loses nothing when a connection ends.
    fn abandon(&mut self) {
        if let Link::Up { data, platform, .. } = mem::replace(&mut self.link, Link::Down) {
            data.end();
            platform.end();
        }
        self.envelope.clear();
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        self.forget();
        match inheritance {
            Inheritance::Shared if matches!(self.link, Link::Up { lasts: Lasts::Context, .. }) => {}
            Inheritance::Shared | Inheritance::Copies => self.link = Link::Down,
            Inheritance::Nothing => mem::forget(mem::replace(&mut self.link, Link::Down)),
        }
        self.channels.after_fork(inheritance);
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn resume(&mut self, before: LastExchange) -> Result<()> {
        match (before, &self.link) {
            (LastExchange::Ours, _) => {}
            (LastExchange::Interrupted, Link::Down | Link::Lost | Link::Over { .. }) => self.cancelling = true,
            (LastExchange::Theirs, _) => self.forget(),
            (LastExchange::Interrupted, Link::Up { exchange: Exchange::Cancelled, .. }) => return self.settle(),
            (LastExchange::Interrupted, Link::Up { .. }) => {
                self.abandon();
                self.forget();
                self.cancelling = true; // the other process may have cancelled it
            }
        }
        Ok(())
    }

    /// Says goodbye and waits for nothing but the end of a cancellation, which would meet other programs' commands.
    fn close(&mut self, company: Sharing) {
        if self.cancelling && self.link.streams().is_none() {
            let _ = self.connect();
        }
        if let (true, Link::Up { platform, .. }) = (self.cancelling, &self.link) {
            let _ = signal(&self.channels, platform, MS_SIM_CANCEL_OFF, FAREWELL);
        }
        if company == Sharing::Exclusive {
            self.leave();
        }
    }

    const CANCEL: Option<Cancel<Self>> = Some(|mssim| {
        mssim.cancelling = true; // even when the reply is lost
        mssim.platform(MS_SIM_CANCEL_ON)?;
        mssim.link.set(Exchange::Cancelled);
        match mssim.link {
            Link::Up { lasts: Lasts::Exchange, .. } => mssim.settle(),
            Link::Up { lasts: Lasts::Context, .. } | Link::Down | Link::Lost | Link::Over { .. } => Ok(()),
        }
    });

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|mssim, locality| {
        mssim.locality = locality;
        Ok(())
    });

    const POLL_HANDLES: Option<GetPollHandles<Self>> =
        Some(|mssim| Ok(mssim.link.streams().map(|(data, _)| data.lend()).into_iter().collect()));
}

#[cfg(test)]
mod tests;
