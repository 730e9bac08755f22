// SPDX-License-Identifier: BSD-2-Clause
//! Other programs beside the contexts, or between them, each through our loader to the same TPM: tpm2-tools, unmodified,
//! and one in C on libtss2-esys, which does not wait in a call where there is a descriptor to poll. A program prints what
//! is right, or a fault that reached it while it ran explains why it failed.

use crate::place::Keeps;
use crate::watchdog::Watchdog;
use fastrand::Rng;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{self, Seek, Write as _};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tss2_kit::program::{self, Link};
use tss2_kit::{output, stage};
use tss2_soak::Trouble;

/// Most rounds of the program in C.
const ROUNDS: u32 = 20;

/// Programs, by how they ended.
#[derive(Default)]
pub(crate) struct Runs {
    /// Of tpm2-tools, with the right output.
    pub(crate) tools: u64,
    /// In C, with the right output.
    pub(crate) esys: u64,
    /// Failed during a fault that reaches them.
    pub(crate) ended: u64,
    /// What was printed and is not right.
    pub(crate) wrong: Vec<String>,
    /// What failed without such a fault.
    pub(crate) failures: Vec<String>,
}

/// A thread that runs one program after the other.
pub(crate) struct Tools {
    thread: JoinHandle<Runs>,
    over: Arc<AtomicBool>,
    turn: Arc<Mutex<()>>,
}

/// The program in C.
pub(crate) fn compile() -> PathBuf {
    program::build("load", Link::Staged("tss2-tctildr tss2-esys"), &[])
}

impl Tools {
    pub(crate) fn start(name_conf: String, keeps: Keeps, mut rng: Rng, watchdog: Watchdog, trouble: Trouble) -> Tools {
        let mode = if keeps == Keeps::Connection { Mode::Key } else { Mode::Fork };
        let (over, turn) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let (is_over, turns) = (Arc::clone(&over), Arc::clone(&turn));
        let thread = thread::spawn(move || {
            let mut runs = Runs::default();
            // At last there are no faults any more, and each kind has to work.
            while runs.bad().next().is_none() && !(is_over.load(Ordering::SeqCst) && runs.are_of_all_kinds()) {
                let turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
                let run = Run::draw(&name_conf, mode, &mut rng);
                let faults = trouble.watch();
                let ended = run.end(&watchdog);
                runs.count(&run, ended, || faults.met());
                drop(turn);
                // Leaves the TPM to the contexts for a while.
                thread::sleep(Duration::from_millis(rng.u64(..100)));
            }
            runs
        });
        Tools { thread, over, turn }
    }

    /// None runs while this is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of them all.
    pub(crate) fn finish(self) -> Runs {
        self.over.store(true, Ordering::SeqCst);
        let panicked = |_| Runs { failures: vec!["the thread of the tools panicked".to_owned()], ..Runs::default() };
        self.thread.join().unwrap_or_else(panicked)
    }
}

impl Runs {
    /// One more; `met`: whether there was something that may have hit it.
    pub(crate) fn count(&mut self, run: &Run, ended: Ended, met: impl FnOnce() -> bool) {
        match (ended, &run.program) {
            (Ended::Right, Program::Tool(_)) => self.tools += 1,
            (Ended::Right, Program::Esys { .. }) => self.esys += 1,
            (Ended::Failed(_), _) if met() => self.ended += 1,
            (Ended::Failed(why), _) => self.failures.push(why),
            (Ended::Wrong(why), _) => self.wrong.push(why),
        }
    }

    /// Whether each kind has worked.
    pub(crate) fn are_of_all_kinds(&self) -> bool {
        self.tools > 0 && self.esys > 0
    }

    /// All that must not happen, in words.
    pub(crate) fn bad(&self) -> impl Iterator<Item = &String> {
        self.wrong.iter().chain(&self.failures)
    }
}

/// What the program in C does besides.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Plain,
    Fork,
    /// It forks, and has a key.
    Key,
}

/// One run of a program.
pub(crate) struct Run {
    program: Program,
    words: Vec<String>,
    name_conf: String,
    /// What only tpm2_hash reads.
    input: Vec<u8>,
}

