// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport on a simulated TPM, with a clock that advances only by sleeping.

mod exchange;
mod faults;
mod ideal;
mod opening;
mod random;

use crate::{Bus, ChipSelect, Clock, Tis, Transfer};
use sim_tis::{Faults, Sim};
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::{Result, ReturnCode, Session, Wait};

/// TPM2_GetRandom of 16 bytes.
const GET_RANDOM_16: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];

/// Both kinds of bus.
const BOTH: [ChipSelect; 2] = [ChipSelect::PerTransfer, ChipSelect::Held];

/// The clock of the tests, in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<Mutex<(u64, u64)>>);

impl Time {
    fn now(&self) -> u64 {
        self.0.lock().unwrap().0
    }
}

impl Clock for Time {
    fn sleep(&mut self, millis: u32) -> Result<()> {
        let mut time = self.0.lock().unwrap();
        time.0 += u64::from(millis);
        assert!(time.0 < 3_600_000, "a loop does not end");
        Ok(())
    }

    fn start_timer(&mut self, millis: u32) -> Result<()> {
        let mut time = self.0.lock().unwrap();
        time.1 = time.0 + u64::from(millis);
        Ok(())
    }

    fn timer_expired(&mut self) -> Result<bool> {
        let time = self.0.lock().unwrap();
        Ok(time.0 >= time.1)
    }
}

/// The simulator as a bus.
struct OnSim {
    sim: Arc<Mutex<Sim>>,
    time: Time,
    chip_select: ChipSelect,
}

impl Bus for OnSim {
    fn transfer(&mut self, mut transfer: Transfer<'_>) -> Result<()> {
        let (out, count) = (transfer.out, transfer.len());
        assert!((1..=68).contains(&count), "{count} bytes");
        let done = self.sim.lock().unwrap().transfer(out, transfer.into.as_deref_mut(), count);
        done.map_err(|_| ReturnCode::IO_ERROR.into())
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.time
    }

    fn chip_select(&self) -> ChipSelect {
        self.chip_select
    }

    fn select(&mut self) -> Result<()> {
        self.sim.lock().unwrap().select();
        Ok(())
    }

    fn deselect(&mut self) -> Result<()> {
        self.sim.lock().unwrap().deselect();
        Ok(())
    }
}

/// A simulated TPM and its clock.
#[derive(Clone)]
struct Bench {
    sim: Arc<Mutex<Sim>>,
    time: Time,
}

/// Returns a response that repeats the bytes of the command, so that it belongs to that command only. It has 28 bytes for
/// [`GET_RANDOM_16`], else as many as the last two bytes of the command say.
fn echo(_locality: u8, command: &[u8]) -> Vec<u8> {
    let wanted = command.last_chunk().map_or(0, |size| u16::from_be_bytes(*size));
    let size = if command == GET_RANDOM_16 { 28 } else { usize::from(wanted).max(10) };
    let mut response = vec![0x80, 0x01];
    response.extend(u32::try_from(size).unwrap().to_be_bytes());
    response.extend([0; 4]);
    response.extend(command.iter().cycle().take(size - 10));
    response
}

/// Returns a command of `len` bytes whose response has `answer` bytes; `mark` makes it unique.
fn command(len: usize, answer: u16, mark: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x01];
    command.extend(u32::try_from(len).unwrap().to_be_bytes());
    command.resize(len - 2, mark);
    command.extend(answer.to_be_bytes());
    command
}

impl Bench {
    fn new(faults: Faults) -> Bench {
        Bench { sim: Arc::new(Mutex::new(Sim::new(echo, faults))), time: Time::default() }
    }

    fn bus(&self, chip_select: ChipSelect) -> OnSim {
        OnSim { sim: Arc::clone(&self.sim), time: self.time.clone(), chip_select }
    }

    fn open(&self, chip_select: ChipSelect) -> Session<Tis<OnSim>> {
        Session::new(Tis::over(self.bus(chip_select)).unwrap())
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap()
    }

    /// Sets the faults.
    fn set(&self, faults: Faults) {
        *self.sim().faults() = faults;
    }

    fn assert_no_offences(&self) {
        assert_eq!(self.sim().offences(), <[String; 0]>::default());
    }
}

/// Receives as libtss2-sys does: the size first.
fn collect(session: &mut Session<Tis<OnSim>>, wait: Wait) -> Result<Vec<u8>> {
    let Received::Size(size) = session.receive(None, wait)? else { panic!("a size") };
    match session.receive(Some(size), wait)? {
        Received::Response(response) => Ok(response.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn run(session: &mut Session<Tis<OnSim>>, command: &[u8]) -> Result<Vec<u8>> {
    session.transmit(command)?;
    collect(session, Wait::Forever)
}

/// Runs a command and checks that the response is its own.
fn works(session: &mut Session<Tis<OnSim>>, mark: u8) {
    let command = command(40, 300, mark);
    assert_eq!(run(session, &command).unwrap(), echo(0, &command));
}
