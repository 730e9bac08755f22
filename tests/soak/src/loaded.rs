// SPDX-License-Identifier: BSD-2-Clause
//! The objects in a TPM, or in the space that a resource manager keeps for one connection ([`Loaded`]): kept objects,
//! which have to work until the end, and passing objects, which are flushed soon.

use crate::ask::{Absent, Answer, Ask, Content};
use crate::knowledge::{May, Verdict, is_handle};
use fastrand::Rng;
use sha2::{Digest, Sha256};

/// TPM_RC_OBJECT_MEMORY, and TPM_RC_REFERENCE_H0 (TPM 2.0 Library Part 2, section 6.6).
const OBJECT_MEMORY: u32 = 0x902;
const REFERENCE: u32 = 0x910;
/// TPM_RC_VALUE of a handle and of a parameter, TPM_RC_SIZE of a parameter.
const HANDLE_VALUE: u32 = 0x184;
const PARAMETER_VALUE: u32 = 0x1c4;
const SIZE: u32 = 0x1d5;

/// The number of objects that fit into a TPM of libtpms, and into a connection of Linux' resource manager.
const ROOM: usize = 3;

/// A handle that is never in use.
const NOBODY: u32 = 0x80ff_f000;
/// An NV index that is never defined.
const NO_INDEX: u32 = 0x015f_fff0;
/// Bytes of the largest command that Linux' driver accepts.
const DRIVER_ROOM: usize = 4096;
/// The most data bytes of a TPM2_Hash.
const MOST: usize = 1024;
/// A sequence with more possible states than this is forgotten.
const STATES: usize = 8;

/// The loaded objects.
#[derive(Default)]
pub struct Loaded {
    kept: Vec<Kept>,
    /// Objects that will be flushed.
    passing: Vec<u32>,
    /// Whether there may be other objects, because of lost responses or processes that have ended.
    pub(crate) stray: bool,
    /// The handle that was flushed last.
    gone: Option<u32>,
}

/// An object that is never flushed.
struct Kept {
    handle: u32,
    what: What,
    /// Whether nothing has happened that may have unloaded it.
    sure: bool,
    question: Question,
}

enum What {
    /// The key with this number.
    Key(u64),
    /// A hash sequence with its possible states.
    Sequence(Vec<Sha256>),
}

/// The use that has to be made of a kept object before any other command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// To use it.
    Next,
    /// To use it for the last time, and to complete it if it is a sequence.
    Last,
}

impl Loaded {
    /// Begins without known objects. Objects that are found may be flushed.
    pub fn new() -> Loaded {
        Loaded { stray: true, ..Loaded::default() }
    }

    /// Notes that everything may be lost, and that sequences may have an older state. Objects that are found may be
    /// flushed, except kept keys.
    pub fn doubt(&mut self) {
        self.stray = true;
        self.kept.retain(|kept| matches!(kept.what, What::Key(_)));
        self.kept.iter_mut().for_each(|kept| kept.sure = false);
    }

    /// Notes that a process that has ended may have left objects.
    pub fn look_again(&mut self) {
        self.stray = true;
    }

    /// Requests a use of every kept object before any other command; `last`: for the last time.
    pub fn ask_all(&mut self, last: bool) {
        let question = if last { Question::Last } else { Question::Next };
        self.kept.iter_mut().for_each(|kept| kept.question = question);
    }

    /// Whether a kept object has to be used.
    pub fn is_asking(&self) -> bool {
        self.kept.iter().any(|kept| kept.question != Question::None)
    }

    /// Whether there is a kept object.
    pub fn is_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Returns the objects of a process that is being forked: the keys. Passing objects belong to the parent, and so do
    /// sequences, whose state only one process can know.
    pub fn inherited(&self) -> Loaded {
        let keys = self.kept.iter().filter_map(|kept| match kept.what {
            What::Key(key) => Some(Kept { question: Question::None, what: What::Key(key), ..*kept }),
            What::Sequence(_) => None,
        });
        Loaded { kept: keys.collect(), ..Loaded::default() }
    }

    /// Whether a resource manager refuses this with an error of its own, without the TPM.
    pub fn is_refused_with_an_error(&self, ask: &Ask, may: &May) -> bool {
        match ask {
            Ask::Load(_) | Ask::Start | Ask::Create(_) => {
                self.stray || !may.alone || self.kept.len() + self.passing.len() >= ROOM
            }
            Ask::Absent(what, _) => *what != Absent::Index,
            Ask::Oversize(_) => ask.command().len() > DRIVER_ROOM,
            _ => false,
        }
    }

