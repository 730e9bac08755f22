// SPDX-License-Identifier: BSD-2-Clause
//! The TPM behind the channels: our own libtpms module with a state file. Powering it off keeps the permanent part of
//! the file and drops the volatile part, like a power cycle.

use anyhow::{Result, anyhow};
use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tcti_core::Tcti;
use tcti_core::Wait;
use tcti_loader::{Child, NameConf};
use tempfile::TempDir;

/// The response to a command that was cancelled: TPM_RC_CANCELED (TPM 2.0 Library Part 2, section 6.6).
const CANCELED: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x09];

/// A TPM that can be powered on and off.
pub(crate) struct PoweredTpm {
    library: CString,
    state: PathBuf,
    _dir: TempDir,
    latency: Duration,
    chip: Mutex<Option<Child>>,
    cancelled: Mutex<bool>,
    cancel_changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PoweredTpm {
    /// Makes a TPM that is powered off.
    pub(crate) fn new(library: &str, latency: Duration) -> Result<PoweredTpm> {
        let dir = tempfile::tempdir()?;
        let tpm = PoweredTpm {
            library: CString::new(library)?,
            state: dir.path().join("state"),
            _dir: dir,
            latency,
            chip: Mutex::new(None),
            cancelled: Mutex::new(false),
            cancel_changed: Condvar::new(),
        };
        *lock(&tpm.chip) = Some(tpm.open()?);
        tpm.power_off();
        Ok(tpm)
    }

    fn open(&self) -> Result<Child> {
        let state = CString::new(self.state.to_string_lossy().as_bytes())?;
        let what = NameConf::new(Some(&self.library), Some(&state)).map_err(|rc| anyhow!("{rc:?}"))?;
        tcti_loader::open(&what).map_err(|rc| anyhow!("cannot open {:?}: {rc:?}", self.library))
    }

    /// Powers it on. The module sends Startup.
    pub(crate) fn power_on(&self) {
        let mut chip = lock(&self.chip);
        if chip.is_none() {
            match self.open() {
                Ok(child) => *chip = Some(child),
                Err(error) => eprintln!("mssim-server: {error:#}"),
            }
        }
    }

    pub(crate) fn power_off(&self) {
        if lock(&self.chip).take().is_some() {
            let state = fs::read(&self.state).unwrap_or_default();
            let permanent = state.first_chunk().map_or(0, |size| u32::from_be_bytes(*size));
            let end = usize::try_from(permanent).unwrap_or_default() + 4;
            let kept = [state.get(..end).unwrap_or_default(), &[0; 4]].concat();
            if let Err(error) = fs::write(&self.state, kept) {
                eprintln!("mssim-server: {error}");
            }
        }
    }

    pub(crate) fn set_cancel(&self, cancel: bool) {
        *lock(&self.cancelled) = cancel;
        self.cancel_changed.notify_all();
    }

    /// Executes a command. Returns the response, which is empty while the power is off.
    pub(crate) fn execute(&self, locality: u8, command: &[u8]) -> Vec<u8> {
        if self.cancelled_within(self.latency) {
            return CANCELED.to_vec();
        }
        let mut chip = lock(&self.chip);
        let Some(child) = chip.as_mut() else { return Vec::new() };
        let mut response = vec![0; 4096];
        let done = child
            .set_locality(locality)
            .and_then(|()| child.transmit(command))
            .and_then(|()| child.receive(&mut response, Wait::Forever));
        response.truncate(done.unwrap_or_default());
        response
    }

    fn cancelled_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut cancelled = lock(&self.cancelled);
        while !*cancelled {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.cancel_changed.wait_timeout(cancelled, left);
            cancelled = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
