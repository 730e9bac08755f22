// SPDX-License-Identifier: BSD-2-Clause
//! Where what is in a state file. In front is the state in the form of the C module, which reads no further. Behind it are
//! three places for records. The newest record is the state. Each new one takes the place of a record that is neither the
//! newest nor the one whose permanent state is on the disk; so whatever happens to it, both are there. The front is a copy
//! for the C module, and tells other processes of a change.
#![forbid(unsafe_code)]

use super::record::{Boot, CHECK, HEAD, Head, NO_BOOT, PERMANENT, Record, VOLATILE, copy, damaged, read, read_form};
use crate::sys::Blobs;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::{replace, take};
use std::os::unix::fs::FileExt;

/// What a place gets at first: it is then on the disk, and in the page cache in one piece, which takes less time to write.
const ROOM: usize = 16 << 10;
const PLACE: u64 = (ROOM + PERMANENT + VOLATILE) as u64;

/// Size of a file with records, most of it a hole. The C module makes any file larger when it opens it, to a multiple of
/// 2048, and cuts off what is behind the form when it has written it. So in a file of another size only the front counts.
pub(super) const SIZE: u64 = 4 * PLACE + 1;

/// One of the places; 0 if a file has none.
type Slot = u64;
const SLOTS: [Slot; 3] = [1, 2, 3];

/// The records of a file as they are known.
pub(super) struct Journal {
    boot: Boot,
    newest: Record,
    /// Whether its volatile state counts.
    is_of_this_boot: bool,
    slot: Slot,
    /// The record with the same permanent state that is on the disk.
    durable: (u64, Slot),
    /// Whether the newest is in front, too.
    is_shown: bool,
    /// For what is read.
    room: Vec<u8>,
}

impl Journal {
    /// Reads the state of a file of this size; empty blobs for a new TPM.
    pub(super) fn load(file: &File, size: u64, boot: Boot) -> io::Result<Journal> {
        if size == SIZE {
            return Journal::load_records(file, boot);
        }
        let state = read_form(file, size, SIZE)?;
        let newest = Record::new(Head { number: 0, durable: 0, boot }, &state.permanent, &state.volatile)?;
        let is_of_this_boot = true; // the form does not say
        Ok(Journal { boot, newest, is_of_this_boot, slot: 0, durable: (0, 0), is_shown: false, room: Vec::new() })
    }

    /// Mends the front if a killed process left it half written; that it is anything else is an error, because somebody wrote
    /// there who may have meant it.
    fn load_records(file: &File, boot: Boot) -> io::Result<Journal> {
        let mut records = Vec::new();
        for slot in SLOTS {
            records.extend(Record::read(file, slot * PLACE)?.map(|record| (slot, record)));
        }
        let newest = records.iter().enumerate().max_by_key(|(_, (_, record))| record.head.number);
        let Some((at, _)) = newest else { return Err(damaged("it has no whole record")) };
        let (slot, newest) = records.swap_remove(at);
        let before = records.iter().map(|(_, record)| record).max_by_key(|record| record.head.number).map(Record::form);
        // After a power cut anything may be in front.
        let is_of_this_boot = match newest.head.boot == boot && is_intact(file, newest.form(), before)? {
            false if newest.head.boot == boot && boot != NO_BOOT => {
                return Err(damaged("its copies of the state differ"));
            }
            is_of_this_boot => is_of_this_boot,
        };
        let durable = records.iter().find(|(_, record)| is_of_this_boot && record.head.number == newest.head.durable);
        let durable = match durable {
            Some((slot, record)) => (record.head.number, *slot),
            None => {
                file.sync_data()?; // whoever wrote it may have been killed before
                (newest.head.number, slot)
            }
        };
        let mut journal = Journal { boot, newest, is_of_this_boot, slot, durable, is_shown: false, room: Vec::new() };
        journal.show(file, 0);
        Ok(journal)
    }

    /// The state. A machine that has started since has lost the volatile one, as a chip does.
    pub(super) fn state(&self) -> io::Result<Blobs> {
        let volatile = if self.is_of_this_boot { self.newest.volatile() } else { &[] };
        Ok(Blobs { permanent: copy(self.newest.permanent())?, volatile: copy(volatile)? })
    }

