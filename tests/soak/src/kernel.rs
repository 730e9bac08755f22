// SPDX-License-Identifier: BSD-2-Clause
//! Complaints about the TPM in the kernel's log. On an emulated processor, the emulator of the TPM may be so late that
//! the driver abandons a command, without a fault that the soak has made.

use nix::libc::O_NONBLOCK;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// How far the clock of the log may differ from ours.
const SLACK: Duration = Duration::from_secs(1);

/// Whether the driver has complained about the TPM since this time.
pub(crate) fn has_complained(since: Instant) -> bool {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let Some(now) = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()) else { return false };
    let then = Duration::from_secs_f64(now).saturating_sub(since.elapsed() + SLACK);
    records().iter().filter_map(|record| complaint(record)).any(|at| at > then)
}

/// Returns all records of the log.
fn records() -> Vec<String> {
    let mut records = Vec::new();
    let Ok(mut log) = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg") else { return records };
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(size) => records.push(String::from_utf8_lossy(&record[..size]).into_owned()),
            // The read was interrupted, or the next record was overwritten.
            Err(error) if [ErrorKind::Interrupted, ErrorKind::BrokenPipe].contains(&error.kind()) => {}
            Err(_) => return records, // end of the log
        }
    }
}

/// Returns the time of a complaint since the start of the kernel; `None` for other records. A record is
/// "priority,number, microseconds,flags;text" (Linux, Documentation/ABI/testing/dev-kmsg).
fn complaint(record: &str) -> Option<Duration> {
    let (head, text) = record.split_once(';')?;
    let micros = head.split(',').nth(2)?.parse().ok()?;
    text.starts_with("tpm tpm0: ").then(|| Duration::from_micros(micros))
}
