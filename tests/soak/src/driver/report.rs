// SPDX-License-Identifier: BSD-2-Clause
//! What a forked process tells its parent: [`Report`], a file in which all is that it knows at any moment, for it may be
//! killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tss2_soak::Finding;

/// What is counted: commands sent, those with a right answer, ended by an error, refused; kept objects that answered.
pub(crate) const COUNTS: usize = 5;

/// Where the text of the last call is, and its room.
const CALL: u64 = 8 * COUNTS as u64;
const CALL_SIZE: usize = 256;
/// Where findings begin.
const FINDINGS: u64 = CALL + CALL_SIZE as u64;

/// A file that both have.
pub(crate) struct Report(File);

/// What is in it at last.
pub(crate) struct Told {
    pub(crate) counts: [u64; COUNTS],
    /// The last call.
    pub(crate) call: String,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new() -> io::Result<Report> {
        tempfile::tempfile().map(Report)
    }

    /// For another writer in the same process.
    pub(crate) fn again(&self) -> io::Result<Report> {
        self.0.try_clone().map(Report)
    }

    pub(crate) fn count(&self, counts: [u64; COUNTS]) {
        let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        self.0.write_all_at(&bytes, 0).unwrap();
    }

    /// What is done now.
    pub(crate) fn call(&self, text: &str) {
        let mut room = [b' '; CALL_SIZE];
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.0.write_all_at(&room, CALL).unwrap();
    }

    pub(crate) fn find(&self, finding: &Finding) {
        let end = self.0.metadata().unwrap().len().max(FINDINGS);
        self.0.write_all_at(finding.line().as_bytes(), end).unwrap();
    }

    pub(crate) fn read(&self) -> Told {
        let mut bytes = vec![0; usize::try_from(self.0.metadata().unwrap().len()).unwrap()];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        // One that was killed at once has written nothing.
        bytes.resize(bytes.len().max(FINDINGS as usize), 0);
        let (counts, rest) = bytes.split_at(CALL as usize);
        let (call, findings) = rest.split_at(CALL_SIZE);
        let counts: Vec<u64> = counts.chunks(8).map(|count| u64::from_le_bytes(count.try_into().unwrap())).collect();
        Told {
            counts: counts.try_into().unwrap(),
            call: String::from_utf8_lossy(call).trim_end().to_owned(),
            findings: String::from_utf8_lossy(findings).lines().filter_map(Finding::parse).collect(),
        }
    }
}
