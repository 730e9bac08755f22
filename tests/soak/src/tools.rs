// SPDX-License-Identifier: BSD-2-Clause
//! Other programs, which use the same TPM through our loader while contexts are open or between them: unmodified
//! tpm2-tools, and a C program on libtss2-esys, which polls where there is a descriptor and does not block in calls.
//! Each program prints the right output, unless a fault that reached it while it ran explains its failure.

use crate::target::Keeps;
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

/// The most rounds of the C program.
const ROUNDS: u32 = 20;

/// The numbers of programs by their results.
#[derive(Default)]
pub(crate) struct Runs {
    /// Tools of tpm2-tools with the right output.
    pub(crate) tools: u64,
    /// Runs of the C program with the right output.
    pub(crate) esys: u64,
    /// Programs that failed during a fault that reached them.
    pub(crate) ended: u64,
    /// Wrong outputs.
    pub(crate) wrong: Vec<String>,
    /// Failures without such a fault.
    pub(crate) failures: Vec<String>,
}

/// A thread that runs one program after the other.
pub(crate) struct Tools {
    thread: JoinHandle<Runs>,
    over: Arc<AtomicBool>,
    turn: Arc<Mutex<()>>,
}

/// Compiles the C program.
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
            // In the end, without faults, each kind has to work.
            while runs.bad().next().is_none() && !(is_over.load(Ordering::SeqCst) && runs.are_of_all_kinds()) {
                let turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
                let run = Run::draw(&name_conf, mode, &mut rng);
                let faults = trouble.watch();
                let ended = run.end(&watchdog);
                runs.count(&run, ended, || faults.met());
                drop(turn);
                // The contexts have the TPM to themselves for a while.
                thread::sleep(Duration::from_millis(rng.u64(..100)));
            }
            runs
        });
        Tools { thread, over, turn }
    }

    /// Waits for the running program. No program runs while the guard is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops. Returns the results of all programs.
    pub(crate) fn finish(self) -> Runs {
        self.over.store(true, Ordering::SeqCst);
        let panicked = |_| Runs { failures: vec!["the thread of the tools panicked".to_owned()], ..Runs::default() };
        self.thread.join().unwrap_or_else(panicked)
    }
}

impl Runs {
    /// Counts a run. `met` says whether a fault may have reached it.
    pub(crate) fn count(&mut self, run: &Run, ended: Ended, met: impl FnOnce() -> bool) {
        match (ended, &run.program) {
            (Ended::Right, Program::Tool(_)) => self.tools += 1,
            (Ended::Right, Program::Esys { .. }) => self.esys += 1,
            (Ended::Failed(_), _) if met() => self.ended += 1,
            (Ended::Failed(why), _) => self.failures.push(why),
            (Ended::Wrong(why), _) => self.wrong.push(why),
        }
    }

    /// Whether each kind has succeeded.
    pub(crate) fn are_of_all_kinds(&self) -> bool {
        self.tools > 0 && self.esys > 0
    }

    /// Returns the texts of all failures.
    pub(crate) fn bad(&self) -> impl Iterator<Item = &String> {
        self.wrong.iter().chain(&self.failures)
    }
}

/// The additional work of the C program.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Plain,
    Fork,
    /// It forks, and uses a key.
    Key,
}

/// One run of a program.
pub(crate) struct Run {
    program: Program,
    words: Vec<String>,
    name_conf: String,
    /// The standard input, which only tpm2_hash reads.
    input: Vec<u8>,
}

enum Program {
    /// A tool of tpm2-tools and its output; `None` for random bytes.
    Tool(Option<String>),
    Esys {
        seed: u64,
        count: u32,
    },
}

/// The result of a run.
pub(crate) enum Ended {
    Right,
    /// It failed with an error.
    Failed(String),
    /// It printed something wrong, or crashed.
    Wrong(String),
}

impl Run {
    /// Draws a program.
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
        // A program that hangs ends with this one.
        command.args(["--pdeathsig", "KILL"]).args(&self.words);
        command.env("TPM2TOOLS_TCTI", &self.name_conf).env("TSS2_LOG", "all+error");
        let words = &self.words;
        let ended: io::Result<Output> = watchdog.watch(format_args!("{words:?}"), || {
            // From a pipe, tpm2_hash would read into a hash sequence. That is an object, which the contexts would
            // flush.
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
            (Some(_), false) => Ended::Wrong(format!("{words:?} printed something wrong: {}", show())),
            (Some(0), true) => Ended::Right,
            (Some(_), true) => Ended::Failed(format!("{words:?} failed without a fault: {}", show())),
        }
    }

    /// Whether the output is right, as far as it was printed if the program failed.
    fn is_right(&self, printed: &str, whole: bool) -> bool {
        match &self.program {
            Program::Tool(_) if !whole => true,
            Program::Tool(Some(expected)) => printed.trim_end() == expected,
            Program::Tool(None) => printed.trim_end().len() == 48,
            Program::Esys { seed, count } => {
                let mut lines: Vec<&str> = printed.lines().collect();
                if !whole {
                    lines.pop(); // the error message
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