enum Program {
    /// One of tpm2-tools; `None`: random bytes.
    Tool(Option<String>),
    Esys {
        seed: u64,
        count: u32,
    },
}

/// How one ended.
pub(crate) enum Ended {
    Right,
    /// It said so.
    Failed(String),
    /// It printed what is not right, or crashed.
    Wrong(String),
}

impl Run {
    /// Any of them.
    pub(crate) fn draw(name_conf: &str, mode: Mode, rng: &mut Rng) -> Run {
        let input: Vec<u8> = (0..rng.usize(1..500)).map(|_| rng.u8(..)).collect();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let (words, program) = match rng.u8(..4) {
            0 => (words("tpm2_getrandom --hex 24"), Program::Tool(None)),
            1 => (words("tpm2_hash --hex -g sha256"), Program::Tool(Some(hex(&Sha256::digest(&input))))),
            2 => {
                let zeroes = format!("  sha256:\n    16: 0x{}", "0".repeat(64));
                (words("tpm2_pcrread sha256:16"), Program::Tool(Some(zeroes)))
            }
            _ => {
                let (seed, count) = (rng.u64(..), rng.u32(1..=ROUNDS));
                let mode = match mode {
                    Mode::Plain => "plain",
                    Mode::Fork => "fork",
                    Mode::Key => "key",
                };
                let program = compile().display().to_string();
                let words = [program, name_conf.to_owned(), seed.to_string(), count.to_string(), mode.to_owned()];
                (words.into(), Program::Esys { seed, count })
            }
        };
        Run { program, words, name_conf: name_conf.to_owned(), input }
    }

    /// Runs it.
    pub(crate) fn end(&self, watchdog: &Watchdog) -> Ended {
        let mut command = stage::command("setpriv");
        // One that hangs ends with us.
        command.args(["--pdeathsig", "KILL"]).args(&self.words);
        command.env("TPM2TOOLS_TCTI", &self.name_conf).env("TSS2_LOG", "all+error");
        let words = &self.words;
        let ended: io::Result<Output> = watchdog.watch(format_args!("{words:?}"), || {
            // What comes from a pipe tpm2_hash hashes in a sequence: an object, and the contexts flush those.
            let mut input = tempfile::tempfile()?;
            input.write_all(&self.input)?;
            input.rewind()?;
            command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output()
        });
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => return Ended::Failed(format!("{words:?} does not start: {error}")),
        };
        let show = || output::show(&ended);
        match (ended.status.code(), self.is_right(&output::stdout(&ended), ended.status.success())) {
            (None, _) => Ended::Wrong(format!("{words:?} ended by a signal: {}", show())),
            (Some(_), false) => Ended::Wrong(format!("{words:?} printed what is not right: {}", show())),
            (Some(0), true) => Ended::Right,
            (Some(_), true) => Ended::Failed(format!("{words:?} failed without a fault: {}", show())),
        }
    }

    /// Whether this is what it should print. Of one that fails it is what came before.
    fn is_right(&self, printed: &str, whole: bool) -> bool {
        match &self.program {
            Program::Tool(_) if !whole => true,
            Program::Tool(Some(expected)) => printed.trim_end() == expected,
            Program::Tool(None) => printed.trim_end().len() == 48,
            Program::Esys { seed, count } => {
                let mut lines: Vec<&str> = printed.lines().collect();
                if !whole {
                    lines.pop(); // the reason
                }
                let random: Vec<&str> = lines.iter().copied().skip(1).step_by(2).collect();
                let hashes = lines.iter().step_by(2).zip(0_u32..);
                (!whole || lines.len() == 2 * *count as usize)
                    && random.iter().all(|line| line.starts_with("random ") && line.len() == 7 + 64)
                    && random.windows(2).all(|pair| pair[0] != pair[1])
                    && hashes.into_iter().all(|(line, number)| {
                        line.strip_prefix("hash ") == Some(&hex(&Sha256::digest(format!("{seed} {number}"))))
                    })
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // to a string it succeeds
        text
    })
}
