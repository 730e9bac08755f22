// SPDX-License-Identifier: BSD-2-Clause
//! Tests with images of the file: as a process leaves it that is killed at any byte of its writes, and as a disk has it
//! after a power failure at any moment.

use super::*;
use std::collections::BTreeMap;
use tcti_core::testing::is_emulated;

const BOOT: Boot = [b'a'; 36];
const NEXT_BOOT: Boot = [b'b'; 36];

/// Returns successive states, some of which differ only in the volatile state. Their sizes grow and shrink.
fn states() -> Vec<Blobs> {
    let state = |permanent: u8, volatile: u8| Blobs {
        permanent: vec![permanent; 100 + usize::from(permanent) * 1000].into(),
        volatile: vec![volatile; 9000 - usize::from(volatile % 3) * 700].into(),
    };
    let numbers = [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6), (4, 7), (1, 7), (1, 8), (1, 9), (1, 10), (2, 1)];
    numbers.map(|(permanent, volatile)| state(permanent, volatile)).into()
}

/// One write(2).
struct Write {
    at: usize,
    bytes: Vec<u8>,
    /// Whether it returns only when the data is on the disk.
    is_synced: bool,
}

/// A file and the process that writes it.
struct World {
    file: File,
    journal: Journal,
}

impl World {
    fn new(state: &Blobs) -> World {
        let file = tempfile::tempfile().unwrap();
        let mut journal = Journal::load(&file, 0, BOOT).unwrap();
        journal.store(&file, &state.permanent, &state.volatile).unwrap();
        World { file, journal }
    }

    fn image(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        read(&self.file, 0, usize::try_from(FILE_SIZE).unwrap(), &mut bytes).unwrap();
        bytes
    }

