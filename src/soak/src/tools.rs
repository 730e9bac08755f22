// SPDX-License-Identifier: BSD-2-Clause
//! tpm2-tools, unmodified, beside the contexts, each through our loader to the same TPM. A tool prints what is right or
//! fails, and works again soon.

use fastrand::Rng;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tss2_e2e::{output, stage};

/// So many tools in a row may fail, of servers that were just killed and of limits that they inherit.
const TRIES: u32 = 20;

/// A thread that runs one tool after the other.
pub(crate) struct Tools {
    thread: JoinHandle<Result<u64, String>>,
    over: Arc<AtomicBool>,
    turn: Arc<Mutex<()>>,
}

impl Tools {
    pub(crate) fn start(name_conf: String, mut rng: Rng) -> Tools {
        let (over, turn) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let (is_over, turns) = (Arc::clone(&over), Arc::clone(&turn));
        let thread = thread::spawn(move || {
            let (mut right, mut failed) = (0, 0);
            while !is_over.load(Ordering::SeqCst) {
                let turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
                match run(&name_conf, &mut rng)? {
                    None => (right, failed) = (right + 1, 0),
                    Some(why) => {
                        failed += 1;
                        if failed > TRIES {
                            return Err(format!("tools do not work any more: {why}"));
                        }
                    }
                }
                drop(turn);
                // Leaves the TPM to the contexts for a while.
                thread::sleep(Duration::from_millis(rng.u64(..100)));
            }
            Ok(right)
        });
        Tools { thread, over, turn }
    }

    /// None runs while this is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many printed what is right; or what went wrong.
    pub(crate) fn finish(self) -> Result<u64, String> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|_| Err("the thread of the tools panicked".to_owned()))
    }
}

/// Runs one; gives how it failed. An error is output that is not right.
fn run(name_conf: &str, rng: &mut Rng) -> Result<Option<String>, String> {
    let data: Vec<u8> = (0..rng.usize(1..500)).map(|_| rng.u8(..)).collect();
    let (words, expected): (&[&str], Option<String>) = match rng.u8(..3) {
        0 => (&["tpm2_getrandom", "--hex", "24"], None),
        1 => (&["tpm2_hash", "--hex", "-g", "sha256"], Some(hex(&Sha256::digest(&data)))),
        _ => (&["tpm2_pcrread", "sha256:16"], Some(format!("  sha256:\n    16: 0x{}", "0".repeat(64)))),
    };
    let mut command = stage::command(words[0]);
    command.args(&words[1..]).env("TPM2TOOLS_TCTI", name_conf).env("TSS2_LOG", "all+none");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return Ok(Some("it does not start".to_owned())) };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(&data); // only tpm2_hash reads it
    }
    let ended: Output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !ended.status.success() {
        return match ended.status.code() {
            Some(_) => Ok(Some(output::show(&ended))),
            None => Err(format!("{words:?} ended by a signal: {}", output::show(&ended))),
        };
    }
    let printed = output::stdout(&ended);
    let is_right = match &expected {
        Some(expected) => printed.trim_end() == expected,
        None => printed.trim_end().len() == 48,
    };
    match is_right {
        true => Ok(None),
        false => Err(format!("{words:?} printed {printed:?} where {expected:?} is right")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // to a string it succeeds
        text
    })
}
