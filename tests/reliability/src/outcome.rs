// SPDX-License-Identifier: BSD-2-Clause
//! What a fault leads to: the codes that the caller gets, and whether the context works afterwards. The tables promise it
//! ([`Cell`]), the tests observe it ([`Outcome`]).

use super::reply::{Code, Reply};
use std::collections::BTreeSet;
use std::fmt;

/// What the same context does after the fault, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next command works.
    Continues,
    /// Commands fail until the cause is removed; then they work.
    Recovers,
    /// It has to be finalized; a new context in the same process works.
    NewContext,
    /// The process has ended.
    Never,
}

/// The response codes that the caller gets. `SUCCESS` stands for the right response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codes {
    /// Each of them is returned in at least one variant of the fault.
    Each(&'static [Code]),
    /// A race decides which of them is returned.
    Any(&'static [Code]),
}

impl Codes {
    fn all(self) -> &'static [Code] {
        match self {
            Codes::Each(codes) | Codes::Any(codes) => codes,
        }
    }
}

/// A key that was loaded before the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It is still loaded.
    Stays,
    Lost,
}

/// The outcome that a table promises.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    codes: Codes,
    /// Further codes of commands that fail until the cause is removed.
    meanwhile: &'static [Code],
    after: After,
    /// The reason, where the reader may expect a better outcome.
    pub(super) why: Option<&'static str>,
}

/// A cell of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Ends(Promise),
    /// The fault cannot happen to this module, for this reason.
    Not(&'static str),
    /// Only a unit test of the module can make the fault happen: its file below `src`, and its name.
    Unit(&'static str, &'static str),
}

pub(super) const fn continues(codes: &'static [Code]) -> Cell {
    ends(Codes::Each(codes), After::Continues)
}

pub(super) const fn recovers(codes: &'static [Code]) -> Cell {
    ends(Codes::Each(codes), After::Recovers)
}

pub(super) const fn new_context(codes: &'static [Code]) -> Cell {
    ends(Codes::Each(codes), After::NewContext)
}

pub(super) const fn ends(codes: Codes, after: After) -> Cell {
    Cell::Ends(Promise { codes, meanwhile: &[Code::IoError, Code::NoConnection], after, why: None })
}

/// Returns `cell` with other codes for the time until the cause is removed, and the reason for them.
pub(super) const fn meanwhile(cell: Cell, codes: &'static [Code], why: &'static str) -> Cell {
    match because(cell, why) {
        Cell::Ends(promise) => Cell::Ends(Promise { meanwhile: codes, ..promise }),
        other => other,
    }
}

/// Returns `cell` with a reason, which the page shows in a note.
pub(super) const fn because(cell: Cell, why: &'static str) -> Cell {
    match cell {
        Cell::Ends(promise) => Cell::Ends(Promise { why: Some(why), ..promise }),
        other => other,
    }
}

/// What a test has observed, of one variant of a fault or of all of them.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Replies to the call in which the fault shows.
    codes: BTreeSet<Reply>,
    /// Replies to the commands that failed after it, until the cause was removed.
    meanwhile: BTreeSet<Reply>,
    after: After,
    /// Where a key was loaded.
    key: Option<Key>,
}

impl Outcome {
    /// Whether the outcome is as promised: exactly these codes, the same afterwards, and until the cause is removed no
    /// codes but these and those of a TPM that is gone.
    pub(super) fn keeps(&self, promise: &Promise) -> bool {
        let is_promised = |reply: &Reply| promise.codes.all().iter().any(|code| reply == code);
        let is_right = match promise.codes {
            Codes::Each(codes) => {
                codes.iter().all(|code| self.codes.iter().any(|reply| reply == code))
                    && self.codes.iter().all(is_promised)
            }
            Codes::Any(_) => self.codes.iter().all(is_promised),
        };
        let mut meanwhile = self.meanwhile.iter();
        is_right
            && meanwhile.all(|reply| is_promised(reply) || promise.meanwhile.iter().any(|code| reply == code))
            && self.after == promise.after
    }

    /// Whether the key stays or is lost as it should. Outcomes without a key pass.
    pub(super) fn has(&self, key: Key) -> bool {
        self.key.is_none_or(|seen| seen == key)
    }

    pub(super) fn new(code: Reply, after: After) -> Outcome {
        Outcome { codes: BTreeSet::from([code]), meanwhile: BTreeSet::new(), after, key: None }
    }

    /// Adds what has become of the key.
    pub(super) fn with_key(self, key: Option<Key>) -> Outcome {
        Outcome { key, ..self }
    }

    /// Adds the code of the next command, which failed.
    pub(super) fn and_then(mut self, code: Reply) -> Outcome {
        self.meanwhile.insert(code);
        self
    }

    /// Whether the process has ended.
    pub(super) fn is_the_end(&self) -> bool {
        self.after == After::Never
    }

    /// Combines the codes of all variants. All of them have to have the same effect on the context and on the key.
    pub(super) fn of_all(variants: impl IntoIterator<Item = Outcome>) -> Outcome {
        let all = variants.into_iter().reduce(|mut all, one| {
            assert_eq!((one.after, one.key), (all.after, all.key), "{:?}, and before {:?}", one.codes, all.codes);
            all.codes.extend(one.codes);
            all.meanwhile.extend(one.meanwhile);
            all
        });
        all.expect("a fault has a variant")
    }
}

fn show<'a>(f: &mut fmt::Formatter<'_>, codes: impl Iterator<Item = &'a str>, race: &str, after: After) -> fmt::Result {
    let codes: Vec<String> = codes
        .map(|code| if code == Code::Success.name() { "success".to_owned() } else { format!("`{code}`") })
        .collect();
    f.write_str(&codes.join(" or "))?;
    f.write_str(race)?;
    match after {
        After::Continues if codes == ["success"] => Ok(()),
        After::Continues => f.write_str(", continues"),
        After::Recovers => f.write_str(", recovers"),
        After::NewContext => f.write_str(", new context"),
        After::Never => f.write_str(", the process ends"),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.codes.iter().map(Reply::as_str), "", self.after)?;
        match self.meanwhile.is_empty() {
            true => Ok(()),
            false => write!(f, " (meanwhile {:?})", self.meanwhile),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let race = match self.codes {
            Codes::Each(_) => "",
            Codes::Any(_) => " (race)",
        };
        show(f, self.codes.all().iter().map(|code| code.name()), race, self.after)
    }
}
