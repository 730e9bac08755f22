// SPDX-License-Identifier: BSD-2-Clause
//! Simulated objects of a TPM, each of which is a number (TPM 2.0 Library Part 3, the commands of these names).

use std::collections::BTreeMap;

const CREATE_PRIMARY: u32 = 0x131;
const CONTEXT_LOAD: u32 = 0x161;
const CONTEXT_SAVE: u32 = 0x162;
const FLUSH_CONTEXT: u32 = 0x165;
const READ_PUBLIC: u32 = 0x173;
/// A command of the driver itself (Linux `TPM2_CC_SET_LOCALITY` of tpm_vtpm_proxy).
const SET_LOCALITY: u32 = 0x2000_1000;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const RC_SUCCESS: u32 = 0;
const RC_REFERENCE_H0: u32 = 0x910;
const RH_OWNER: u32 = 0x4000_0001;
/// The first handle of an object, and the number of objects that can be loaded.
const TRANSIENT: u32 = 0x8000_0000;
const SLOTS: u32 = 64;

/// The loaded objects.
#[derive(Default)]
pub(super) struct Objects {
    loaded: BTreeMap<u32, u32>,
    /// How many objects were created.
    count: u32,
}

impl Objects {
    /// Returns the response, or `None` when the command does not concern simulated objects.
    pub(super) fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        let handle = word(command, 10).unwrap_or_default();
        let of_object = (TRANSIENT..TRANSIENT + SLOTS).contains(&handle);
        let refused = || response(NO_SESSIONS, RC_REFERENCE_H0, &[]);
        Some(match word(command, 6)? {
            SET_LOCALITY => response(NO_SESSIONS, RC_SUCCESS, &[]),
            CREATE_PRIMARY => {
                self.count += 1;
                let handle = self.load(self.count);
                // No parameters, and the area of the password session.
                let rest = [0, 0, 0, 0, 0, 0, 1, 0, 0];
                response(SESSIONS, RC_SUCCESS, &[&handle.to_be_bytes()[..], &rest].concat())
            }
            CONTEXT_LOAD => {
                let object = word(command, command.len() - 4)?;
                let handle = self.load(object);
                response(NO_SESSIONS, RC_SUCCESS, &handle.to_be_bytes())
            }
            CONTEXT_SAVE if of_object => match self.loaded.get(&handle) {
                // TPMS_CONTEXT: a sequence number, the handle, the hierarchy, and the saved data, which is the object.
                Some(object) => {
                    let head = [&u64::from(*object).to_be_bytes()[..], &handle.to_be_bytes(), &RH_OWNER.to_be_bytes()];
                    let blob = [&4_u16.to_be_bytes()[..], &object.to_be_bytes()].concat();
                    response(NO_SESSIONS, RC_SUCCESS, &[head.concat(), blob].concat())
                }
                None => refused(),
            },
            FLUSH_CONTEXT if of_object => match self.loaded.remove(&handle) {
                Some(_) => response(NO_SESSIONS, RC_SUCCESS, &[]),
                None => refused(),
            },
            READ_PUBLIC if of_object => match self.loaded.get(&handle) {
                Some(object) => response(NO_SESSIONS, RC_SUCCESS, &[&[0, 4][..], &object.to_be_bytes()].concat()),
                None => refused(),
            },
            _ => return None,
        })
    }

    /// Loads an object into the first free slot. Returns its handle.
    fn load(&mut self, object: u32) -> u32 {
        let mut slots = (0..SLOTS).map(|slot| TRANSIENT + slot);
        let handle = slots.find(|handle| !self.loaded.contains_key(handle)).unwrap();
        self.loaded.insert(handle, object);
        handle
    }
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

fn response(tag: u16, code: u32, rest: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + rest.len()).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}