    /// Stores a state. Returns the writes.
    fn store(&mut self, state: &Blobs) -> Vec<Write> {
        let mut image = self.image();
        let World { file, journal } = self;
        let is_same = *state.permanent == journal.newest.permanent();
        let check = journal.newest.c_format().len() - CHECK_SIZE;
        journal.store(file, &state.permanent, &state.volatile).unwrap();
        let write = |at: usize, bytes: &[u8], is_synced| Write { at, bytes: bytes.to_vec(), is_synced };
        let from = if is_same { journal.newest.volatile_offset() } else { 0 };
        let mut writes = vec![
            write(usize::try_from(journal.slot * SLOT_SIZE).unwrap(), journal.newest.bytes(), !is_same),
            write(from, &journal.newest.c_format()[from..], false),
        ];
        if !is_same {
            writes.insert(0, write(check, &[0; CHECK_SIZE], false));
        }
        for write in &writes {
            image[write.at..write.at + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        assert!(image == self.image(), "nothing else was written");
        writes
    }
}

fn load(file: &File, boot: Boot) -> (Journal, Blobs) {
    let journal = Journal::load(file, FILE_SIZE, boot).unwrap();
    let state = journal.state().unwrap();
    (journal, state)
}

/// Returns the state that a process reads from an image. Checks that the next process reads the same, and that it is at the
/// front for the C module.
fn found(image: &[u8], boot: Boot) -> Blobs {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(image, 0).unwrap();
    let state = load(&file, boot).1;
    let (mut journal, again) = load(&file, boot);
    assert!(state == again);
    assert!(journal.is_current(&file, FILE_SIZE).unwrap(), "the front is repaired");
    assert!(journal.newest.permanent() == *state.permanent);
    // Further states can be stored.
    let next = Blobs { permanent: vec![77; 10].into(), volatile: vec![78; 20].into() };
    for next in [&Blobs { permanent: state.permanent.clone(), ..next.clone() }, &next] {
        journal.store(&file, &next.permanent, &next.volatile).unwrap();
        assert!(load(&file, boot).1 == *next);
    }
    state
}

#[test]
fn a_kill_at_any_byte_leaves_the_previous_or_the_new_state() {
    let states = states();
    let mut world = World::new(&states[0]);
    let mut counts = [0; 2];
    let step = if is_emulated() { 20_011 } else { 1009 };
    for pair in states.windows(2) {
        let mut image = world.image();
        for write in world.store(&pair[1]) {
            let length = write.bytes.len();
            let behind = [CHECK_SIZE + 1, CHECK_SIZE, 1].map(|back| length.saturating_sub(back));
            let edges = [0, 1, 3, 4, 5, 11, 12, 63, 64, 65, 68, length].into_iter().chain(behind);
            for cut in (0..length).step_by(step).chain(edges).filter(|cut| *cut <= length) {
                let mut image = image.clone();
                image[write.at..write.at + cut].copy_from_slice(&write.bytes[..cut]);
                let state = found(&image, BOOT);
                counts[pair.iter().position(|known| *known == state).expect("a state that was never stored")] += 1;
            }
            image[write.at..write.at + length].copy_from_slice(&write.bytes);
        }
        assert!(found(&image, BOOT) == pair[1]);
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn a_kill_while_the_first_front_is_written_leaves_the_state() {
    let state = &states()[0];
    let world = World::new(state);
    let c_format = world.journal.newest.c_format();
    for cut in [0, 1, 2, 3, 4, 100, c_format.len() - CHECK_SIZE, c_format.len() - 1, c_format.len()] {
        // Before, the front was empty or had the same state from the C module.
        for before in [vec![0; c_format.len()], [&c_format[..c_format.len() - CHECK_SIZE], &[0; CHECK_SIZE]].concat()] {
            let mut image = world.image();
            image[cut..c_format.len()].copy_from_slice(&before[cut..]);
            assert!(found(&image, BOOT) == *state);
        }
    }
}

/// The sectors of a disk. Each has the versions written since its last sync, any of which may be on the disk.
struct Disk {
    durable: Vec<u8>,
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
    now: Vec<u8>,
}

const SECTOR: usize = 512;

impl Disk {
    fn write(&mut self, write: &Write) {
        let range = write.at..write.at + write.bytes.len();
        self.now[range.clone()].copy_from_slice(&write.bytes);
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let bytes = self.now[sector * SECTOR..].iter().take(SECTOR).copied().collect();
            self.versions.entry(sector).or_default().push(bytes);
        }
    }

    fn sync(&mut self, write: &Write) {
        for sector in write.at / SECTOR..(write.at + write.bytes.len()).div_ceil(SECTOR) {
            let bytes = self.versions.remove(&sector).unwrap().pop().unwrap();
            self.durable[sector * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Returns an image after a power failure: with all unsynced writes, none, or any of them.
    fn after_power_failure(&self, random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
        let mut image = self.durable.clone();
        let how = random(4);
        for (sector, versions) in &self.versions {
            let version = match how {
                0 => versions.len() - 1,
                1 => versions.len(),
                _ => random(versions.len() + 1),
            };
            if let Some(bytes) = versions.get(version) {
                image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        image
    }
}

#[test]
fn a_power_failure_leaves_the_last_permanent_state_and_no_volatile_one() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let states = states();
    let mut world = World::new(&states[0]);
    let mut disk = Disk { durable: world.image(), versions: BTreeMap::new(), now: world.image() };
    let mut counts = [0; 2];
    let cuts = if is_emulated() { 2 } else { 10 };
    for pair in states.windows(2) {
        let mut acknowledged = &pair[0];
        for write in world.store(&pair[1]) {
            disk.write(&write);
            for _ in 0..cuts {
                let state = found(&disk.after_power_failure(&mut random), NEXT_BOOT);
                assert!(state.volatile.is_empty());
                let which = [acknowledged, &pair[1]].iter().position(|known| known.permanent == state.permanent);
                counts[which.expect("a state that was never stored")] += 1;
            }
            if write.is_synced {
                disk.sync(&write);
                acknowledged = &pair[1];
            }
        }
        for _ in 0..2 * cuts {
            let state = found(&disk.after_power_failure(&mut random), NEXT_BOOT);
            assert!(state.permanent == pair[1].permanent, "it was acknowledged");
        }
    }
    assert!(counts.iter().all(|count| *count > cuts), "{counts:?}");
}

/// Without a boot ID the power failure shows only by the damaged front.
#[test]
fn a_power_failure_without_a_boot_id_leaves_the_permanent_state() {
    let states = states();
    let file = tempfile::tempfile().unwrap();
    let mut journal = Journal::load(&file, 0, NO_BOOT).unwrap();
    for state in &states[..4] {
        journal.store(&file, &state.permanent, &state.volatile).unwrap();
        assert!(load(&file, NO_BOOT).1 == *state);
    }
    file.write_all_at(&[0; 5000], 200).unwrap();
    assert!(load(&file, NO_BOOT).1 == Blobs { volatile: vec![].into(), ..states[3].clone() });
}

#[test]
fn a_volatile_state_ends_with_the_boot() {
    let state = &states()[0];
    let world = World::new(state);
    assert!(found(&world.image(), BOOT) == *state);
    assert!(found(&world.image(), NEXT_BOOT) == Blobs { volatile: vec![].into(), ..state.clone() });
}

/// Two machines share one file.
#[test]
fn a_state_of_another_boot_may_be_the_newest() {
    let states = states();
    let mut world = World::new(&states[0]);
    for state in &states[1..3] {
        world.store(state);
    }
    let (mut other, found) = load(&world.file, NEXT_BOOT);
    assert!(found.permanent == states[2].permanent && found.volatile.is_empty());
    for state in &states[3..5] {
        other.store(&world.file, &state.permanent, &state.volatile).unwrap();
    }
    assert!(!world.journal.is_current(&world.file, FILE_SIZE).unwrap());
    let (_, found) = load(&world.file, BOOT);
    assert!(found.permanent == states[4].permanent && found.volatile.is_empty());
}

/// The killed process wrote its record but not the front, and returned no response. A process that knows the previous state
/// continues from there, and its state supersedes that record.
#[test]
fn an_unacknowledged_volatile_state_is_superseded() {
    let states = states();
    let mut world = World::new(&states[0]);
    world.store(&states[1]);
    let Head { number, durable, boot } = world.journal.newest.head;
    let head = Head { number: number + 1, durable, boot };
    let record = Record::new(head, &states[1].permanent, &states[9].volatile).unwrap();
    let slot = SLOTS.into_iter().find(|slot| ![world.journal.slot, world.journal.durable.1].contains(slot)).unwrap();
    world.file.write_all_at(record.bytes(), slot * SLOT_SIZE).unwrap();
    assert!(world.journal.is_current(&world.file, FILE_SIZE).unwrap());
    world.store(&states[2]);
    assert!(load(&world.file, BOOT).1 == states[2]);
}
