// SPDX-License-Identifier: BSD-2-Clause
//! Tests the turns of one process and of forked processes.

use super::*;
use crate::sys::Forked;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

fn shared() -> Shared {
    match Turns::new(true) {
        Turns::Shared(shared) => shared,
        Turns::Exclusive(_) => panic!("the system denies what turns need"),
    }
}

/// Changes the turns to those of a forked process.
fn inherit(shared: &mut Shared) {
    (shared.id, shared.turn) = (0, Turn::None);
}

/// Waits for a turn, but only briefly.
fn begin_soon(shared: &mut Shared) -> Result<LastExchange> {
    shared.timeout = Duration::from_millis(20);
    let begun = shared.begin();
    shared.timeout = TURN_TIMEOUT;
    begun
}

/// A process that has a turn until it is told to end it, or is killed.
struct Holder {
    process: Forked,
    go: UnixStream,
}

impl Holder {
    fn of(turns: &mut Shared, outcome: Outcome) -> Holder {
        let ((mut wait, go), (mut ready, tell)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let process = Forked::asks(|| {
            inherit(turns);
            turns.begin().unwrap();
            (&tell).write_all(&[1]).unwrap();
            wait.read_exact(&mut [0]).unwrap();
            turns.end(outcome);
            true
        });
        ready.read_exact(&mut [0]).unwrap();
        Holder { process, go }
    }

    fn end(mut self) {
        self.go.write_all(&[1]).unwrap();
        assert_eq!(self.process.status(), Some(0));
    }
}

#[test]
fn an_unshared_turn_takes_no_lock() {
    let mut turns = shared();
    for _ in 0..2 {
        assert_eq!(turns.begin(), Ok(LastExchange::Ours));
        assert_eq!(turns.turn, Turn::Unlocked);
        turns.end(Outcome::Complete);
    }
}

#[test]
fn an_exclusive_connection_remembers_how_the_last_exchange_ended() {
    let mut turns = Turns::new(false);
    assert!(matches!(turns, Turns::Exclusive(_)));
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
    turns.end(Outcome::Interrupted);
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted));
    turns.end(Outcome::Complete);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
}

#[test]
fn a_turn_begins_with_the_outcome_of_the_last_one() {
    let mut turns = shared();
    Holder::of(&mut turns, Outcome::Complete).end();
    assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
    assert_eq!(turns.begin(), Ok(LastExchange::Ours), "the turn continues");
    turns.end(Outcome::Complete);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
    turns.end(Outcome::Interrupted);
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "by this process");
    turns.end(Outcome::Complete);
    Holder::of(&mut turns, Outcome::Interrupted).end();
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "by the other process");
    turns.end(Outcome::Complete);
}

#[test]
fn after_a_timed_out_wait_another_process_can_be_next() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Outcome::Complete);
    assert_eq!(turns.locks.holder(Lock::Turn), Ok(Some(holder.process.id())));
    assert_eq!(turns.try_begin(), Ok(None));
    assert_eq!(begin_soon(&mut turns), Err(ReturnCode::IO_ERROR.into()));
    let asks = Forked::asks(|| {
        inherit(&mut turns);
        turns.locks.lock(Lock::Next) == Ok(true) // the process that gave up has released it
    });
    assert_eq!(asks.status(), Some(0));
    holder.end();
    assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
}

#[test]
fn the_death_of_a_process_ends_its_turn() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Outcome::Complete);
    holder.process.kill();
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted));
    turns.end(Outcome::Complete);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours), "only once");
}

