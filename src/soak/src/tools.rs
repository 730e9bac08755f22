// SPDX-License-Identifier: BSD-2-Clause
//! Other programs beside the contexts, or between them, each through our loader to the same TPM: tpm2-tools, unmodified, and one in C that
//! drives libtss2-esys without a call that waits. A program prints what is right or fails, and works again soon.

use crate::watchdog::Watchdog;
use fastrand::Rng;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tss2_e2e::program::{self, Link};
use tss2_e2e::{output, stage};

/// So many programs in a row may fail, of servers that were just killed and of limits that they inherit.
const TRIES: u32 = 20;

/// Most rounds of the program in C.
const ROUNDS: u32 = 20;

/// Programs that printed what is right.
#[derive(Clone, Copy, Default)]
pub(crate) struct Runs {
    /// Of tpm2-tools.
    pub(crate) tools: u64,
    /// In C, asynchronous.
    pub(crate) asynchronous: u64,
}

/// A thread that runs one program after the other.
pub(crate) struct Tools {
    thread: JoinHandle<Result<Runs, String>>,
    over: Arc<AtomicBool>,
    turn: Arc<Mutex<()>>,
}

/// The program in C.
pub(crate) fn compile() -> PathBuf {
    program::build("load", Link::Staged("tss2-tctildr tss2-esys"), &[])
}

impl Tools {
    pub(crate) fn start(name_conf: String, mut rng: Rng, watchdog: Watchdog) -> Tools {
        let (over, turn) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let (is_over, turns) = (Arc::clone(&over), Arc::clone(&turn));
        let thread = thread::spawn(move || {
            let (mut runs, mut failed) = (Runs::default(), 0);
            while !is_over.load(Ordering::SeqCst) {
                let turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
                let run = Run::draw(&name_conf, &mut rng);
                match run.end(&watchdog)? {
                    None => {
                        failed = 0;
                        runs.count(&run);
                    }
                    Some(why) => {
                        failed += 1;
                        if failed > TRIES {
                            return Err(format!("other programs do not work any more: {why}"));
                        }
                    }
                }
                drop(turn);
                // Leaves the TPM to the contexts for a while.
                thread::sleep(Duration::from_millis(rng.u64(..100)));
            }
            Ok(runs)
        });
        Tools { thread, over, turn }
    }

    /// None runs while this is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many printed what is right; or what went wrong.
    pub(crate) fn finish(self) -> Result<Runs, String> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|_| Err("the thread of the tools panicked".to_owned()))
    }
}

impl Runs {
    /// One more.
    pub(crate) fn count(&mut self, run: &Run) {
        match run.program {
            Program::Tool(_) => self.tools += 1,
            Program::Asynchronous { .. } => self.asynchronous += 1,
        }
    }
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
    Asynchronous {
        seed: u64,
        count: u32,
    },
}

impl Run {
    /// Any of them.
    pub(crate) fn draw(name_conf: &str, rng: &mut Rng) -> Run {
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
                let words =
                    [compile().display().to_string(), name_conf.to_owned(), seed.to_string(), count.to_string()];
                (words.into(), Program::Asynchronous { seed, count })
            }
        };
        Run { program, words, name_conf: name_conf.to_owned(), input }
    }

    /// Runs it; gives how it failed. An error is output that is not right.
    pub(crate) fn end(&self, watchdog: &Watchdog) -> Result<Option<String>, String> {
        let mut command = stage::command("setpriv");
        // One that hangs ends with us.
        command.args(["--pdeathsig", "KILL"]).args(&self.words);
        command.env("TPM2TOOLS_TCTI", &self.name_conf).env("TSS2_LOG", "all+none");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return Ok(Some("it does not start".to_owned())) };
        let ended: std::io::Result<Output> = watchdog.watch(format_args!("{:?}", self.words), || {
            if let Some(mut stdin) = child.stdin.take() {
                let _ = stdin.write_all(&self.input);
            }
            child.wait_with_output()
        });
        let ended = ended.map_err(|error| error.to_string())?;
        let words = &self.words;
        match (ended.status.code(), self.is_right(&output::stdout(&ended), ended.status.success())) {
            (None, _) => Err(format!("{words:?} ended by a signal: {}", output::show(&ended))),
            (Some(_), false) => Err(format!("{words:?} printed what is not right: {}", output::show(&ended))),
            (Some(0), true) => Ok(None),
            (Some(_), true) => Ok(Some(format!("{words:?}: {}", output::show(&ended)))),
        }
    }

    /// Whether this is what it should print. Of one that fails it is what came before.
    fn is_right(&self, printed: &str, whole: bool) -> bool {
        match &self.program {
            Program::Tool(_) if !whole => true,
            Program::Tool(Some(expected)) => printed.trim_end() == expected,
            Program::Tool(None) => printed.trim_end().len() == 48,
            Program::Asynchronous { seed, count } => {
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
