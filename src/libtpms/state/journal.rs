// SPDX-License-Identifier: BSD-2-Clause
//! The layout of a state file, [`Journal`]. At the front is the state in the format of the C module, which reads no further.
//! After it are three slots for records. The newest record is the state. A new record overwrites one that is neither the
//! newest nor the one that is durable, that is, has the current permanent state and was synced to the disk; so both survive
//! whatever happens during the write. The front is a copy for the C module, and shows other processes that the state has
//! changed.
#![forbid(unsafe_code)]

use super::record::{
    Boot, CHECK_SIZE, HEAD_SIZE, Head, MAX_PERMANENT, MAX_VOLATILE, NO_BOOT, Record, copy, damaged, read, read_c_format,
};
use crate::sys::{Blobs, Secret};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::{replace, take};
use std::os::unix::fs::FileExt;

/// Bytes of a slot that are written when it is created. They are then allocated on the disk and in one piece in the page
/// cache, which makes later writes faster.
const INITIAL_SIZE: usize = 16 << 10;
const SLOT_SIZE: u64 = (INITIAL_SIZE + MAX_PERMANENT + MAX_VOLATILE) as u64;

/// The size in bytes of a file with records, most of it a hole. The C module extends any file to a multiple of 2048 when it
/// opens it, and truncates it to its own format when it has written it. So in a file of another size only the front counts.
pub(super) const FILE_SIZE: u64 = 4 * SLOT_SIZE + 1;

/// The number of a slot; 0 if a file has none.
type Slot = u64;
const SLOTS: [Slot; 3] = [1, 2, 3];

/// The known state of a file and its slots.
pub(super) struct Journal {
    boot: Boot,
    newest: Record,
    /// Whether its volatile state is valid: the machine has not started again since.
    is_of_this_boot: bool,
    slot: Slot,
    /// The number and slot of the record that is synced to the disk and has the same permanent state.
    durable: (u64, Slot),
    /// Whether the front is a copy of the newest record.
    is_front_current: bool,
    /// Reused memory.
    buffer: Secret,
}

impl Journal {
    /// Reads the state of a file of this size; empty blobs for a new TPM.
    pub(super) fn load(file: &File, size: u64, boot: Boot) -> io::Result<Journal> {
        if size == FILE_SIZE {
            return Journal::load_records(file, boot);
        }
        let state = read_c_format(file, size, FILE_SIZE)?;
        let newest = Record::new(Head { number: 0, durable: 0, boot }, &state.permanent, &state.volatile)?;
        let is_of_this_boot = true; // the format of the C module does not record this
        Ok(Journal {
            boot,
            newest,
            is_of_this_boot,
            slot: 0,
            durable: (0, 0),
            is_front_current: false,
            buffer: Secret::default(),
        })
    }

    /// Repairs the front if a killed process has left it half written. Any other content is an error, because another
    /// program may have written it on purpose.
    fn load_records(file: &File, boot: Boot) -> io::Result<Journal> {
        let mut records = Vec::new();
        for slot in SLOTS {
            records.extend(Record::read(file, slot * SLOT_SIZE)?.map(|record| (slot, record)));
        }
        let newest = records.iter().enumerate().max_by_key(|(_, (_, record))| record.head.number);
        let Some((at, _)) = newest else { return Err(damaged("it has no complete record")) };
        let (slot, newest) = records.swap_remove(at);
        let before =
            records.iter().map(|(_, record)| record).max_by_key(|record| record.head.number).map(Record::c_format);
        // After a power failure the front may contain anything.
        let is_of_this_boot = match newest.head.boot == boot && is_front_intact(file, newest.c_format(), before)? {
            false if newest.head.boot == boot && boot != NO_BOOT => {
                return Err(damaged("its copies of the state differ"));
            }
            is_of_this_boot => is_of_this_boot,
        };
        let durable = records.iter().find(|(_, record)| is_of_this_boot && record.head.number == newest.head.durable);
        let durable = match durable {
            Some((slot, record)) => (record.head.number, *slot),
            None => {
                file.sync_data()?; // its writer may have been killed before it did
                (newest.head.number, slot)
            }
        };
        let mut journal = Journal {
            boot,
            newest,
            is_of_this_boot,
            slot,
            durable,
            is_front_current: false,
            buffer: Secret::default(),
        };
        journal.write_front(file, 0);
        Ok(journal)
    }

    /// Returns the state. The volatile part is lost when the machine starts again, as with a chip.
    pub(super) fn state(&self) -> io::Result<Blobs> {
        let volatile = if self.is_of_this_boot { self.newest.volatile() } else { &[] };
        Ok(Blobs { permanent: copy(self.newest.permanent())?, volatile: copy(volatile)? })
    }