    /// Notes a refusal, after which every kept object is used.
    pub fn was_refused(&mut self) {
        self.ask_all(false);
    }

    /// Draws a command about objects, or `None`.
    pub(crate) fn next(&mut self, may: &May, rng: &mut Rng) -> Option<Ask> {
        if let Some(kept) = self.kept.iter().find(|kept| kept.question != Question::None) {
            return Some(kept.ask(rng));
        }
        if let Some(handle) = self.passing.last().filter(|_| rng.bool()) {
            return Some(Ask::Flush(*handle));
        }
        if may.alone && self.stray && self.passing.is_empty() && rng.u8(..4) == 0 {
            return Some(Ask::Objects);
        }
        if may.alone && may.keep && !self.stray && self.kept.len() < 2 && rng.u8(..4) == 0 {
            let has_key = self.kept.iter().any(|kept| matches!(kept.what, What::Key(_)));
            return Some(if has_key { Ask::Start } else { Ask::Load(rng.u64(..)) });
        }
        match rng.u8(..64) {
            0..4 => rng.choice(&self.kept).map(|kept| kept.ask(&mut rng.fork())),
            4 => Some(match rng.u8(..5) {
                0 => Ask::Absent(Absent::Object, NOBODY),
                1 => Ask::Absent(Absent::Key, NOBODY),
                2 => Ask::Absent(Absent::Flush, NOBODY),
                3 => Ask::Absent(Absent::Index, NO_INDEX),
                _ => Ask::Absent(Absent::Key, self.gone.unwrap_or(NOBODY)),
            }),
            5 => Some(Ask::Oversize(rng.usize(MOST + 1..=may.largest))),
            6..10 if !self.passing.is_empty() => Some(Ask::Create(std::array::from_fn(|_| rng.u8(..)))),
            _ => None,
        }
    }

    /// Judges the response to a command about objects; `None` for other commands.
    pub(crate) fn learn(&mut self, may: &May, ask: &Ask, answer: &Answer) -> Option<Verdict> {
        Some(match (ask, answer) {
            (Ask::Load(_) | Ask::Start | Ask::Create(_), Answer::Refusal(OBJECT_MEMORY)) => {
                self.stray = true;
                self.refused()
            }
            (Ask::Load(key), Answer::Right(Content::Handles(handles))) => self.keep(handles, || What::Key(*key)),
            (Ask::Start, Answer::Right(Content::Handles(handles))) => {
                self.keep(handles, || What::Sequence(vec![Sha256::new()]))
            }
            (Ask::Create(_), Answer::Right(Content::Handles(handles))) => {
                self.passing.extend(handles);
                self.gone.take_if(|gone| handles.contains(gone));
                Verdict::True
            }
            (Ask::Objects, Answer::Right(Content::Handles(handles))) => {
                self.stray = false;
                self.gone.take_if(|gone| handles.contains(gone));
                self.passing = handles.iter().copied().filter(|handle| self.find(*handle).is_none()).collect();
                let missing = self.kept.iter().find(|kept| !handles.contains(&kept.handle)).map(|kept| kept.handle);
                missing.map_or(Verdict::True, |handle| self.lost(handle, "not among the objects"))
            }
            // Another context on the same TPM may have flushed it.
            (Ask::Flush(handle), answer) => {
                self.passing.retain(|object| object != handle);
                self.gone = Some(*handle);
                let gone = matches!(answer, Answer::Refusal(code) if is_gone(*code));
                if gone || matches!(answer, Answer::Right(_)) { Verdict::True } else { Verdict::False }
            }
            (Ask::Mac(handle, ..) | Ask::Feed(handle, _) | Ask::Complete(handle), Answer::Refusal(code)) => {
                self.lost(*handle, &format!("answered with {code:#x}"))
            }
            (Ask::Mac(handle, ..), Answer::Right(_)) => {
                self.find_mut(*handle).map(Kept::answered);
                Verdict::Kept
            }
            (Ask::Feed(handle, data), Answer::Right(_)) => {
                if let Some(kept) = self.find_mut(*handle) {
                    kept.feed(data);
                    kept.answered();
                }
                Verdict::Kept
            }
            (Ask::Complete(handle), Answer::Right(Content::Bytes(digest))) => self.complete(*handle, digest),
            (Ask::Absent(..), Answer::Refusal(code)) if is_gone(*code) => self.refused(),
            // Another process may have got the handle, for another object.
            (Ask::Absent(_, handle), _) if *handle != NOBODY && (self.stray || !may.alone || !may.keep) => {
                Verdict::True
            }
            (Ask::Oversize(_), Answer::Refusal(SIZE)) => self.refused(),
            _ => return None,
        })
    }

