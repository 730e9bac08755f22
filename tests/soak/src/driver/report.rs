// SPDX-License-Identifier: BSD-2-Clause
//! The report of a forked process to its parent: [`Report`]. It is a file that is always up to date, because the
//! process may be killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tss2_soak::Finding;

/// The number of counts: commands sent, with a right response, ended by an error, refused; responses from kept objects.
pub(crate) const COUNTS: usize = 5;

/// Offset and size of the text of the last call, in bytes.
const CALL: u64 = 8 * COUNTS as u64;
const CALL_SIZE: usize = 256;
/// Offset of the findings, in bytes.
const FINDINGS: u64 = CALL + CALL_SIZE as u64;

/// A file that both processes have open.
pub(crate) struct Report(File);

/// The content of a report.
pub(crate) struct Content {
    pub(crate) counts: [u64; COUNTS],
    /// The last call.
    pub(crate) call: String,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new() -> io::Result<Report> {
        tempfile::tempfile().map(Report)
    }

    /// Returns another descriptor, for another writer in the same process.
    pub(crate) fn again(&self) -> io::Result<Report> {
        self.0.try_clone().map(Report)
    }

    pub(crate) fn count(&self, counts: [u64; COUNTS]) {
        let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        self.0.write_all_at(&bytes, 0).unwrap();
    }

    /// Writes the text of the call that is being made.
    pub(crate) fn call(&self, text: &str) {
        let mut room = [b' '; CALL_SIZE];
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.0.write_all_at(&room, CALL).unwrap();
    }

    pub(crate) fn find(&self, finding: &Finding) {
        let end = self.0.metadata().unwrap().len().max(FINDINGS);
        self.0.write_all_at(finding.line().as_bytes(), end).unwrap();
    }

    pub(crate) fn read(&self) -> Content {
        let mut bytes = vec![0; usize::try_from(self.0.metadata().unwrap().len()).unwrap()];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        // A process that was killed at once has written nothing.
        bytes.resize(bytes.len().max(FINDINGS as usize), 0);
        let (counts, rest) = bytes.split_at(CALL as usize);
        let (call, findings) = rest.split_at(CALL_SIZE);
        let counts: Vec<u64> = counts.chunks(8).map(|count| u64::from_le_bytes(count.try_into().unwrap())).collect();
        Content {
            counts: counts.try_into().unwrap(),
            call: String::from_utf8_lossy(call).trim_end().to_owned(),
            findings: String::from_utf8_lossy(findings).lines().filter_map(Finding::parse).collect(),
        }
    }
}