    /// Makes places for records in a file that has none, which may have the newest record's form in front, or nothing.
    fn begin(&mut self, file: &File) -> io::Result<()> {
        let slot = 1;
        file.set_len(SIZE + 1)?; // the front still counts
        for slot in SLOTS {
            file.write_all_at(&vec![0; ROOM], slot * PLACE)?;
        }
        file.write_all_at(self.newest.bytes(), slot * PLACE)?;
        file.sync_data()?;
        file.set_len(SIZE)?; // from here on the record does
        let mut front = copy(self.newest.form())?;
        front.resize(front.len().max(ROOM), 0);
        file.write_all_at(&front, 0)?;
        file.sync_all()?;
        (self.slot, self.durable, self.is_shown) = (slot, (self.newest.head.number, slot), true);
        Ok(())
    }

    /// Sees to it that a state is in a record. Whether it was not.
    pub(super) fn keep(&mut self, file: &File) -> io::Result<bool> {
        let is_new = self.slot == 0 && !self.newest.permanent().is_empty();
        if is_new {
            self.begin(file)?;
        }
        Ok(is_new)
    }

    /// Whether nobody has stored a state since.
    pub(super) fn is_current(&mut self, file: &File, size: u64) -> io::Result<bool> {
        let front = self.newest.form();
        self.room.try_reserve(front.len().saturating_sub(self.room.len()))?;
        self.room.resize(front.len(), 0);
        if !self.is_shown || size != SIZE {
            return Ok(false);
        }
        file.read_exact_at(&mut self.room, 0)?;
        Ok(self.room == front)
    }

    /// Stores a state if it is another, the permanent one on the disk; tells whether that is another. On an error the state
    /// before it is still there.
    pub(super) fn store(&mut self, file: &File, permanent: &[u8], volatile: &[u8]) -> io::Result<bool> {
        self.keep(file)?;
        if self.slot == 0 {
            self.newest = Record::new(self.newest.head, permanent, volatile)?;
            return self.begin(file).map(|()| true);
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
            true => self.newest.next(head, volatile, take(&mut self.room))?,
            false => Record::new(head, permanent, volatile)?,
        };
        if is_same {
            file.write_all_at(record.bytes(), slot * PLACE)?;
        } else {
            // Whoever knows the state before has to look, even if we are killed before the front is written.
            file.write_all_at(&[0; CHECK], (self.newest.form().len() - CHECK) as u64)?;
            write_through(file, record.bytes(), slot * PLACE).inspect_err(|_| {
                let _ = file.write_all_at(&[0; HEAD], slot * PLACE);
            })?;
        }
        (self.is_of_this_boot, self.slot, self.durable) = (true, slot, durable);
        self.room = replace(&mut self.newest, record).into_bytes();
        self.show(file, if is_same { self.newest.middle() } else { 0 });
        Ok(!is_same)
    }

    /// Copies the newest record to the front. It is stored already: if this fails, the next one to look mends it.
    fn show(&mut self, file: &File, from: usize) {
        let shown = file.write_all_at(self.newest.form().get(from..).unwrap_or_default(), from as u64);
        self.is_shown = shown.is_ok();
        if let Err(error) = shown {
            log::warn!("the front of the TPM state file, which is for the module of tpm2-tss, is out of date: {error}");
        }
    }
}

/// Writes to the disk.
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

/// Whether this is in front, or was being written over what was there before, which is zeroes in a new file. The check
/// does not matter.
fn is_intact(file: &File, front: &[u8], before: Option<&[u8]>) -> io::Result<bool> {
    let mut now = Vec::new();
    read(file, 0, front.len(), &mut now)?;
    let form = |bytes: &[u8]| bytes.len() - CHECK;
    let written = now.iter().zip(front).take_while(|(now, front)| now == front).count();
    Ok(match before {
        None => now.iter().take(form(&now)).skip(written).all(|now| *now == 0),
        Some(before) => {
            let both = form(&now).min(form(before));
            now.iter().zip(before).take(both).skip(written).all(|(now, before)| now == before)
        }
    })
}

#[cfg(test)]
mod tests;
