// SPDX-License-Identifier: BSD-2-Clause
//! A LetsTrust-TPM2Go whose USB replies are the fuzzer's: errors, short and stale packets, false bytes, unplugging. Every
//! call ends, what is delivered is as long as it says, and when the lies are over, all is well. The clock is virtual.
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
use tss2_fuzz::liar::{Liar, Lie, Shared, Time, Timeless, lock, play};

#[derive(Arbitrary, Debug)]
struct Input {
    burst: u16,
    /// Bytes that a program left that was killed.
    stale: u16,
    /// At most so many bytes come at once.
    piece: u8,
    waits: Vec<Vec<u16>>,
    lies: Vec<Lie>,
}

thread_local! {
    /// What the next search finds: it has no other way to it.
    static PLUGGED: RefCell<Option<(Shared, Plug)>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy)]
struct Plug {
    stale: u16,
    piece: usize,
}

struct Search;

impl Find for Search {
    type Stick = Lying;

    fn parse(_conf: Conf<'_>) -> Result<Search> {
        Ok(Search)
    }

    fn find(&self, same: Option<&str>) -> Result<Lying> {
        let absent = if same.is_some() { ReturnCode::NO_CONNECTION } else { ReturnCode::IO_ERROR };
        assert!(same.is_none_or(|same| same == "A1"));
        let (liar, plug) = PLUGGED.with_borrow(|plugged| plugged.clone()).expect("one is plugged");
        if let Lie::Fail(_) = lock(&liar).next_lie() {
            return Err(absent.into());
        }
        Ok(Lying { liar, plug, announced: None, left: vec![0xee; plug.stale.into()] })
    }
}

/// A stick.
struct Lying {
    liar: Shared,
    plug: Plug,
    announced: Option<u16>,
    /// What the host has not read yet.
    left: Vec<u8>,
}

fn error(kind: u8) -> Error {
    [Error::Timeout, Error::Pipe, Error::NoDevice, Error::Overflow, Error::Io, Error::Other, Error::Interrupted]
        [usize::from(kind % 7)]
}

impl Lying {
    fn give(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.left.len()).min(self.plug.piece);
        for (to, from) in into.iter_mut().zip(self.left.drain(..count)) {
            *to = from;
        }
        count
    }
}

impl Stick for Lying {
    fn serial(&self) -> &str {
        "A1"
    }

    fn announce(&mut self, count: u16) -> rusb::Result<()> {
        assert!((1..=68).contains(&count), "{count} bytes");
        assert!(self.announced.replace(count).is_none(), "the last transaction is not over");
        match lock(&self.liar).next_lie() {
            Lie::Fail(kind) => Err(error(kind)),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize> {
        assert_eq!(self.announced.take().map(usize::from), Some(out.len()));
        assert_eq!(out.len(), into.len());
        let mut bytes = vec![0; out.len()];
        let mut liar = lock(&self.liar);
        liar.transfer(Some(out), Some(&mut bytes), out.len()).map_err(|_| error(out[0]))?;
        let lie = liar.next_lie();
        drop(liar);
        self.left.extend(bytes);
        match lie {
            Lie::Fail(kind) => return Err(error(kind)),
            // Fewer come.
            Lie::Dead(count) => self.left.truncate(count.into()),
            // More come, in one packet with them.
            Lie::Bytes(..) => return Err(Error::Overflow),
            _ => {}
        }
        Ok(self.give(into))
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> rusb::Result<usize> {
        assert!(timeout > Duration::ZERO && timeout <= bridge::TIMEOUT);
        let lie = lock(&self.liar).next_lie();
        match lie {
            // What is left is there at once; that nothing would come is no lie that could be seen through.
            Lie::Fail(kind) if self.left.is_empty() || error(kind) != Error::Timeout => Err(error(kind)),
            _ if self.left.is_empty() => Err(Error::Timeout),
            // An empty packet.
            Lie::Flip(..) => Ok(0),
            _ => Ok(self.give(into)),
        }
    }

    fn set_at_work(&mut self, _at_work: bool) -> bool {
        !matches!(lock(&self.liar).next_lie(), Lie::Fail(_))
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

    fn begin(&mut self) -> Result<bool> {
        self.0.begin()
    }

    fn abandon(&mut self) {
        self.0.abandon();
    }

    fn end(&mut self) {
        self.0.end();
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
    let liar = Liar::new(faults, input.lies.clone());
    let piece = u16::from(input.piece.max(1));
    // What was left is no more than is dropped.
    let plug = Plug { stale: input.stale % (15 * piece), piece: piece.into() };
    PLUGGED.set(Some((Shared::clone(&liar), plug)));
    play(
        &liar,
        open,
        &input.waits,
        &[ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE, ReturnCode::NO_CONNECTION],
        true,
    );
});