    /// Notes that no response came. The command may have been executed.
    pub(crate) fn lose(&mut self, ask: &Ask) {
        match ask {
            Ask::Load(_) | Ask::Start | Ask::Create(_) | Ask::Flush(_) => {
                self.stray = true;
                self.passing.clear();
            }
            Ask::Feed(handle, data) => {
                if let Some(Kept { what: What::Sequence(states), .. }) = self.find_mut(*handle) {
                    let with = states.iter().map(|state| state.clone().chain_update(data)).collect::<Vec<_>>();
                    states.extend(with);
                }
                self.kept.retain(|kept| !matches!(&kept.what, What::Sequence(states) if states.len() > STATES));
            }
            Ask::Complete(handle) => {
                self.kept.retain(|kept| kept.handle != *handle);
                self.stray = true;
            }
            _ => {}
        }
    }

    fn find(&self, handle: u32) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.handle == handle)
    }

    fn find_mut(&mut self, handle: u32) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.handle == handle)
    }

    fn refused(&mut self) -> Verdict {
        self.was_refused();
        Verdict::Refused
    }

    fn keep(&mut self, handles: &[u32], what: impl Fn() -> What) -> Verdict {
        self.gone.take_if(|gone| handles.contains(gone));
        let kept =
            handles.iter().map(|handle| Kept { handle: *handle, what: what(), sure: true, question: Question::None });
        self.kept.extend(kept);
        Verdict::True
    }

    /// Judges the loss of a kept object.
    fn lost(&mut self, handle: u32, how: &str) -> Verdict {
        self.stray = true;
        let sure = self.find(handle).is_some_and(|kept| kept.sure);
        self.kept.retain(|kept| kept.handle != handle);
        match sure {
            true => Verdict::Lost(format!("the object {handle:#x} was loaded and not flushed, and is {how}")),
            false => Verdict::True,
        }
    }

    /// Judges the digest of a sequence, which is flushed with it.
    fn complete(&mut self, handle: u32, digest: &[u8]) -> Verdict {
        let Some(Kept { what: What::Sequence(states), sure, .. }) = self.find(handle) else { return Verdict::False };
        let right = states.iter().any(|state| state.clone().finalize()[..] == *digest);
        let sure = *sure;
        self.kept.retain(|kept| kept.handle != handle);
        match (right, sure) {
            (true, _) => Verdict::Kept,
            (false, true) => Verdict::Lost(format!("the sequence {handle:#x} has hashed other data")),
            (false, false) => Verdict::True,
        }
    }
}

impl Kept {
    fn ask(&self, rng: &mut Rng) -> Ask {
        match (&self.what, self.question) {
            (What::Key(key), _) => Ask::Mac(self.handle, *key, std::array::from_fn(|_| rng.u8(..))),
            (What::Sequence(_), Question::Last) => Ask::Complete(self.handle),
            (What::Sequence(_), Question::None | Question::Next) => {
                let size = rng.usize(1..100);
                Ask::Feed(self.handle, std::iter::repeat_with(|| rng.u8(..)).take(size).collect())
            }
        }
    }

    fn answered(&mut self) {
        (self.sure, self.question) = (true, Question::None);
    }

    fn feed(&mut self, data: &[u8]) {
        if let What::Sequence(states) = &mut self.what {
            states.iter_mut().for_each(|state| state.update(data));
        }
    }
}

