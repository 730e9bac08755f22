// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind registers on a faulty bus: the fuzzer decides the result of each transfer, until its input is used up.
//! From then on the TPM works. [`play`] exchanges commands with it.

use crate::message::{command, number, response, said};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use sim_tis::{Faults, Sim};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::Tcti;
use tcti_core::session::{Received, State};
use tcti_core::{Result, ReturnCode, Session, Transport, Wait};
use tcti_tis::{Bus, Clock, Tis};

/// The fault of one transfer.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
pub enum BusFault {
    /// The transfer works.
    None,
    /// The transfer works, and so do this many more.
    Pause(u8),
    /// From this offset on, the input is these bytes, repeated.
    Bytes(u8, Vec<u8>),
    /// At this offset, this bit of the input is inverted.
    Flip(u8, u8),
    /// The transfer fails.
    Fail(u8),
    /// The transfer does not reach the TPM, and every byte of the input has this value.
    Dead(u8),
    /// The TPM loses power before the transfer.
    Reset,
}

/// The TPM, and the faults of the next transfers.
pub struct FaultyTpm {
    /// The TPM.
    pub sim: Sim,
    faults: std::vec::IntoIter<BusFault>,
    pause: u8,
    /// The number of transfers so far.
    transfers: u64,
}

/// Shared by the bus and the target.
pub type Shared = Arc<Mutex<FaultyTpm>>;

/// Locks the TPM.
pub fn lock(tpm: &Shared) -> MutexGuard<'_, FaultyTpm> {
    tpm.lock().expect("no thread panics")
}

impl FaultyTpm {
    /// Plays these faults, then none.
    pub fn new(tpm_faults: Faults, faults: Vec<BusFault>) -> Shared {
        let respond = |_locality: u8, command: &[u8]| match command.len() {
            14 => response(number(command), number(command) as u16 % 300),
            _ => response(0, 0),
        };
        Arc::new(Mutex::new(FaultyTpm {
            sim: Sim::new(respond, tpm_faults),
            faults: faults.into_iter(),
            pause: 0,
            transfers: 0,
        }))
    }

    /// Whether all faults were played.
    pub fn is_over(&self) -> bool {
        self.faults.as_slice().is_empty() && self.pause == 0
    }

    /// Whether none of the remaining faults changes bytes.
    pub fn keeps_bytes(&self) -> bool {
        let is_false = |fault: &BusFault| matches!(fault, BusFault::Bytes(..) | BusFault::Flip(..) | BusFault::Dead(_));
        !self.faults.as_slice().iter().any(is_false)
    }

    /// Drops the remaining faults, and resets the TPM.
    pub fn end_faults(&mut self) {
        (self.faults, self.pause) = (Vec::new().into_iter(), 0);
        self.sim.reset();
        *self.sim.faults() = Faults::default();
    }

    /// Returns the fault of the next transfer.
    pub fn next_fault(&mut self) -> BusFault {
        self.transfers += 1;
        assert!(self.transfers < 1_000_000, "the driver polls for ever");
        if self.pause > 0 {
            self.pause -= 1;
            return BusFault::None;
        }
        match self.faults.next() {
            Some(BusFault::Pause(count)) => {
                self.pause = count;
                BusFault::None
            }
            fault => fault.unwrap_or(BusFault::None),
        }
    }

