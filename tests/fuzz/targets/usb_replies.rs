// SPDX-License-Identifier: BSD-2-Clause
//! A LetsTrust-TPM2Go with faulty USB replies: errors, short and stale packets, wrong bytes, unplugging. Every call
//! returns, a response has the size of its header, and after the last fault everything works. The clock is virtual.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rusb::Error;
use sim_tis::Faults;
use std::cell::RefCell;
use std::time::Duration;
use tcti_core::{Conf, Result, ReturnCode};
use tcti_spi_ltt2go::bridge::{self, Bridge, Find, Stick};
use tcti_tis::{Bus, Clock, OpenBus, Tis, Transfer};
use tss2_fuzz::bus::{BusFault, FaultyTpm, Shared, Time, Timeless, lock, play};

#[derive(Arbitrary, Debug)]
struct Input {
    burst: u16,
    /// The number of stale bytes from a program that was killed.
    stale: u16,
    /// The most bytes of one packet.
    piece: u8,
    waits: Vec<Vec<u16>>,
    faults: Vec<BusFault>,
}

thread_local! {
    /// The stick that the next search finds. `Find` cannot get it in another way.
    static PLUGGED: RefCell<Option<(Shared, Plug)>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy)]
struct Plug {
    stale: u16,
    piece: usize,
}

struct Search;

impl Find for Search {
    type Stick = FaultyStick;

    fn parse(_conf: Conf<'_>) -> Result<Search> {
        Ok(Search)
    }

    fn find(&self, same: Option<&str>) -> Result<FaultyStick> {
        let absent = if same.is_some() { ReturnCode::NO_CONNECTION } else { ReturnCode::IO_ERROR };
        assert!(same.is_none_or(|same| same == "A1"));
        let (tpm, plug) = PLUGGED.with_borrow(|plugged| plugged.clone()).expect("one is plugged");
        if let BusFault::Fail(_) = lock(&tpm).next_fault() {
            return Err(absent.into());
        }
        Ok(FaultyStick { tpm, plug, announced: None, left: vec![0xee; plug.stale.into()] })
    }
}

/// A stick.
struct FaultyStick {
    tpm: Shared,
    plug: Plug,
    announced: Option<u16>,
    /// Bytes that the host has not read yet.
    left: Vec<u8>,
}

fn error(kind: u8) -> Error {
    [Error::Timeout, Error::Pipe, Error::NoDevice, Error::Overflow, Error::Io, Error::Other, Error::Interrupted]
        [usize::from(kind % 7)]
}

impl FaultyStick {
    fn give(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.left.len()).min(self.plug.piece);
        for (to, from) in into.iter_mut().zip(self.left.drain(..count)) {
            *to = from;
        }
        count
    }
}

impl Stick for FaultyStick {
    fn serial(&self) -> &str {
        "A1"
    }

    fn announce(&mut self, count: u16) -> rusb::Result<()> {
        assert!((1..=68).contains(&count), "{count} bytes");
        assert!(self.announced.replace(count).is_none(), "announced before the last transaction was over");
        match lock(&self.tpm).next_fault() {
            BusFault::Fail(kind) => Err(error(kind)),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize> {
        assert_eq!(self.announced.take().map(usize::from), Some(out.len()));
        assert_eq!(out.len(), into.len());
        let mut bytes = vec![0; out.len()];
        let mut tpm = lock(&self.tpm);
        tpm.transfer(Some(out), Some(&mut bytes), out.len()).map_err(|_| error(out[0]))?;
        let fault = tpm.next_fault();
        drop(tpm);
        self.left.extend(bytes);
        match fault {
            BusFault::Fail(kind) => return Err(error(kind)),
            // Fewer bytes arrive.
            BusFault::Dead(count) => self.left.truncate(count.into()),
            // More bytes arrive, in the same packet.
            BusFault::Bytes(..) => return Err(Error::Overflow),
            _ => {}
        }
        Ok(self.give(into))
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> rusb::Result<usize> {
        assert!(timeout > Duration::ZERO && timeout <= bridge::TIMEOUT);
        let fault = lock(&self.tpm).next_fault();
        match fault {
            // Unread bytes arrive at once: with a time-out here, the driver could not know that there are any.
            BusFault::Fail(kind) if self.left.is_empty() || error(kind) != Error::Timeout => Err(error(kind)),
            _ if self.left.is_empty() => Err(Error::Timeout),
            // An empty packet.
            BusFault::Flip(..) => Ok(0),
            _ => Ok(self.give(into)),
        }
    }

    fn set_at_work(&mut self, _at_work: bool) -> bool {
        !matches!(lock(&self.tpm).next_fault(), BusFault::Fail(_))
    }
}

/// The bridge with another clock.
struct Bridged(Bridge<Search>, Time);

impl Bus for Bridged {
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        self.0.transfer(transfer)
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.1
    }

    fn begin_command(&mut self) -> Result<bool> {
        self.0.begin_command()
    }

    fn abandon(&mut self) {
        self.0.abandon();
    }

    fn end_command(&mut self) {
        self.0.end_command();
    }
}

impl Timeless for Bridged {
    fn time(&mut self) -> &mut Time {
        &mut self.1
    }
}

fn open() -> Result<Tis<Bridged>> {
    Tis::over(Bridged(Bridge::open(Conf::new(None))?, Time::default()))
}

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    let faults = Faults { burst: input.burst.max(1), ..Faults::default() };
    let tpm = FaultyTpm::new(faults, input.faults.clone());
    let piece = u16::from(input.piece.max(1));
    // No more stale bytes than the driver drops.
    let plug = Plug { stale: input.stale % (15 * piece), piece: piece.into() };
    PLUGGED.set(Some((Shared::clone(&tpm), plug)));
    play(
        &tpm,
        open,
        &input.waits,
        &[ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE, ReturnCode::NO_CONNECTION],
        true,
    );
});
