// SPDX-License-Identifier: BSD-2-Clause
//! Turns of one process, and of two.

use super::*;
use crate::SystemClock;
use crate::tests::Time;
use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

#[test]
fn a_turn_knows_whose_the_last_one_was() {
    let clock = &mut SystemClock::new();
    let mut turns = Turns::new().unwrap();
    let elsewhere = turns.elsewhere();
    assert!(!turns.had_one());
    assert_eq!(turns.begin(clock), Ok(Last::Anothers), "nobody before");
    assert!(turns.had_one());
    assert_eq!(turns.begin(clock), Ok(Last::Mine), "it goes on");
    turns.end();
    assert_eq!(turns.begin(clock), Ok(Last::Mine));
    turns.end();
    let turn = elsewhere.begin();
    assert_eq!(turns.try_begin(), Ok(None));
    drop(turn);
    assert_eq!(turns.try_begin(), Ok(Some(Last::Anothers)));
    turns.end();
    assert_eq!(turns.try_begin(), Ok(Some(Last::Mine)), "that was one");
    turns.end();
    turns.inherited();
    assert!(!turns.had_one());
    assert_eq!(turns.begin(clock), Ok(Last::Anothers), "it was the parent's");
}

/// A clock that cannot sleep.
struct Broken;

impl Clock for Broken {
    fn sleep(&mut self, _millis: u32) -> Result<()> {
        Err(Rc::IO_ERROR)
    }

    fn start_timer(&mut self, _millis: u32) -> Result<()> {
        Ok(())
    }

    fn timer_expired(&mut self) -> Result<bool> {
        Ok(false)
    }
}

#[test]
fn who_gives_up_is_not_next_any_more() {
    let mut turns = Turns::new().unwrap();
    let elsewhere = turns.elsewhere();
    let turn = elsewhere.begin();
    assert_eq!(turns.begin(&mut Broken), Err(Rc::IO_ERROR));
    // A lock of this process would be in the way of another description's, as of another process's.
    let another = elsewhere.reopen();
    fcntl(&another, FcntlArg::F_OFD_SETLK(&record(F_WRLCK, Place::Next))).unwrap();
    drop(turn);
}

/// What the other process does, in the environment of this test.
const OTHER: &str = "TCTI_TIS_TURNS";

/// This test once more, as another process with the same file.
struct Other {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(turns: &Turns, what: &str) -> Other {
        let shared = turns.file.as_fd().try_clone_to_owned().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "turns::tests::two_processes_take_turns"])
            .env(OTHER, what)
            .stdin(Stdio::from(shared))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, said }
    }

    /// Waits until it has begun a turn, and gives whose the last one was.
    fn begun(&mut self) -> String {
        let line = self
            .said
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| Some(line.split_once("begun: ")?.1.to_owned()));
        line.expect("the other process ended")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// The other process: has a turn until it is killed, or one behind the other without a pause.
fn other(what: &str) {
    let file = std::io::stdin().as_fd().try_clone_to_owned().unwrap().into();
    let mut turns = Turns { file, mine: None };
    loop {
        let last = turns.begin(&mut SystemClock::new()).unwrap();
        println!("begun: {last:?}");
        if what == "holds" {
            loop {
                std::thread::park(); // until killed
            }
        }
        std::thread::sleep(Duration::from_millis(20)); // a command
        turns.end();
    }
}

#[test]
fn two_processes_take_turns() {
    if let Ok(what) = env::var(OTHER) {
        return other(&what);
    }
    let clock = &mut SystemClock::new();
    let mut turns = Turns::new().unwrap();
    turns.begin(clock).unwrap();
    turns.end();

    let mut holder = Other::start(&turns, "holds");
    assert_eq!(holder.begun(), "Anothers");
    assert_eq!(turns.try_begin(), Ok(None));
    assert_eq!(turns.holder(), i32::try_from(holder.child.id()).unwrap());
    assert_eq!(turns.begin(&mut Time::default()), Err(Rc::IO_ERROR));
    holder.kill();
    assert_eq!(turns.begin(clock), Ok(Last::Anothers), "a turn ends with its process");
    turns.end();

    let mut busy = Other::start(&turns, "works");
    for _ in 0..10 {
        busy.begun();
        turns.begin(clock).expect("it lets this one in");
        turns.end();
    }
}
