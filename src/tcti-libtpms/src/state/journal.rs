// SPDX-License-Identifier: BSD-2-Clause
//! Where what is in a state file. In front is the state in the form of the C module, which reads no further. Behind it are
//! two places for records with a permanent state, which are on the disk when a response goes out, and two for records of
//! a volatile state alone, which are not. Each is written in turn, so one that was being written leaves the one before.
//! The newest record is the state; the front is a copy of it for the C module, and tells other processes of a change.
#![forbid(unsafe_code)]

use super::form::{PERMANENT, VOLATILE, damaged, join, read};
use super::record::{Boot, CHECK, HEAD, Head, NO_BOOT, Record};
use crate::sys::Blobs;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;

/// What a place gets at first: it is then on the disk, and in the page cache in one piece, which takes less time to write.
const ROOM: usize = 16 << 10;
const LARGE: u64 = (ROOM + PERMANENT + VOLATILE) as u64;
const SMALL: u64 = (ROOM + VOLATILE) as u64;

/// Size of a file with records, most of it a hole. The C module makes any file larger when it opens it, to a multiple of
/// 2048, and cuts off what is behind the state when it ends. So in a file of another size only the front counts.
pub(super) const SIZE: u64 = 3 * LARGE + 2 * SMALL + 1;

/// One of two places that are written in turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    const BOTH: [Side; 2] = [Side::Left, Side::Right];

    fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// Of a record with a permanent state.
    fn base(self) -> u64 {
        match self {
            Side::Left => LARGE,
            Side::Right => 2 * LARGE,
        }
    }

    /// Of a record without.
    fn volatile(self) -> u64 {
        match self {
            Side::Left => 3 * LARGE,
            Side::Right => 3 * LARGE + SMALL,
        }
    }
}

/// The records of a file as they are known.
pub(super) struct Journal {
    boot: Boot,
    /// The newest record.
    newest: Record,
    /// The highest number.
    number: u64,
    /// The base of the newest record: its number, where it is, and its half of the form.
    base: u64,
    base_side: Side,
    first: Vec<u8>,
    /// Where the next volatile state goes.
    next: Side,
    /// Whether all that is in front, too.
    is_shown: bool,
    /// For what is read.
    room: Vec<u8>,
}

/// A state in the file: a base, and what came after it.
struct State<'a> {
    base: &'a Record,
    base_side: Side,
    volatile: Option<(&'a Record, Side)>,
}

impl State<'_> {
    fn newest(&self) -> &Record {
        self.volatile.map_or(self.base, |(record, _)| record)
    }

    fn front(&self) -> io::Result<Vec<u8>> {
        join(&[self.base.first(), self.newest().second()])
    }
}

impl Journal {
    /// Reads the newest state. Mends the front if a killed process left it half written; that it is anything else is an
    /// error, because somebody wrote there who may have meant it.
    pub(super) fn load(file: &File, boot: &Boot) -> io::Result<(Journal, Blobs)> {
        let (mut bases, mut volatiles) = (Vec::new(), Vec::new());
        for side in Side::BOTH {
            bases.extend(Record::read(file, side.base())?.map(|record| (record, side)));
            volatiles.extend(Record::read(file, side.volatile())?.map(|record| (record, side)));
        }
        let mut states: Vec<State> =
            bases.iter().map(|(base, side)| State { base, base_side: *side, volatile: None }).collect();
        for (record, side) in volatiles.iter().filter(|(record, _)| record.head.boot == *boot) {
            if let Some((base, base_side)) = bases.iter().find(|(base, _)| base.head.number == record.head.base) {
                states.push(State { base, base_side: *base_side, volatile: Some((record, *side)) });
            }
        }
        let number = |state: &&State| state.newest().head.number;
        let Some(state) = states.iter().max_by_key(number) else { return Err(damaged("it has no whole record")) };
        let before = states.iter().filter(|other| number(other) < number(&state)).max_by_key(number);
        let newest = state.newest();
        let front = state.front()?;
        let before = before.map(State::front).transpose()?;
        // After a power cut anything may be in front.
        let is_same_boot = newest.head.boot == *boot;
        if is_same_boot && *boot != NO_BOOT && !is_intact(file, &front, before)? {
            return Err(damaged("its copies of the state differ"));
        }
        file.write_all_at(&front, 0)?;
        if state.volatile.is_none() {
            file.sync_data()?; // whoever wrote it may have been killed before
        }
        let volatile = if is_same_boot { newest.volatile() } else { &[] };
        let blobs = Blobs { permanent: join(&[state.base.permanent()])?, volatile: join(&[volatile])? };
        let journal = Journal {
            boot: *boot,
            newest: newest.copy()?,
            number: bases.iter().chain(&volatiles).map(|(record, _)| record.head.number).max().unwrap_or_default(),
            base: state.base.head.number,
            base_side: state.base_side,
            first: join(&[state.base.first()])?,
            next: state.volatile.map_or(Side::Left, |(_, side)| side.other()),
            is_shown: true,
            room: front,
        };
        Ok((journal, blobs))
    }

