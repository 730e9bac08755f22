// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind registers, what it answers to a command, and lies: bytes of the fuzzer in the place of what it said.
//! When the fuzzer has no more bytes, the TPM is as good as any. [`play`] is what the targets do with one.

use crate::message::{command, number, response, said};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use sim_tis::{Faults, Sim};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::session::{Received, State};
use tcti_core::{Result, ReturnCode, Session, Transport, Wait};
use tcti_tis::{Bus, Clock, Tis};

/// What becomes of one transfer.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// Nothing, so many times more.
    Pause(u8),
    /// These bytes, again and again, come in instead, from this place on.
    Bytes(u8, Vec<u8>),
    /// One bit is another one.
    Flip(u8, u8),
    /// It fails.
    Fail(u8),
    /// It does not arrive at the TPM, and all bytes read the same.
    Dead(u8),
    /// The TPM loses power before.
    Reset,
}

/// What a transfer that passes gives, and how the next ones lie.
pub struct Liar {
    /// The TPM.
    pub sim: Sim,
    lies: std::vec::IntoIter<Lie>,
    pause: u8,
    /// So far.
    transfers: u64,
}

/// Several look at one.
pub type Shared = Arc<Mutex<Liar>>;

/// The one that is meant, whoever panicked.
pub fn lock(liar: &Shared) -> MutexGuard<'_, Liar> {
    liar.lock().expect("nobody panics")
}

impl Liar {
    /// Tells these lies, then none.
    pub fn new(faults: Faults, lies: Vec<Lie>) -> Shared {
        let tpm = |_locality: u8, command: &[u8]| match command.len() {
            14 => response(number(command), number(command) as u16 % 300),
            _ => response(0, 0),
        };
        Arc::new(Mutex::new(Liar { sim: Sim::new(tpm, faults), lies: lies.into_iter(), pause: 0, transfers: 0 }))
    }

    /// Whether all lies are told.
    pub fn is_honest(&self) -> bool {
        self.lies.as_slice().is_empty() && self.pause == 0
    }

    /// Whether none of the lies that are still to be told puts other bytes in the place of what was said.
    pub fn is_truthful(&self) -> bool {
        let is_false = |lie: &Lie| matches!(lie, Lie::Bytes(..) | Lie::Flip(..) | Lie::Dead(_));
        !self.lies.as_slice().iter().any(is_false)
    }

    /// Tells no more lies.
    pub fn repent(&mut self) {
        (self.lies, self.pause) = (Vec::new().into_iter(), 0);
        self.sim.reset();
        *self.sim.faults() = Faults::default();
    }

    /// What becomes of the next transfer.
    pub fn next_lie(&mut self) -> Lie {
        self.transfers += 1;
        assert!(self.transfers < 1_000_000, "somebody asks for ever");
        if self.pause > 0 {
            self.pause -= 1;
            return Lie::None;
        }
        match self.lies.next() {
            Some(Lie::Pause(count)) => {
                self.pause = count;
                Lie::None
            }
            lie => lie.unwrap_or(Lie::None),
        }
    }

    /// One transfer; an error is a failure of the bus.
    pub fn transfer(&mut self, out: Option<&[u8]>, mut into: Option<&mut [u8]>, count: usize) -> Result<()> {
        let lie = self.next_lie();
        match lie {
            Lie::Fail(_) => return Err(ReturnCode::IO_ERROR.into()),
            Lie::Dead(level) => {
                into.unwrap_or_default().fill(level);
                return Ok(());
            }
            Lie::Reset => self.sim.reset(),
            _ => {}
        }
        self.sim.transfer(out, into.as_deref_mut(), count).map_err(|_| ReturnCode::IO_ERROR)?;
        let into = into.unwrap_or_default();
        match lie {
            Lie::Bytes(at, bytes) if !bytes.is_empty() => {
                let bytes = bytes.iter().cycle();
                into.iter_mut().skip(at.into()).zip(bytes).for_each(|(to, from)| *to = *from);
            }
            Lie::Flip(at, bit) => {
                if let Some(byte) = into.get_mut(usize::from(at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Every sleep is so many times too long: what would wait for hundreds of looks waits for some.
const HASTE: u64 = 8;

/// Time that passes only when somebody sleeps, in milliseconds.
#[derive(Default)]
pub struct Time {
    /// So much has passed.
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

/// Receives until there is a response or an error: so many times with a time-out, then without one.
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
    /// That.
    fn time(&mut self) -> &mut Time;
}

/// Opens a TPM, exchanges commands with it while the lies last, each with these time-outs, and then without lies. An
/// error is one of `errors`. `is_bearable` says that what the TPM does besides lying costs time alone.
pub fn play<B: Timeless>(
    liar: &Shared,
    open: impl Fn() -> Result<Tis<B>>,
    waits: &[Vec<u16>],
    errors: &[ReturnCode],
    is_bearable: bool,
) {
    // Nothing has gone wrong, or what had was noticed since.
    let mut is_well = is_bearable && lock(liar).is_honest();
    let tis = open().unwrap_or_else(|error| {
        assert!(!is_well && errors.contains(&error.code()), "{error:?}");
        lock(liar).repent();
        open().expect("it opens when the lies are over")
    });
    let mut session = Session::new(tis);
    for (number, waits) in (0..).zip(waits.iter().take(8)) {
        let was_honest = lock(liar).is_honest();
        let was_truthful = lock(liar).is_truthful();
        match exchange(&mut session, number, waits) {
            Ok(bytes) => {
                assert_eq!(Some(bytes.len()), said(&bytes));
                assert!(
                    !was_truthful || bytes == response(number, number as u16 % 300),
                    "the answer to another command"
                );
            }
            Err(error) => {
                assert!(!is_well, "nothing goes wrong: {error:?}");
                if error.code() == ReturnCode::TRY_AGAIN {
                    break;
                }
                assert!(errors.contains(&error.code()), "{error:?}");
            }
        }
        is_well = is_bearable && was_honest;
        // Locality, ready, burst and stall, wait states that do not end, and what was waited for.
        assert!(took(&mut session) < 500_000);
    }
    lock(liar).repent();
    if session.state() == State::Awaiting {
        let late = session.receive(Some(usize::MAX), Wait::Forever).err().map(|error| error.code());
        assert!(
            late.is_some_and(|rc| rc != ReturnCode::TRY_AGAIN && errors.contains(&rc)),
            "nobody answers after a reset: {late:?}"
        );
    }
    // The reset is noticed here or was before.
    match exchange(&mut session, 7, &[]) {
        Ok(bytes) => assert_eq!(bytes, response(7, 7)),
        Err(error) => assert!(errors.contains(&error.code()), "{error:?}"),
    }
    assert_eq!(exchange(&mut session, 9, &[]), Ok(response(9, 9)), "when the lies are over");
}

fn exchange<B: Bus>(session: &mut Session<Tis<B>>, number: u32, waits: &[u16]) -> Result<Vec<u8>> {
    session.transmit(&command(number))?;
    collect(session, waits)
}

/// Milliseconds that passed since the last look.
fn took<B: Timeless>(session: &mut Session<Tis<B>>) -> u64 {
    let mut now = 0;
    let _: Result<()> = session.beside(|tis| {
        now = mem::take(&mut tis.bus_mut().time().now);
        Ok(())
    });
    now
}
