// SPDX-License-Identifier: BSD-2-Clause
//! Faults, and how the TPM differs from an ideal one. Delays are counted in operations of the driver, so that tests
//! need no clock.
#![forbid(unsafe_code)]

use tcti_core::conf::number;
use tcti_core::{Result, ReturnCode, fail};

/// A bus that reads the same level for every byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// How many more transactions work.
    pub after: u32,
    /// The value of every byte that is read afterwards.
    pub level: u8,
}

/// How the TPM differs from one that is always ready and responds at once.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The burst count.
    pub burst: u16,
    /// Every nth status read reports burst count 0; 0 turns this off.
    pub burst_zero_every: u32,
    /// The number of status reads after commandReady was written until the TPM is ready.
    pub ready_after: u32,
    /// After a command the TPM enters Idle, where it needs another commandReady, as the specification says.
    pub through_idle: bool,
    /// The number of status reads after tpmGo until the response is available.
    pub data_after: u32,
    /// The number of wait states in each transaction, in bytes.
    pub wait_states: u32,
    /// The number of reads of the access register after the request until the locality is granted.
    pub claim_after: u32,
    /// The value that the status register reads instead of the right one.
    pub garbage: Option<u32>,
    /// How many bytes of each command are lost.
    pub lose: u32,
    /// After this many bytes of a response the FIFO is empty and the burst count 0.
    pub stall_at: Option<usize>,
    /// After this many bytes of a response the FIFO is empty and no data is available.
    pub cut_at: Option<usize>,
    /// The bus stops working.
    pub death: Option<Death>,
    /// The number of transactions until one fails; later ones work.
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
    /// Parses `key=number` pairs, separated by commas. The keys are `burst`, `burst_zero_every`, `ready_after`,
    /// `through_idle`, `data_after`, `wait_states`, `claim_after`, `dead_after` and `error_after`.
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
