// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on a faulty SPI bus: every call returns, a response has the size of its header, and after the last fault
//! everything works. The clock is virtual.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use sim_tis::Faults;
use tcti_core::{Result, ReturnCode};
use tcti_tis::{Bus, ChipSelect, Clock, Tis, Transfer};
use tss2_fuzz::bus::{BusFault, FaultyTpm, Shared, Time, Timeless, lock, play};

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
    /// The time-outs of the receives of each command.
    waits: Vec<Vec<u16>>,
    faults: Vec<BusFault>,
}

impl Input {
    fn faults(&self) -> Faults {
        Faults {
            burst: self.burst.max(1),
            burst_zero_every: self.burst_zero_every.into(),
            ready_after: u32::from(self.ready_after % 8),
            through_idle: self.through_idle,
            data_after: u32::from(self.data_after % 32),
            // Wait states need a bus that holds chip select.
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

struct FaultyBus {
    tpm: Shared,
    time: Time,
    chip_select: ChipSelect,
}

impl Bus for FaultyBus {
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        let count = transfer.len();
        assert!((1..=68).contains(&count), "{count} bytes");
        lock(&self.tpm).transfer(transfer.out, transfer.into, count)
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.time
    }

    fn chip_select(&self) -> ChipSelect {
        self.chip_select
    }

    fn select(&mut self) -> Result<()> {
        lock(&self.tpm).sim.select();
        Ok(())
    }

    fn deselect(&mut self) -> Result<()> {
        lock(&self.tpm).sim.deselect();
        Ok(())
    }
}

impl Timeless for FaultyBus {
    fn time(&mut self) -> &mut Time {
        &mut self.time
    }
}

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    let tpm = FaultyTpm::new(input.faults(), input.faults.clone());
    let open = || {
        Tis::over(FaultyBus {
            tpm: Shared::clone(&tpm),
            time: Time::default(),
            chip_select: if input.held { ChipSelect::Held } else { ChipSelect::PerTransfer },
        })
    };
    // With a burst count of 0 in each status, or endless wait states, no command can succeed.
    let is_bearable = input.burst_zero_every != 1 && input.wait_states <= 250;
    play(&tpm, open, &input.waits, &[ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE], is_bearable);
});