    /// Makes room for records in a file that has none. What is in front is either this state or nothing.
    pub(super) fn begin(file: &File, boot: Boot, permanent: &[u8], volatile: &[u8]) -> io::Result<Journal> {
        let record = Record::new(Head { number: 1, base: 1, boot }, permanent, volatile)?;
        file.set_len(SIZE + 1)?; // the front still counts
        let room = vec![0; ROOM];
        for side in Side::BOTH {
            file.write_all_at(&room, side.base())?;
            file.write_all_at(&room, side.volatile())?;
        }
        file.write_all_at(record.bytes(), Side::Left.base())?;
        file.sync_data()?;
        file.set_len(SIZE)?; // from here on the record does
        let first = join(&[record.first()])?;
        let mut journal = Journal {
            boot,
            number: 1,
            base: 1,
            base_side: Side::Left,
            first,
            newest: record,
            next: Side::Left,
            is_shown: false,
            room: Vec::new(),
        };
        journal.show(file);
        file.sync_all()?;
        Ok(journal)
    }

    /// The state as it is known.
    pub(super) fn state(&self) -> io::Result<Blobs> {
        Ok(Blobs { permanent: join(&[self.permanent()])?, volatile: join(&[self.newest.volatile()])? })
    }

    fn permanent(&self) -> &[u8] {
        self.first.get(4..).unwrap_or_default()
    }

    /// Whether nobody has stored a state since.
    pub(super) fn is_current(&mut self, file: &File) -> io::Result<bool> {
        let second = self.newest.second();
        let size = self.first.len() + second.len();
        self.room.try_reserve(size.saturating_sub(self.room.len()))?;
        self.room.resize(size, 0);
        let is_read = file.read_at(&mut self.room, 0)? == size;
        let (now_first, now_second) = self.room.split_at(self.first.len());
        Ok(is_read && self.is_shown && now_first == self.first && now_second == second)
    }

    /// Stores a state if it is another, the permanent one on the disk. On an error the state before it is still there.
    pub(super) fn store(&mut self, file: &File, permanent: &[u8], volatile: &[u8]) -> io::Result<()> {
        let number = self.number + 1;
        let head = |base| Head { number, base, boot: self.boot };
        if permanent == self.permanent() {
            if volatile == self.newest.volatile() {
                return Ok(());
            }
            let record = Record::new(head(self.base), &[], volatile)?;
            file.write_all_at(record.bytes(), self.next.volatile())?;
            self.next = self.next.other();
            self.newest = record;
        } else {
            let record = Record::new(head(number), permanent, volatile)?;
            let first = join(&[record.first()])?;
            let side = self.base_side.other();
            // Whoever knows the state before has to look, even if we are killed before the front is written.
            let end = self.first.len() + self.newest.second().len();
            file.write_all_at(&[0; CHECK], (end - CHECK) as u64)?;
            write_through(file, record.bytes(), side.base()).inspect_err(|_| {
                let _ = file.write_all_at(&[0; HEAD], side.base());
            })?;
            (self.base, self.base_side, self.next) = (number, side, Side::Left);
            (self.first, self.newest) = (first, record);
        }
        self.number = number;
        self.show(file);
        Ok(())
    }

    /// Copies the newest record to the front. It is stored already: if this fails, the next one to look mends it.
    fn show(&mut self, file: &File) {
        let from = if self.newest.head.is_base() { 0 } else { self.first.len() };
        let shown = file.write_all_at(self.newest.form(), from as u64);
        self.is_shown = shown.is_ok();
        if let Err(error) = shown {
            log::warn!("the front of the TPM state file, which is for the module of tpm2-tss, is out of date: {error}");
        }
    }
}

/// Writes to the disk.
fn write_through(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwritev2(file, &[IoSlice::new(bytes)], at, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => {
                file.write_all_at(bytes, at)?;
                return file.sync_data();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether this is in front, or was being written over what was there before, which is zeroes in a new file. The check
/// does not matter.
fn is_intact(file: &File, front: &[u8], before: Option<Vec<u8>>) -> io::Result<bool> {
    let mut now = Vec::new();
    read(file, 0, front.len(), &mut now)?;
    let form = |bytes: &[u8]| bytes.len() - CHECK;
    let written = now.iter().zip(front).take_while(|(now, front)| now == front).count();
    Ok(match before {
        None => now.iter().take(form(&now)).skip(written).all(|now| *now == 0),
        Some(before) => {
            let both = form(&now).min(form(&before));
            now.iter().zip(&before).take(both).skip(written).all(|(now, before)| now == before)
        }
    })
}

#[cfg(test)]
mod tests;
