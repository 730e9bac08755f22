// SPDX-License-Identifier: BSD-2-Clause
//! The floor of a TPM with a state file: libtpms, a file lock, and one write of the changed state. If the permanent state has
//! changed, the file is synced to the disk.

use crate::connection::{COUNTER, Command, Connector, STARTUP};
use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tcti_libtpms::sys::{Blobs, Chip};

/// Returns a connector that starts a new TPM for each connection and writes its state to the file `path`.
pub(crate) fn floor(path: PathBuf) -> Connector {
    Box::new(move || {
        let mut chip = Chip::take()?;
        chip.power_on(Blobs::default())?;
        for command in [STARTUP, COUNTER, Command::Increment.bytes()] {
            chip.process(0, command)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        file.write_all_at(&[0; 16 << 10], 0)?;
        file.sync_all()?;
        let mut known = chip.permanent(<[u8]>::to_vec);
        Ok(Box::new(move |command| -> Result<usize> {
            flock(&file, FlockOperation::LockExclusive)?;
            let response = chip.process(0, command)?;
            let volatile = chip.volatile()?;
            if chip.permanent(|permanent| permanent == known) {
                file.write_all_at(&volatile, 0)?;
            } else {
                known = chip.permanent(<[u8]>::to_vec);
                file.write_all_at(&[&known, &*volatile].concat(), 0)?;
                file.sync_data()?;
            }
            flock(&file, FlockOperation::Unlock)?;
            Ok(response.len())
        }))
    })
}
