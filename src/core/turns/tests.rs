// SPDX-License-Identifier: BSD-2-Clause
//! Turns of one process, and of several that were forked.

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
        Turns::Alone(_) => panic!("the system denies what it takes"),
    }
}

/// As a forked process has them.
fn inherit(shared: &mut Shared) {
    (shared.number, shared.turn) = (0, Turn::None);
}

fn short(shared: &mut Shared) -> Result<LastExchange> {
    shared.patience = Duration::from_millis(20);
    let begun = shared.begin();
    shared.patience = PATIENCE;
    begun
}

/// A process that has a turn until it is told to end it, or killed.
struct Holder {
    process: Forked,
    go: UnixStream,
}

impl Holder {
    fn of(turns: &mut Shared, left: Left) -> Holder {
        let ((mut wait, go), (mut ready, tell)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let process = Forked::asks(|| {
            inherit(turns);
            turns.begin().unwrap();
            (&tell).write_all(&[1]).unwrap();
            wait.read_exact(&mut [0]).unwrap();
            turns.end(left);
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
fn who_shares_with_nobody_locks_nothing() {
    let mut turns = shared();
    for _ in 0..2 {
        assert_eq!(turns.begin(), Ok(LastExchange::Ours));
        assert_eq!(turns.turn, Turn::Unlocked);
        turns.end(Left::Nothing);
    }
}

#[test]
fn what_is_not_shared_has_no_turns_and_knows_what_is_left() {
    let mut turns = Turns::new(false);
    assert!(matches!(turns, Turns::Alone(_)));
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
    turns.end(Left::Something);
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted));
    turns.end(Left::Nothing);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
}

#[test]
fn a_turn_knows_what_was_before() {
    let mut turns = shared();
    Holder::of(&mut turns, Left::Nothing).end();
    assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
    assert_eq!(turns.begin(), Ok(LastExchange::Ours), "the turn goes on");
    turns.end(Left::Nothing);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours));
    turns.end(Left::Something);
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "our own");
    turns.end(Left::Nothing);
    Holder::of(&mut turns, Left::Something).end();
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "the other's");
    turns.end(Left::Nothing);
}

#[test]
fn a_wait_in_vain_names_who_has_the_turn_and_another_process_can_be_next() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Left::Nothing);
    assert_eq!(turns.locks.holder(Lock::Turn), Ok(Some(holder.process.id())));
    assert_eq!(turns.try_begin(), Ok(None));
    assert_eq!(short(&mut turns), Err(ReturnCode::IO_ERROR.into()));
    let asks = Forked::asks(|| {
        inherit(&mut turns);
        turns.locks.lock(Lock::Next) == Ok(true) // who gave up is not next any more
    });
    assert_eq!(asks.status(), Some(0));
    holder.end();
    assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
}

#[test]
fn a_turn_ends_with_its_process() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Left::Nothing);
    holder.process.kill();
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted));
    turns.end(Left::Nothing);
    assert_eq!(turns.begin(), Ok(LastExchange::Ours), "once");
}

#[test]
fn a_turn_that_was_begun_before_anybody_shared_it_counts() {
    let mut turns = shared();
    turns.begin().unwrap();
    let (mut told, mut tell) = UnixStream::pair().unwrap();
    let child = Forked::asks(|| {
        inherit(&mut turns);
        let in_vain = turns.try_begin() == Ok(None) && short(&mut turns) == Err(ReturnCode::IO_ERROR.into());
        (&tell).write_all(&[1]).unwrap();
        in_vain && turns.begin() == Ok(LastExchange::Theirs)
    });
    told.read_exact(&mut [0]).unwrap();
    tell.flush().unwrap();
    turns.end(Left::Nothing);
    assert_eq!(child.status(), Some(0));
    assert_eq!(turns.begin(), Ok(LastExchange::Interrupted), "the child ended in its turn");
    assert_eq!(turns.turn, Turn::Locked, "from now on");
}

#[test]
fn a_turn_without_a_lock_ends_with_its_process_too() {
    let (mut told, tell) = UnixStream::pair().unwrap();
    let opener = Forked::asks(|| {
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
        std::mem::forget((turns, child)); // it dies, it does not finalize
        true
    });
    assert_eq!(opener.status(), Some(0));
    drop(tell);
    let mut said = Vec::new();
    told.read_to_end(&mut said).unwrap();
    assert_eq!(said, [1]);
}

#[test]
fn the_end_of_a_context_has_the_last_turn_unless_another_process_does() {
    let mut turns = shared();
    assert_eq!(turns.last(), Some((Sharing::Exclusive, LastExchange::Ours)));
    turns.end(Left::Nothing);
    let holder = Holder::of(&mut turns, Left::Something);
    assert_eq!(turns.last(), None, "it is at work");
    holder.end();
    assert_eq!(turns.last(), Some((Sharing::Shared, LastExchange::Interrupted)));
    turns.end(Left::Nothing);
    turns.begin().unwrap();
    assert_eq!(turns.last(), Some((Sharing::Shared, LastExchange::Interrupted)), "in the middle of an exchange");
    turns.end(Left::Nothing);
    inherit(&mut turns);
    assert_eq!(turns.last(), None, "it never used the connection");
}

