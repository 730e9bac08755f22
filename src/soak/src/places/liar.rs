// SPDX-License-Identifier: BSD-2-Clause
//! A TPM in this process that can hash, and asks for everything else to be sent again. It may be told to lie: whoever
//! judges what comes of a run has to notice (`tests/judge.rs`).

use crate::place::{Abilities, Moment, Place, Strike};
use crate::tcti::Tcti;
use clap::ValueEnum;
use fastrand::Rng;
use sha2::{Digest, Sha256};
use tcti_core::{GetPollHandles, Inheritance, Progress, Rc, Result, RxBuf, Session, Transport, Wait};

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    /// Each answer is the one to the command before.
    Behind,
    /// A command fails without a fault.
    Broken,
    /// There are two descriptors to poll.
    Handles,
    /// Each command leaves a hundred bytes.
    Heap,
}

/// The TPM.
pub(crate) struct Liar(pub(crate) Option<Lie>);

/// A context on it.
struct Way {
    lie: Option<Lie>,
    /// The right ones to the last two commands.
    answers: [Vec<u8>; 2],
}

impl Transport for Way {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let [_, before] = std::mem::take(&mut self.answers);
        self.answers = [before, answer(command)];
        match self.lie {
            Some(Lie::Broken) => return Err(Rc::IO_ERROR),
            Some(Lie::Heap) => {
                Box::leak(Box::new([0_u8; 100]));
            }
            Some(Lie::Behind | Lie::Handles) | None => {}
        }
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        let [before, right] = &self.answers;
        rx.extend(if self.lie == Some(Lie::Behind) { before } else { right })?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn inherited(&mut self, _inheritance: Inheritance) {}

    const POLL_HANDLES: Option<GetPollHandles<Way>> = Some(|way| match way.lie {
        Some(Lie::Handles) => Ok(vec![1, 2]),
        _ => Ok(Vec::new()), // receive does not wait
    });
}

/// TPM2_Hash with SHA-256 in the hierarchy NULL; to all else TPM_RC_RETRY (TPM 2.0 Library Part 2, section 6.6).
fn answer(command: &[u8]) -> Vec<u8> {
    let mut answer = vec![0x80, 1, 0, 0, 0, 0];
    match command {
        [_, _, _, _, _, _, 0, 0, 1, 0x7d, _, _, data @ .., _, _, _, _, _, _] => {
            answer.extend([0, 0, 0, 0, 0, 32]);
            answer.extend(Sha256::digest(data));
            answer.extend([0x80, 0x24, 0x40, 0, 0, 7, 0, 0]);
        }
        _ => answer.extend([0, 0, 9, 0x22]),
    }
    answer[5] = u8::try_from(answer.len()).unwrap();
    answer
}

impl Place for Liar {
    fn slots(&self) -> usize {
        1
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        Ok(Box::new(Session::new(Way { lie: self.0, answers: [answer(&[]), answer(&[])] })))
    }

    fn strike(&mut self, _slot: usize, _moment: Moment, _calm: bool, _rng: &mut Rng) -> Option<Strike> {
        None
    }

    fn heal(&mut self, _slot: usize) -> bool {
        false
    }

    fn abilities(&self) -> Abilities {
        Abilities { signals: true, cancel: false, locality: false, poll: true }
    }
}