#[test]
fn an_unlocked_turn_excludes_a_process_that_joins() {
    let mut turns = shared();
    turns.begin().unwrap();
    let (mut told, mut tell) = UnixStream::pair().unwrap();
    let child = Forked::asks(|| {
        inherit(&mut turns);
        let is_excluded = turns.try_begin() == Ok(None) && begin_soon(&mut turns) == Err(ReturnCode::IO_ERROR.into());
        (&tell).write_all(&[1]).unwrap();
        is_excluded && turns.begin() == Ok(LastExchange::Theirs)
    });
    told.read_exact(&mut [0]).unwrap();
    tell.flush().unwrap();
    turns.end(Outcome::Complete);
    assert_eq!(child.status(), Some(0));
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "the child ended during its turn");
    assert_eq!(turns.turn, Turn::Locked, "now that the connection is shared");
}

#[test]
fn the_death_of_a_process_ends_its_unlocked_turn() {
    let (mut told, tell) = UnixStream::pair().unwrap();
    let creator = Forked::asks(|| {
        let mut turns = shared();
        turns.begin().unwrap();
        let (mut wait, go) = UnixStream::pair().unwrap();
        let child = Forked::asks(|| {
            drop(go);
            let _ = wait.read(&mut [0]); // until its parent has died
            inherit(&mut turns);
            let begun = turns.begin();
            (&tell).write_all(&[u8::from(begun == Ok(LastExchange::Interrupted))]).unwrap();
            true
        });
        std::mem::forget((turns, child)); // it dies without finalizing
        true
    });
    assert_eq!(creator.status(), Some(0));
    drop(tell);
    let mut said = Vec::new();
    told.read_to_end(&mut said).unwrap();
    assert_eq!(said, [1]);
}

#[test]
fn finalizing_takes_the_last_turn_unless_another_process_has_one() {
    let mut turns = shared();
    assert_eq!(turns.begin_last(), Some((Sharing::Exclusive, LastExchange::Ours)));
    turns.end(Outcome::Complete);
    let holder = Holder::of(&mut turns, Outcome::Interrupted);
    assert_eq!(turns.begin_last(), None, "the turn of the holder");
    holder.end();
    assert_eq!(turns.begin_last(), Some((Sharing::Shared, LastExchange::Interrupted)));
    turns.end(Outcome::Complete);
    turns.begin().unwrap();
    assert_eq!(turns.begin_last(), Some((Sharing::Shared, LastExchange::Interrupted)), "during an exchange");
    turns.end(Outcome::Complete);
    inherit(&mut turns);
    assert_eq!(turns.begin_last(), None, "the process never used the connection");
}

/// Returns whether no other process changes the counter at the same time.
fn is_alone(counter: &AtomicU32) -> bool {
    let seen = counter.load(SeqCst);
    std::hint::spin_loop();
    counter.compare_exchange(seen, seen.wrapping_add(1), SeqCst, SeqCst).is_ok()
}

#[test]
fn two_processes_never_have_a_turn_at_the_same_time() {
    const TURNS: u32 = 2000;
    let (mut turns, counts) = (shared(), SharedPage::new().unwrap());
    let take = |turns: &mut Shared| {
        (0..TURNS).all(|_| {
            turns.begin().is_ok_and(|_| {
                let is_alone = is_alone(&counts.last_id) && counts.exchange.swap(1, SeqCst) == 0;
                counts.exchange.store(0, SeqCst);
                turns.end(Outcome::Complete);
                is_alone
            })
        })
    };
    let children: Vec<Forked> = (0..3)
        .map(|_| {
            let child = Forked::asks(|| {
                inherit(&mut turns);
                take(&mut turns)
            });
            assert!(turns.begin().is_ok()); // while the child joins
            turns.end(Outcome::Complete);
            child
        })
        .collect();
    assert!(take(&mut turns));
    for child in children {
        assert_eq!(child.status(), Some(0));
    }
    assert_eq!(counts.last_id.load(SeqCst), 4 * TURNS);
}

#[test]
fn a_waiting_process_is_next() {
    let mut turns = shared();
    for _ in 0..20 {
        turns.begin().unwrap();
        let waits = Forked::asks(|| {
            inherit(&mut turns);
            let begun = turns.begin().is_ok();
            turns.end(Outcome::Complete);
            begun
        });
        while turns.page.waiting.load(SeqCst) == 0 || turns.locks.holder(Lock::Next) != Ok(Some(waits.id())) {
            std::thread::yield_now();
        }
        turns.end(Outcome::Complete);
        assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
        turns.end(Outcome::Complete);
        assert_eq!(waits.status(), Some(0));
    }
}