    /// Plays one transfer. An error is a failure of the bus.
    pub fn transfer(&mut self, out: Option<&[u8]>, mut into: Option<&mut [u8]>, count: usize) -> Result<()> {
        let fault = self.next_fault();
        match fault {
            BusFault::Fail(_) => return Err(ReturnCode::IO_ERROR.into()),
            BusFault::Dead(level) => {
                into.unwrap_or_default().fill(level);
                return Ok(());
            }
            BusFault::Reset => self.sim.reset(),
            _ => {}
        }
        self.sim.transfer(out, into.as_deref_mut(), count).map_err(|_| ReturnCode::IO_ERROR)?;
        let into = into.unwrap_or_default();
        match fault {
            BusFault::Bytes(at, bytes) if !bytes.is_empty() => {
                let bytes = bytes.iter().cycle();
                into.iter_mut().skip(at.into()).zip(bytes).for_each(|(to, from)| *to = *from);
            }
            BusFault::Flip(at, bit) => {
                if let Some(byte) = into.get_mut(usize::from(at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A sleep takes this many times as long as asked, so that a driver polls tens of times until a time-out, not hundreds.
const HASTE: u64 = 8;

/// A clock whose time, in milliseconds, passes only in sleeps.
#[derive(Default)]
pub struct Time {
    /// The time that has passed.
    now: u64,
    timer: u64,
}

impl Clock for Time {
    fn sleep(&mut self, millis: u32) -> Result<()> {
        self.now += u64::from(millis) * HASTE;
        Ok(())
    }

    fn start_timer(&mut self, millis: u32) -> Result<()> {
        self.timer = self.now + u64::from(millis);
        Ok(())
    }

    fn timer_expired(&mut self) -> Result<bool> {
        Ok(self.now >= self.timer)
    }
}

/// Receives until there is a response or an error: up to four times with short time-outs, then with a long one.
fn collect<T: Transport>(session: &mut Session<T>, waits: &[u16]) -> Result<Vec<u8>> {
    let waits = waits.iter().take(4).map(|millis| Wait::Millis(u32::from(millis % 1000)));
    for wait in waits.chain([Wait::Millis(5000)]) {
        match session.receive(Some(usize::MAX), wait) {
            Ok(Received::Response(bytes)) => return Ok(bytes.to_vec()),
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => {}
            Err(error) => return Err(error),
        }
    }
    Err(ReturnCode::TRY_AGAIN.into())
}

/// A bus whose time is [`Time`].
pub trait Timeless: Bus {
    /// Returns that time.
    fn time(&mut self) -> &mut Time;
}

/// Opens a TPM and exchanges commands with it, first with the faults, each command with these time-outs, and then
/// without faults. Every error is one of `errors`. `is_bearable`: apart from the faults, the TPM is only slow.
pub fn play<B: Timeless>(
    tpm: &Shared,
    open: impl Fn() -> Result<Tis<B>>,
    waits: &[Vec<u16>],
    errors: &[ReturnCode],
    is_bearable: bool,
) {
    // No fault was played, or the driver has noticed it.
    let mut is_well = is_bearable && lock(tpm).is_over();
    let tis = open().unwrap_or_else(|error| {
        assert!(!is_well && errors.contains(&error.code()), "{error:?}");
        lock(tpm).end_faults();
        open().expect("it opens without faults")
    });
    let mut session = Session::new(tis);
    for (number, waits) in (0..).zip(waits.iter().take(8)) {
        let was_over = lock(tpm).is_over();
        let kept_bytes = lock(tpm).keeps_bytes();
        match exchange(&mut session, number, waits) {
            Ok(bytes) => {
                assert_eq!(Some(bytes.len()), said(&bytes));
                assert!(
                    !kept_bytes || bytes == response(number, number as u16 % 300),
                    "the response to another command"
                );
            }
            Err(error) => {
                assert!(!is_well, "an error without a fault: {error:?}");
                if error.code() == ReturnCode::TRY_AGAIN {
                    break;
                }
                assert!(errors.contains(&error.code()), "{error:?}");
            }
        }
        is_well = is_bearable && was_over;
        // The waits for the locality, commandReady, the burst count, the data and wait states that do not end, and the
        // time-outs of the caller.
        assert!(took(&mut session) < 500_000);
    }
    lock(tpm).end_faults();
    if session.state() == State::Awaiting {
        let late = session.receive(Some(usize::MAX), Wait::Forever).err().map(|error| error.code());
        assert!(
            late.is_some_and(|rc| rc != ReturnCode::TRY_AGAIN && errors.contains(&rc)),
            "a response after a reset: {late:?}"
        );
    }
    // The driver notices the reset here, if it has not before.
    match exchange(&mut session, 7, &[]) {
        Ok(bytes) => assert_eq!(bytes, response(7, 7)),
        Err(error) => assert!(errors.contains(&error.code()), "{error:?}"),
    }
    assert_eq!(exchange(&mut session, 9, &[]), Ok(response(9, 9)), "without faults");
}

fn exchange<B: Bus>(session: &mut Session<Tis<B>>, number: u32, waits: &[u16]) -> Result<Vec<u8>> {
    session.transmit(&command(number))?;
    collect(session, waits)
}

/// Returns the milliseconds since the last call.
fn took<B: Timeless>(session: &mut Session<Tis<B>>) -> u64 {
    let mut now = 0;
    let _: Result<()> = session.alongside(|tis| {
        now = mem::take(&mut tis.bus_mut().time().now);
        Ok(())
    });
    now
}
