// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Mssim`] speaks the protocol of the simulators (`TpmTcpProtocol.h` of the TPM 2.0 reference code):
//! commands in an envelope on one connection, power and cancel on another. A simulator writes a response in pieces and
//! waits for a TCP acknowledgement between them, so acknowledgements must not be delayed. Codes and sizes are big-endian;
//! the reply to a platform command is zero.
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

/// The locality of commands until the caller sets another, as with the C module of tpm2-tss 4.2.0.
const DEFAULT_LOCALITY: u8 = 0;

/// Bytes around a response: its size before it, a zero after it.
const SIZE: usize = 4;
const TRAILER: usize = 4;

/// How long Finalize waits for the simulator's last reply.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A simulator.
pub struct Mssim {
    channels: Channels,
    link: Link,
    locality: u8,
    /// Whether the simulator may be cancelling commands. Reset when it acknowledges the end of the cancellation.
    cancelling: bool,
    /// The lifetime of the next connections.
    lifetime: Lifetime,
    /// The bytes of the response that have arrived, in their envelope.
    envelope: RxBuf,
}

/// The connections.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per context, and a box would be an allocation per connection"
)]
enum Link {
    /// Not connected. The next command connects again.
    Down,
    /// Not connected: the connections were lost with a command in progress, whose response will not arrive.
    Lost,
    /// Both channels are connected.
    Up { data: Stream, platform: Stream, exchange: Exchange, lifetime: Lifetime },
}

/// How long the connections last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// As long as the context.
    Context,
    /// Until the response is complete: other processes have to connect too, and a simulator serves one at a time.
    Exchange,
}

/// The state of the data channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    None,
    /// A command was sent, and its response is due.
    Due,
    /// A response is due, and is to be dropped.
    Cancelled,
}

impl Link {
    fn streams(&self) -> Option<(&Stream, &Stream)> {
        match self {
            Link::Down | Link::Lost => None,
            Link::Up { data, platform, .. } => Some((data, platform)),
        }
    }

