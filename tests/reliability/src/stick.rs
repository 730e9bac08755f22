// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the simulated stick, as `tests/sim/tpm2go/src/faults.rs` reads them.

use std::fmt;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum StickFault {
    /// It happens to one transfer of its kind, after this many that work.
    Once(Transfers, usize),
    /// It happens to all transfers of its kind, after this many that work.
    From(Transfers, usize),
    /// The bus behind the bridge reads 0xff after this many transactions that work.
    DeadAfter(u32),
    /// The TPM is ready after this many polls.
    ReadyAfter(u32),
    /// The TPM has the response after this many polls.
    DataAfter(u32),
    /// The TPM grants the locality after this many polls.
    ClaimAfter(u32),
}

/// A fault of transfers of a kind: control transfers, bulk OUT or bulk IN.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transfers {
    /// STALL.
    StallControl,
    /// STALL; the endpoint works again at once.
    StallOut,
    StallIn,
    /// STALL; the endpoint stays halted until CLEAR_FEATURE.
    HaltOut,
    HaltIn,
    /// No answer.
    NakControl,
    NakOut,
    NakIn,
    /// The last byte is missing.
    ShortIn,
    /// More bytes than requested.
    LongIn,
    /// A packet without data.
    EmptyIn,
    /// Each bit is inverted.
    GarbageIn,
    /// The stick is unplugged; counts transfers of all kinds.
    Unplug,
}

/// A TPM that never becomes ready, has a response or grants the locality: more polls than the module makes.
pub(super) const NEVER: u32 = 1_000_000;

impl Transfers {
    fn key(self) -> &'static str {
        match self {
            Transfers::StallControl => "stall_control",
            Transfers::StallOut => "stall_out",
            Transfers::StallIn => "stall_in",
            Transfers::HaltOut => "halt_out",
            Transfers::HaltIn => "halt_in",
            Transfers::NakControl => "nak_control",
            Transfers::NakOut => "nak_out",
            Transfers::NakIn => "nak_in",
            Transfers::ShortIn => "short_in",
            Transfers::LongIn => "long_in",
            Transfers::EmptyIn => "empty_in",
            Transfers::GarbageIn => "garbage_in",
            Transfers::Unplug => "unplug",
        }
    }
}

impl fmt::Display for StickFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StickFault::Once(transfers, after) => write!(f, "{}={after}", transfers.key()),
            StickFault::From(transfers, after) => write!(f, "{}={after}+", transfers.key()),
            StickFault::DeadAfter(count) => write!(f, "dead_after={count}"),
            StickFault::ReadyAfter(count) => write!(f, "ready_after={count}"),
            StickFault::DataAfter(count) => write!(f, "data_after={count}"),
            StickFault::ClaimAfter(count) => write!(f, "claim_after={count}"),
        }
    }
}