    /// Creates the slots in a file that has none. Its front is empty, or holds the newest state.
    fn create_slots(&mut self, file: &File) -> io::Result<()> {
        let slot = 1;
        file.set_len(FILE_SIZE + 1)?; // the front still counts
        for slot in SLOTS {
            file.write_all_at(&vec![0; INITIAL_SIZE], slot * SLOT_SIZE)?;
        }
        file.write_all_at(self.newest.bytes(), slot * SLOT_SIZE)?;
        file.sync_data()?;
        file.set_len(FILE_SIZE)?; // from here on the record counts
        let mut front = copy(self.newest.c_format())?;
        let size = front.len().max(INITIAL_SIZE);
        front.resize(size, 0);
        file.write_all_at(&front, 0)?;
        file.sync_all()?;
        (self.slot, self.durable, self.is_front_current) = (slot, (self.newest.head.number, slot), true);
        Ok(())
    }

    /// Writes the state to a record if it is not in one. Returns whether it was not.
    pub(super) fn ensure_record(&mut self, file: &File) -> io::Result<bool> {
        let is_new = self.slot == 0 && !self.newest.permanent().is_empty();
        if is_new {
            self.create_slots(file)?;
        }
        Ok(is_new)
    }

    /// Returns whether the file still has the known state.
    pub(super) fn is_current(&mut self, file: &File, size: u64) -> io::Result<bool> {
        let front = self.newest.c_format();
        let more = front.len().saturating_sub(self.buffer.len());
        self.buffer.try_reserve(more)?;
        self.buffer.resize(front.len(), 0);
        if !self.is_front_current || size != FILE_SIZE {
            return Ok(false);
        }
        file.read_exact_at(&mut self.buffer, 0)?;
        Ok(*self.buffer == front)
    }

    /// Stores a state if it has changed, and syncs a changed permanent state to the disk. Returns whether the permanent state
    /// has changed. On an error the previous state remains.
    pub(super) fn store(&mut self, file: &File, permanent: &[u8], volatile: &[u8]) -> io::Result<bool> {
        self.ensure_record(file)?;
        if self.slot == 0 {
            self.newest = Record::new(self.newest.head, permanent, volatile)?;
            return self.create_slots(file).map(|()| true);
        }
        let is_same = permanent == self.newest.permanent();
        if is_same && volatile == self.newest.volatile() {
            return Ok(false);
        }
        let is_free = |slot: &Slot| *slot != self.slot && *slot != self.durable.1;
        let slot = SLOTS.into_iter().find(is_free).unwrap_or_default();
        let number = self.newest.head.number + 1;
        let durable = if is_same { self.durable } else { (number, slot) };
        let head = Head { number, durable: durable.0, boot: self.boot };
        let record = match is_same {
            true => self.newest.next(head, volatile, take(&mut self.buffer))?,
            false => Record::new(head, permanent, volatile)?,
        };
        if is_same {
            file.write_all_at(record.bytes(), slot * SLOT_SIZE)?;
        } else {
            // Invalidates the front, so that processes that know the previous state read the record even if this one is
            // killed before it writes the front.
            file.write_all_at(&[0; CHECK_SIZE], (self.newest.c_format().len() - CHECK_SIZE) as u64)?;
            write_through(file, record.bytes(), slot * SLOT_SIZE).inspect_err(|_| {
                let _ = file.write_all_at(&[0; HEAD_SIZE], slot * SLOT_SIZE);
            })?;
        }
        (self.is_of_this_boot, self.slot, self.durable) = (true, slot, durable);
        self.buffer = replace(&mut self.newest, record).into_bytes();
        self.write_front(file, if is_same { self.newest.volatile_offset() } else { 0 });
        Ok(!is_same)
    }

    /// Copies the newest record to the front. The state is stored already: if this fails, the next process that reads the
    /// file repairs it.
    fn write_front(&mut self, file: &File, from: usize) {
        let written = file.write_all_at(self.newest.c_format().get(from..).unwrap_or_default(), from as u64);
        self.is_front_current = written.is_ok();
        if let Err(error) = written {
            log::warn!("the front of the TPM state file, which is for the module of tpm2-tss, is out of date: {error}");
        }
    }
}

/// Writes, and returns when the data is on the disk.
fn write_through(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    match pwritev2(file, &[IoSlice::new(bytes)], at, ReadWriteFlags::DSYNC) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) | Err(Errno::INTR | Errno::NOSYS | Errno::OPNOTSUPP) => {
            file.write_all_at(bytes, at)?;
            file.sync_data()
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the front is `front`, or a part of it written over `before`, which is zeroes in a new file. The checksum
/// is ignored.
fn is_front_intact(file: &File, front: &[u8], before: Option<&[u8]>) -> io::Result<bool> {
    let mut now = Secret::default();
    read(file, 0, front.len(), &mut now)?;
    let c_format = |bytes: &[u8]| bytes.len() - CHECK_SIZE;
    let written = now.iter().zip(front).take_while(|(now, front)| now == front).count();
    Ok(match before {
        None => now.iter().take(c_format(&now)).skip(written).all(|now| *now == 0),
        Some(before) => {
            let both = c_format(&now).min(c_format(before));
            now.iter().zip(before).take(both).skip(written).all(|(now, before)| now == before)
        }
    })
}

#[cfg(test)]
mod tests;