#[test]
fn busy_processes_alternate_and_are_woken() {
    const TURNS: u32 = 300;
    let mut turns = shared();
    let other = Forked::asks(|| {
        inherit(&mut turns);
        loop {
            turns.begin().unwrap();
            turns.end(Outcome::Complete);
        }
    });
    let (mut slow, mut twice) = (0, 0);
    for _ in 0..TURNS {
        twice += u32::from(turns.begin() == Ok(LastExchange::Ours));
        // Wait for the other process to queue. If it had missed its last wake-up, it would queue after `CHECK_INTERVAL`.
        let since = Instant::now();
        while turns.page.waiting.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        slow += u32::from(since.elapsed() >= CHECK_INTERVAL * 9 / 10);
        turns.end(Outcome::Complete);
    }
    other.kill();
    assert!(slow < TURNS / 2, "in {slow} of {TURNS} turns the other process was not woken");
    // It sets `waiting` before it holds the lock of the next process.
    assert!(twice < TURNS / 2, "{twice} of {TURNS} turns were the second in a row");
}

#[test]
fn a_process_that_gave_up_is_not_next_despite_spurious_wake_ups() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Outcome::Complete);
    let noise = Forked::asks(|| {
        loop {
            turns.page.turn_futex.fetch_add(1, SeqCst);
        }
    });
    turns.timeout = Duration::ZERO;
    for _ in 0..2000 {
        assert_eq!(turns.begin(), Err(ReturnCode::IO_ERROR.into()));
    }
    turns.timeout = TURN_TIMEOUT;
    noise.kill();
    let asks = Forked::asks(|| turns.locks.holder(Lock::Next) == Ok(None));
    assert_eq!(asks.status(), Some(0));
    holder.end();
}

#[test]
fn descriptors_closed_by_the_host_are_not_closed_again() {
    let mut turns = Turns::new(true);
    assert_eq!(turns.after_fork(), Inheritance::Shared);
    let Turns::Shared(shared) = &mut turns else { panic!("the system denies what turns need") };
    let number = shared.locks.file.as_raw_fd();
    shared.locks.file.reuse_for(File::open("/dev/null").unwrap());
    assert!(shared.locks.lock(Lock::Turn).is_err() && shared.locks.holder(Lock::Turn).is_err());
    assert_eq!(turns.after_fork(), Inheritance::Copies);
    assert!(matches!(turns, Turns::Exclusive(Outcome::Complete)));
    drop(turns);
    let path = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    assert_eq!(path.to_str(), Some("/dev/null"), "the file of the host is still open");
}

#[test]
fn a_process_killed_at_any_moment_blocks_nobody() {
    let since = Instant::now();
    let mut turns = shared();
    let (mut told, tell) = UnixStream::pair().unwrap();
    for round in 0..100_u32 {
        let doomed: Vec<Forked> = (0..2)
            .map(|_| {
                Forked::asks(|| {
                    inherit(&mut turns);
                    let mut begun = false;
                    loop {
                        turns.begin().unwrap();
                        if !std::mem::replace(&mut begun, true) {
                            (&tell).write_all(&[1]).unwrap();
                        }
                        turns.end(Outcome::Complete);
                    }
                })
            })
            .collect();
        told.read_exact(&mut [0; 2]).unwrap();
        for _ in 0..round {
            std::hint::spin_loop(); // a different moment each time
        }
        doomed.into_iter().for_each(Forked::kill);
        assert!(turns.begin().is_ok());
        turns.end(Outcome::Complete);
    }
    assert!(since.elapsed() < TURN_TIMEOUT, "no process waits for a dead one");
}