/// Two processes at once would both see it changed.
fn alone(witness: &AtomicU32) -> bool {
    let seen = witness.load(SeqCst);
    std::hint::spin_loop();
    witness.compare_exchange(seen, seen.wrapping_add(1), SeqCst, SeqCst).is_ok()
}

#[test]
fn processes_never_have_a_turn_at_once_whenever_they_join() {
    const TURNS: u32 = 2000;
    let (mut turns, counts) = (shared(), SharedPage::new().unwrap());
    let take = |turns: &mut Shared| {
        (0..TURNS).all(|_| {
            turns.begin().is_ok_and(|_| {
                let is_alone = alone(&counts.last) && counts.exchange.swap(1, SeqCst) == 0;
                counts.exchange.store(0, SeqCst);
                turns.end(Left::Nothing);
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
            assert!(turns.begin().is_ok()); // while it joins
            turns.end(Left::Nothing);
            child
        })
        .collect();
    assert!(take(&mut turns));
    for child in children {
        assert_eq!(child.status(), Some(0));
    }
    assert_eq!(counts.last.load(SeqCst), 4 * TURNS);
}

#[test]
fn who_waits_has_its_turn_before_one_that_has_just_had_one() {
    let mut turns = shared();
    for _ in 0..20 {
        turns.begin().unwrap();
        let waits = Forked::asks(|| {
            inherit(&mut turns);
            let begun = turns.begin().is_ok();
            turns.end(Left::Nothing);
            begun
        });
        while turns.page.waiting.load(SeqCst) == 0 || turns.locks.holder(Lock::Next) != Ok(Some(waits.id())) {
            std::thread::yield_now();
        }
        turns.end(Left::Nothing);
        assert_eq!(turns.begin(), Ok(LastExchange::Theirs));
        turns.end(Left::Nothing);
        assert_eq!(waits.status(), Some(0));
    }
}

#[test]
fn processes_with_many_commands_alternate_and_each_is_woken() {
    const TURNS: u32 = 300;
    let mut turns = shared();
    let other = Forked::asks(|| {
        inherit(&mut turns);
        loop {
            turns.begin().unwrap();
            turns.end(Left::Nothing);
        }
    });
    let (mut slow, mut twice) = (0, 0);
    for _ in 0..TURNS {
        twice += u32::from(turns.begin() == Ok(LastExchange::Ours));
        // Until the other one is in line. One that slept through the last bell would say so after `LOOK`.
        let since = Instant::now();
        while turns.page.waiting.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        slow += u32::from(since.elapsed() >= LOOK * 9 / 10);
        turns.end(Left::Nothing);
    }
    other.kill();
    assert!(slow < TURNS / 2, "{slow} turns of {TURNS} were as long as a look");
    // It says that it waits before it has its place in the line.
    assert!(twice < TURNS / 2, "{twice} turns of {TURNS} were the second in a row");
}

#[test]
fn who_gave_up_is_not_next_however_often_the_bell_rings() {
    let mut turns = shared();
    let holder = Holder::of(&mut turns, Left::Nothing);
    let rings = Forked::asks(|| {
        loop {
            turns.page.bell.fetch_add(1, SeqCst);
        }
    });
    turns.patience = Duration::ZERO;
    for _ in 0..2000 {
        assert_eq!(turns.begin(), Err(ReturnCode::IO_ERROR.into()));
    }
    turns.patience = PATIENCE;
    rings.kill();
    let asks = Forked::asks(|| turns.locks.holder(Lock::Next) == Ok(None));
    assert_eq!(asks.status(), Some(0));
    holder.end();
}

#[test]
fn descriptors_that_the_host_closed_are_left_alone() {
    let mut turns = Turns::new(true);
    assert_eq!(turns.after_fork(), Inheritance::Shared);
    let Turns::Shared(shared) = &mut turns else { panic!("the system denies what it takes") };
    // As when the host has closed it and its number is now that of something else.
    let _closed = std::mem::replace(&mut shared.locks.file, File::open("/dev/null").unwrap());
    let number = shared.locks.file.as_raw_fd();
    assert_eq!(turns.after_fork(), Inheritance::Nothing);
    assert!(matches!(turns, Turns::Alone(Left::Nothing)));
    drop(turns);
    let path = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    assert_eq!(path.to_str(), Some("/dev/null"), "it is the host's");
}

#[test]
fn processes_that_are_killed_at_any_moment_block_nobody() {
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
                        turns.end(Left::Nothing);
                    }
                })
            })
            .collect();
        told.read_exact(&mut [0; 2]).unwrap();
        for _ in 0..round {
            std::hint::spin_loop(); // another moment each time
        }
        doomed.into_iter().for_each(Forked::kill);
        assert!(turns.begin().is_ok());
        turns.end(Left::Nothing);
    }
    assert!(since.elapsed() < PATIENCE, "nobody waits for one that is dead");
}