    fn exchange(&self) -> Exchange {
        match self {
            Link::Down => Exchange::None,
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
    /// Sends one platform command and waits for its reply. `IO_ERROR` when the simulator refuses it, which does not affect
    /// the TPM command in progress, and when the connection is lost, which loses that command too.
    pub fn platform(&mut self, code: u32) -> Result<()> {
        // A connection that the simulator has closed, for example by a restart, is replaced as in `send`.
        let has_ended = self.link.streams().is_some_and(|(_, platform)| !platform.is_open() || !platform.is_quiet());
        if has_ended && self.link.exchange() == Exchange::None {
            self.abandon();
        }
        if matches!(self.link, Link::Down) {
            self.connect()?;
        }
        let streams = self.link.streams().filter(|(_, platform)| platform.is_open());
        let Some((_, platform)) = streams else { return Err(self.connection_lost()) };
        match request(&self.channels, platform, code, self.channels.control.timeout()) {
            Ok(reply) => {
                self.release();
                check(&self.channels, code, reply)
            }
            Err(error) => {
                // A late reply must not be taken for the next one.
                let lost = self.link.exchange() == Exchange::Due;
                self.abandon();
                self.link = if lost { Link::Lost } else { Link::Down };
                Err(error)
            }
        }
    }

    fn connection_lost(&self) -> Error {
        fail!(ReturnCode::IO_ERROR, "the connection to {} was lost", self.channels.data.name())
    }

    /// Connects both channels and switches the simulator on, which has no effect on one that is on. Also ends a
    /// cancellation if there may be one: another process may have cancelled a command and died.
    ///
    /// A simulator serves one connection at a time on each channel, independently. The data channel is connected only after
    /// a reply on the platform channel shows that this connection is served; otherwise two programs, each with one channel,
    /// would deadlock.
    fn connect(&mut self) -> Result<()> {
        if self.lifetime == Lifetime::Context && !self.channels.may_be_kept() {
            self.lifetime = Lifetime::Exchange;
        }
        // A connection for one exchange belongs to this process alone, whatever is forked meanwhile.
        let owned = |stream: Stream, lifetime| if lifetime == Lifetime::Context { stream.shared() } else { stream };
        let platform = owned(self.channels.connect_control()?, self.lifetime);
        let off = (self.cancelling || self.lifetime == Lifetime::Exchange).then_some(MS_SIM_CANCEL_OFF);
        for code in [MS_SIM_POWER_ON, MS_SIM_NV_ON].into_iter().chain(off) {
            let reply = request(&self.channels, &platform, code, self.channels.control.timeout())?;
            check(&self.channels, code, reply)?;
        }
        let data = owned(self.channels.data.connect()?, self.lifetime);
        self.cancelling = false;
        self.link = Link::Up { data, platform, exchange: Exchange::None, lifetime: self.lifetime };
        Ok(())
    }

    /// Reads and drops the response to a cancelled command, so that it is not taken for a later one, and ends the
    /// cancellation.
    fn finish_cancellation(&mut self) -> Result<()> {
        let Some((data, _)) = self.link.streams() else { return Ok(()) };
        let dropped = read_envelope(data, &mut self.envelope, &Deadline::within(self.channels.data.timeout()));
        self.envelope.clear();
        self.link.set(Exchange::None);
        if !dropped.is_ok_and(|progress| progress == Progress::Complete) {
            // The next connection ends the cancellation.
            self.abandon();
            return Ok(());
        }
        let ended = self.platform(MS_SIM_CANCEL_OFF);
        self.cancelling &= ended.is_err();
        ended
    }

    /// Closes connections that last only for an exchange, once it is complete.
    fn release(&mut self) {
        if let Link::Up { lifetime: Lifetime::Exchange, exchange: Exchange::None, .. } = self.link {
            self.end_session();
        }
    }

    /// Sends `TPM_SESSION_END` and shuts the connections down, for every process that shares them.
    fn end_session(&mut self) {
        if let Link::Up { data, platform, .. } = mem::replace(&mut self.link, Link::Down) {
            let end = TPM_SESSION_END.to_be_bytes();
            // An error means that the simulator is gone.
            let _ = data.end_with(&mut [IoSlice::new(&end)]);
            let _ = platform.end_with(&mut [IoSlice::new(&end)]);
        }
    }

    /// Forgets the exchange and the cancellation of this process: the other process has dealt with them, or still does.
    fn forget_exchange(&mut self) {
        self.link.set(Exchange::None);
        self.envelope.clear();
        (self.cancelling, self.lifetime) = (false, Lifetime::Exchange);
    }
}

/// Sends a platform command and returns the reply. `IO_ERROR` when it does not arrive in time or has the wrong size.
fn request(channels: &Channels, platform: &Stream, code: u32, timeout: Duration) -> Result<u32> {
    let code = code.to_be_bytes();
    let parts = &mut [IoSlice::new(&code)];
    let reply = channels.control.ask(platform, parts, size_of::<u32>(), timeout)?;
    match *reply.as_slice() {
        [a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(fail!(
            ReturnCode::IO_ERROR,
            "{} is not the platform channel of a simulator; it answers like the control channel of a swtpm: use TCTI swtpm",
            channels.control.name()
        )),
    }
}

/// Fails unless the reply to a platform command is zero.
fn check(channels: &Channels, code: u32, reply: u32) -> Result<()> {
    match reply {
        0 => Ok(()),
        error => Err(fail!(
            ReturnCode::IO_ERROR,
            "the simulator answers platform command {code} on {} with error {error}",
            channels.control.name()
        )),
    }
}

/// Reads until the envelope is complete.
fn read_envelope(data: &Stream, envelope: &mut RxBuf, deadline: &Deadline) -> Result<Progress> {
    while missing(envelope)? > 0 {
        match data.recv_some(envelope, deadline)? {
            Arrival::Bytes => {}
            Arrival::Nothing => return Ok(Progress::Pending),
            Arrival::End => return Err(data.ended(envelope)),
        }
    }
    Ok(Progress::Complete)
}

/// Returns the number of bytes that the envelope still lacks; while its size field is incomplete, those of that field.
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
            lifetime: Lifetime::Context,
            envelope: RxBuf::new(),
        };
        mssim.connect()?;
        Ok(mssim)
    }
}