/// Whether this code says that there is no such object.
fn is_gone(code: u32) -> bool {
    is_handle(code) || [REFERENCE, HANDLE_VALUE, PARAMETER_VALUE].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: May = May { alone: true, keep: true, largest: 4000 };

    fn with_key() -> Loaded {
        let mut loaded = Loaded::new();
        let learnt = loaded.learn(&ALONE, &Ask::Load(5), &Answer::Right(Content::Handles(vec![0x8000_0000])));
        assert_eq!(learnt, Some(Verdict::True));
        loaded
    }

    fn gone(loaded: &mut Loaded) -> Option<Verdict> {
        loaded.learn(&ALONE, &Ask::Mac(0x8000_0000, 5, [0; 16]), &Answer::Refusal(REFERENCE))
    }

    #[test]
    fn a_missing_key_is_lost_unless_a_fault_explains_it() {
        assert!(matches!(gone(&mut with_key()), Some(Verdict::Lost(_))));
        let mut loaded = with_key();
        loaded.doubt();
        assert_eq!(gone(&mut loaded), Some(Verdict::True));
        let mut loaded = with_key();
        loaded.doubt();
        let answered = loaded.learn(&ALONE, &Ask::Mac(0x8000_0000, 5, [0; 16]), &Answer::Right(Content::Nothing));
        assert_eq!(answered, Some(Verdict::Kept));
        assert!(matches!(gone(&mut loaded), Some(Verdict::Lost(_))), "it has worked since");
    }

    #[test]
    fn an_unlisted_key_is_lost_and_a_listed_key_is_not_flushed() {
        let mut loaded = with_key();
        let listed = Answer::Right(Content::Handles(vec![0x8000_0000, 0x8000_0001]));
        assert_eq!(loaded.learn(&ALONE, &Ask::Objects, &listed), Some(Verdict::True));
        assert_eq!(loaded.passing, [0x8000_0001]);
        let listed = Answer::Right(Content::Handles(vec![0x8000_0001]));
        assert!(matches!(loaded.learn(&ALONE, &Ask::Objects, &listed), Some(Verdict::Lost(_))));
    }

    #[test]
    fn a_sequence_has_hashed_all_answered_data_and_perhaps_unanswered_data() {
        for (fed, right) in [(&b"ab"[..], true), (b"abc", true), (b"a", false), (b"abb", false), (b"abcc", false)] {
            let mut loaded = Loaded::new();
            loaded.learn(&ALONE, &Ask::Start, &Answer::Right(Content::Handles(vec![1])));
            for data in [b"a", b"b"] {
                let done = Answer::Right(Content::Nothing);
                assert_eq!(loaded.learn(&ALONE, &Ask::Feed(1, data.to_vec()), &done), Some(Verdict::Kept));
            }
            loaded.lose(&Ask::Feed(1, b"c".to_vec()));
            let digest = Answer::Right(Content::Bytes(Sha256::digest(fed).to_vec()));
            let verdict = loaded.learn(&ALONE, &Ask::Complete(1), &digest).unwrap();
            assert_eq!(verdict == Verdict::Kept, right, "{verdict:?}");
            assert!(!loaded.is_kept());
        }
    }

    #[test]
    fn after_a_refusal_every_kept_object_is_used() {
        let mut loaded = with_key();
        let refused = loaded.learn(&ALONE, &Ask::Absent(Absent::Key, NOBODY), &Answer::Refusal(HANDLE_VALUE));
        assert_eq!(refused, Some(Verdict::Refused));
        assert!(loaded.is_asking());
        assert!(matches!(loaded.next(&ALONE, &mut Rng::with_seed(1)), Some(Ask::Mac(0x8000_0000, 5, _))));
    }

    #[test]
    fn a_handle_that_is_listed_again_is_in_use() {
        let mut loaded = with_key();
        loaded.learn(&ALONE, &Ask::Flush(0x8000_0001), &Answer::Right(Content::Nothing));
        assert_eq!(loaded.gone, Some(0x8000_0001));
        loaded.learn(&ALONE, &Ask::Objects, &Answer::Right(Content::Handles(vec![0x8000_0000, 0x8000_0001])));
        assert_eq!(loaded.gone, None);
    }

    #[test]
    fn a_forked_process_has_the_keys_and_flushes_no_object_of_its_parent() {
        let mut loaded = with_key();
        loaded.learn(&ALONE, &Ask::Start, &Answer::Right(Content::Handles(vec![1])));
        loaded.learn(&ALONE, &Ask::Create([0; 32]), &Answer::Right(Content::Handles(vec![2])));
        let mut inherited = loaded.inherited();
        assert_eq!((inherited.kept.len(), inherited.passing.len()), (1, 0));
        assert!(matches!(gone(&mut inherited), Some(Verdict::Lost(_))));
    }
}
