// SPDX-License-Identifier: BSD-2-Clause
//! Register traffic with a TPM on a bus that lies: every call ends, what is delivered is as long as it says, and when
//! the lies are over, all is well. The clock is virtual.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use sim_tis::Faults;
use tcti_core::{Result, ReturnCode};
use tcti_tis::{Bus, ChipSelect, Clock, Tis, Transfer};
use tss2_fuzz::liar::{Liar, Lie, Shared, Time, Timeless, lock, play};

#[derive(Arbitrary, Debug)]
struct Input {
    held: bool,
    burst: u16,
    burst_zero_every: u8,
    ready_after: u8,
    through_idle: bool,
    data_after: u8,
    wait_states: u8,
    claim_after: u8,
    /// Time-outs of receives, command by command.
    waits: Vec<Vec<u16>>,
    lies: Vec<Lie>,
}

impl Input {
    fn faults(&self) -> Faults {
        Faults {
            burst: self.burst.max(1),
            burst_zero_every: self.burst_zero_every.into(),
            ready_after: u32::from(self.ready_after % 8),
            through_idle: self.through_idle,
            data_after: u32::from(self.data_after % 32),
            // A bus that gives chip select up after each transfer has none.
            wait_states: if self.held {
                u32::from(if self.wait_states > 250 { 70 } else { self.wait_states % 4 })
            } else {
                0
            },
            claim_after: u32::from(self.claim_after % 8),
            ..Faults::default()
        }
    }
}

struct Lying {
    liar: Shared,
    time: Time,
    chip_select: ChipSelect,
}

impl Bus for Lying {
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        let count = transfer.len();
        assert!((1..=68).contains(&count), "{count} bytes");
        lock(&self.liar).transfer(transfer.out, transfer.into, count)
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.time
    }

    fn chip_select(&self) -> ChipSelect {
        self.chip_select
    }

    fn select(&mut self) -> Result<()> {
        lock(&self.liar).sim.select();
        Ok(())
    }

    fn deselect(&mut self) -> Result<()> {
        lock(&self.liar).sim.deselect();
        Ok(())
    }
}

impl Timeless for Lying {
    fn time(&mut self) -> &mut Time {
        &mut self.time
    }
}

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    let liar = Liar::new(input.faults(), input.lies.clone());
    let open = || {
        Tis::over(Lying {
            liar: Shared::clone(&liar),
            time: Time::default(),
            chip_select: if input.held { ChipSelect::Held } else { ChipSelect::PerTransfer },
        })
    };
    // Where each status has a burst count of 0, or wait states do not end, there is nothing to be had.
    let is_bearable = input.burst_zero_every != 1 && input.wait_states <= 250;
    play(&liar, open, &input.waits, &[ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE], is_bearable);
});