impl Transport for Mssim {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if !self.link.streams().is_some_and(|(data, _)| data.is_quiet()) {
            self.abandon(); // both channels, in every process: the simulator would keep serving the other one
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
        let Some((data, _)) = self.link.streams() else { return Err(self.connection_lost()) };
        let progress = read_envelope(data, &mut self.envelope, &Deadline::after(wait))?;
        if progress == Progress::Complete {
            let bytes = self.envelope.as_slice();
            let body = bytes.get(SIZE..bytes.len() - TRAILER).unwrap_or_default();
            let trailer = bytes.last_chunk::<TRAILER>().map_or(0, |trailer| u32::from_be_bytes(*trailer));
            if trailer != 0 {
                return Err(fail!(
                    ReturnCode::MALFORMED_RESPONSE,
                    "the simulator reports error {trailer} after its response"
                ));
            }
            rx.extend(body)?;
            self.envelope.clear();
            self.link.set(Exchange::None);
            self.release(); // before the turn ends: until then the simulator serves nobody else
        }
        Ok(progress)
    }

    /// Closes both connections. The TPM runs in the simulator and loses nothing.
    fn abandon(&mut self) {
        if let Link::Up { data, platform, .. } = mem::replace(&mut self.link, Link::Down) {
            data.end();
            platform.end();
        }
        self.envelope.clear();
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        self.forget_exchange();
        match inheritance {
            Inheritance::Shared if matches!(self.link, Link::Up { lifetime: Lifetime::Context, .. }) => {}
            Inheritance::Shared | Inheritance::Copies => self.link = Link::Down,
        }
        self.channels.after_fork();
    }

    /// Ends the platform connection, too: the simulator would keep serving it.
    fn drop_closed(&mut self) -> bool {
        let is_closed = self.link.streams().is_some_and(|(data, _)| !data.is_open());
        if is_closed {
            self.abandon();
        }
        is_closed
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn resume(&mut self, last: LastExchange) -> Result<()> {
        match (last, &self.link) {
            (LastExchange::Ours, _) => {}
            (LastExchange::Interrupted, Link::Down | Link::Lost) => self.cancelling = true,
            (LastExchange::Theirs, _) => self.forget_exchange(),
            (LastExchange::Interrupted, Link::Up { exchange: Exchange::Cancelled, .. }) => {
                return self.finish_cancellation();
            }
            (LastExchange::Interrupted, Link::Up { .. }) => {
                self.abandon();
                self.forget_exchange();
                self.cancelling = true; // the other process may have cancelled its command
            }
        }
        Ok(())
    }

    /// Ends the session. Waits for one reply at most: that to the end of a cancellation, which would otherwise cancel the
    /// commands of other programs.
    fn close(&mut self, sharing: Sharing) {
        if self.cancelling && self.link.streams().is_none() {
            let _ = self.connect().inspect_err(Error::warn);
        }
        let streams = self.link.streams().filter(|(_, platform)| self.cancelling && platform.is_open());
        if let Some((_, platform)) = streams {
            let _ = request(&self.channels, platform, MS_SIM_CANCEL_OFF, CLOSE_TIMEOUT).inspect_err(Error::warn);
        }
        if sharing == Sharing::Exclusive {
            self.end_session();
        }
    }

    const CANCEL: Option<Cancel<Self>> = Some(|mssim| {
        mssim.cancelling = true; // even when the reply is lost
        mssim.platform(MS_SIM_CANCEL_ON)?;
        mssim.link.set(Exchange::Cancelled);
        match mssim.link {
            Link::Up { lifetime: Lifetime::Exchange, .. } => mssim.finish_cancellation(),
            Link::Up { lifetime: Lifetime::Context, .. } | Link::Down | Link::Lost => Ok(()),
        }
    });

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|mssim, locality| {
        mssim.locality = locality;
        Ok(())
    });

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|mssim, watch| {
        mssim.link.streams().into_iter().for_each(|(data, _)| watch(data.number()));
        Ok(())
    });
}

#[cfg(test)]
mod tests;
