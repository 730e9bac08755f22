// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong, and how the TPM differs from the ideal. Time is counted in what the driver does, so that tests
//! need no clock.
#![forbid(unsafe_code)]

use tcti_core::conf::number;
use tcti_core::{Result, ReturnCode, fail};

/// A bus that reads the same whatever is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// So many more transactions work.
    pub after: u32,
    /// What every byte reads from then on.
    pub level: u8,
}

/// Where the TPM differs from one that is always ready and answers at once.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The burst count.
    pub burst: u16,
    /// Each so-manieth status reads burst count 0; 0: none does.
    pub burst_zero_every: u32,
    /// So many statuses after commandReady was written the TPM is ready.
    pub ready_after: u32,
    /// A finished command goes to Idle, where it needs another commandReady, as the letter of the specification has it.
    pub through_idle: bool,
    /// So many statuses after tpmGo there is a response.
    pub data_after: u32,
    /// Bytes of wait states in each transaction.
    pub wait_states: u32,
    /// So many reads of the access register after the request the locality is given.
    pub claim_after: u32,
    /// What the status reads instead of what it is.
    pub garbage: Option<u32>,
    /// So many bytes of each command are lost.
    pub lose: u32,
    /// The FIFO is empty after so many bytes of a response, and the burst count 0.
    pub stall_at: Option<usize>,
    /// The FIFO is empty, with no data available, after so many bytes of a response.
    pub cut_at: Option<usize>,
    /// The bus dies.
    pub death: Option<Death>,
    /// So many more transactions work, the next one is an error, then all is well.
    pub error_after: Option<u32>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            burst: 64,
            burst_zero_every: 0,
            ready_after: 0,
            through_idle: false,
            data_after: 0,
            wait_states: 0,
            claim_after: 0,
            garbage: None,
            lose: 0,
            stall_at: None,
            cut_at: None,
            death: None,
            error_after: None,
        }
    }
}

impl Faults {
    /// From `key=number` between commas; keys are `burst`, `burst_zero_every`, `ready_after`, `through_idle`,
    /// `data_after`, `wait_states`, `claim_after`, `dead_after` and `error_after`.
    pub fn parse(text: &str) -> Result<Faults> {
        let mut faults = Faults::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = number(key, value.as_ref(), 0..=u32::MAX)?;
            match key {
                "burst" => faults.burst = u16::try_from(value).unwrap_or(u16::MAX),
                "burst_zero_every" => faults.burst_zero_every = value,
                "ready_after" => faults.ready_after = value,
                "through_idle" => faults.through_idle = value != 0,
                "data_after" => faults.data_after = value,
                "wait_states" => faults.wait_states = value,
                "claim_after" => faults.claim_after = value,
                "dead_after" => faults.death = Some(Death { after: value, level: 0xff }),
                "error_after" => faults.error_after = Some(value),
                _ => return Err(fail!(ReturnCode::BAD_VALUE, "the simulator has no fault \"{key}\"")),
            }
        }
        Ok(faults)
    }
}
