// SPDX-License-Identifier: BSD-2-Clause
//! A TPM in this process that can hash and has room for one HMAC key. It answers every other command with TPM_RC_RETRY.
//! It can have a defect, which the soak has to detect (`tests/judge.rs`).

use crate::target::{Abilities, Keeps, Now, Refusals, Strike, TAKEN, Target};
use clap::ValueEnum;
use fastrand::Rng;
use sha2::{Digest, Sha256};
use tcti_core::Tcti;
use tcti_core::{
    GetPollHandles, Inheritance, PollHandle, Progress, Result, ReturnCode, RxBuf, Session, Transport, Wait,
};
use tss2_soak::hmac;

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    /// Each response is the one to the previous command.
    Behind,
    /// A command fails without a fault.
    Broken,
    /// It returns two descriptors to poll.
    Handles,
    /// Each command leaks a hundred bytes.
    Heap,
    /// The key is lost after some commands.
    Lost,
    /// The key is lost after some commands in forked processes.
    LostThere,
    /// In forked processes each response is the one to the previous command.
    BehindThere,
    /// In forked processes a command fails without a fault.
    BrokenThere,
    /// Forked processes crash.
    CrashThere,
}

/// The handle of the key.
const HANDLE: [u8; 4] = [0x80, 0, 0, 0];
/// The number of commands after which the key is lost.
const SPAN: u32 = 200;

/// The TPM.
pub(crate) struct WrongAnswers(pub(crate) Option<Lie>);

/// A context on it.
struct Way {
    lie: Option<Lie>,
    is_forked: bool,
    key: Option<Vec<u8>>,
    commands: u32,
    /// The right responses to the last two commands.
    answers: [Vec<u8>; 2],
}

impl Transport for Way {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.commands += 1;
        match (self.lie, self.is_forked) {
            (Some(Lie::Lost), _) | (Some(Lie::LostThere), true) if self.commands > SPAN => self.key = None,
            (Some(Lie::Broken), _) | (Some(Lie::BrokenThere), true) => return Err(ReturnCode::IO_ERROR.into()),
            (Some(Lie::CrashThere), true) => std::process::abort(),
            (Some(Lie::Heap), _) => {
                Box::leak(Box::new([0_u8; 100]));
            }
            _ => {}
        }
        let answer = self.answer(command);
        let [_, before] = std::mem::take(&mut self.answers);
        self.answers = [before, answer];
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        let [before, right] = &self.answers;
        let is_behind = match self.lie {
            Some(Lie::Behind) => true,
            Some(Lie::BehindThere) => self.is_forked,
            _ => false,
        };
        rx.extend(if is_behind { before } else { right })?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.is_forked = true;
    }

    const POLL_HANDLES: Option<GetPollHandles<Way>> = Some(|_, _| Ok(())); // receive does not wait
}

/// A context with [`Lie::Handles`].
struct TwoHandles(Session<Way>);

impl Tcti for TwoHandles {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        self.0.response_size(wait)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> Result<usize> {
        Tcti::receive(&mut self.0, buffer, wait)
    }

    fn cancel(&mut self) -> Result<()> {
        self.0.cancel()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.0.set_locality(locality)
    }

    fn poll_handles(&mut self, each: &mut dyn FnMut(PollHandle)) -> Result<()> {
        self.0.poll_handles(&mut |handle| {
            each(handle);
            each(handle);
        })
    }
}

impl Way {
    fn new(lie: Option<Lie>) -> Way {
        let again = response(0x8001, 0x922, &[]);
        Way { lie, is_forked: false, key: None, commands: 0, answers: [again.clone(), again] }
    }

    /// Returns the right response.
    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        match (code, &self.key) {
            // TPM2_Hash with SHA-256 in the hierarchy NULL.
            (0x17d, _) => {
                let [data @ .., _, _, _, _, _, _] = &command[12..] else { unreachable!() };
                let ticket = [0x80, 0x24, 0x40, 0, 0, 7, 0, 0];
                match data.len() {
                    0..=1024 => response(0x8001, 0, &[&[0, 32], &Sha256::digest(data)[..], &ticket].concat()),
                    _ => response(0x8001, 0x1d5, &[]),
                }
            }
            // TPM2_GetCapability of the transient objects.
            (0x17a, key) if command[10..14] == [0, 0, 0, 1] => {
                let handles: &[u8] = if key.is_some() { &HANDLE } else { &[] };
                let count = u8::from(key.is_some());
                response(0x8001, 0, &[&[0, 0, 0, 0, 1, 0, 0, 0, count], handles].concat())
            }
            // TPM2_LoadExternal, with the key behind its type, an empty password and a seed.
            (0x167, None) => {
                self.key = Some(command[52..84].to_vec());
                let public = &command[86..command.len() - 4];
                let name = [&[0, 34, 0, 0x0b], &Sha256::digest(public)[..]].concat();
                response(0x8001, 0, &[&HANDLE[..], &name].concat())
            }
            // TPM2_HMAC.
            (0x155, Some(key)) if command[10..14] == HANDLE => {
                let mac = hmac(key, &command[29..command.len() - 2]);
                response(0x8002, 0, &[&[0, 0, 0, 34, 0, 32], &mac[..], &[0, 0, 1, 0, 0]].concat())
            }
            (0x155, None) => response(0x8001, 0x910, &[]),
            // TPM_RC_RETRY (TPM 2.0 Library Part 2, section 6.6).
            _ => response(0x8001, 0x922, &[]),
        }
    }
}

fn response(tag: u16, code: u32, fields: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + fields.len()).unwrap();
    [&tag.to_be_bytes(), &size.to_be_bytes()[..], &code.to_be_bytes(), fields].concat()
}

impl Target for WrongAnswers {
    fn slots(&self) -> usize {
        1
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        let session = Session::new(Way::new(self.0));
        Ok(match self.0 {
            Some(Lie::Handles) => Box::new(TwoHandles(session)),
            _ => Box::new(session),
        })
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Connection
    }

    fn strike(&mut self, _slot: usize, _now: Now, _rng: &mut Rng) -> Option<Strike> {
        None
    }

    fn heal(&mut self, _slot: usize) -> bool {
        false
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            forks: true,
            refusals: Refusals::Tpm,
            largest: TAKEN,
            signals: true,
            cancel: false,
            locality: false,
            poll: true,
        }
    }
}
