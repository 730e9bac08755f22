// SPDX-License-Identifier: BSD-2-Clause
//! What comes of a fault.

use std::collections::BTreeSet;
use std::fmt;

/// What the same context does after the fault. From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next command works.
    GoesOn,
    /// Commands fail until what was lost is there again; then they work.
    WhenBack,
    /// It serves no more; a new context in the same process does.
    NewContext,
    /// The process is there no more.
    Never,
}

/// Codes that the caller gets, in alphabetical order. SUCCESS: an answer, the right one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codes {
    /// Each of them in one variant of the fault at least.
    Each(&'static [&'static str]),
    /// It is a race which of them.
    Any(&'static [&'static str]),
}

/// A key that was loaded before the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It is there.
    Stays,
    Lost,
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    codes: Codes,
    /// Of commands that fail until what was lost is there again, besides those.
    meanwhile: &'static [&'static str],
    after: After,
    /// Why it is no better.
    pub(super) why: Option<&'static str>,
}

/// A cell of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Ends(Promise),
    /// It cannot happen, and why.
    Not(&'static str),
    /// Only a unit test of the module can make it happen: its file below `src`, and its name.
    Unit(&'static str, &'static str),
}

pub(super) const fn goes_on(codes: &'static [&'static str]) -> Cell {
    ends(Codes::Each(codes), After::GoesOn)
}

pub(super) const fn when_back(codes: &'static [&'static str]) -> Cell {
    ends(Codes::Each(codes), After::WhenBack)
}

pub(super) const fn new_context(codes: &'static [&'static str]) -> Cell {
    ends(Codes::Each(codes), After::NewContext)
}

pub(super) const fn ends(codes: Codes, after: After) -> Cell {
    Cell::Ends(Promise { codes, meanwhile: &["IO_ERROR", "NO_CONNECTION"], after, why: None })
}

/// As `cell`, with other codes until what was lost is there again, and the reason for that.
pub(super) const fn until_then(cell: Cell, meanwhile: &'static [&'static str], why: &'static str) -> Cell {
    match because(cell, why) {
        Cell::Ends(promise) => Cell::Ends(Promise { meanwhile, ..promise }),
        other => other,
    }
}

/// As `cell`, with the reason for it.
pub(super) const fn because(cell: Cell, why: &'static str) -> Cell {
    match cell {
        Cell::Ends(promise) => Cell::Ends(Promise { why: Some(why), ..promise }),
        other => other,
    }
}

/// What was seen, of one variant of a fault or of all.
#[derive(Debug)]
pub(super) struct Outcome {
    codes: BTreeSet<String>,
    /// Codes of the commands that failed after it, until what went wrong was right again.
    meanwhile: BTreeSet<String>,
    after: After,
    /// Where a key was loaded.
    key: Option<Key>,
}

impl Outcome {
    /// Whether it is as promised: these codes, no others, the same afterwards, and until then no other code than these
    /// and that of a TPM which is not there.
    pub(super) fn keeps(&self, promise: &Promise) -> bool {
        let mut codes = self.codes.iter().map(String::as_str);
        let (promised, is_right) = match promise.codes {
            Codes::Each(promised) => (promised, codes.eq(promised.iter().copied())),
            Codes::Any(promised) => (promised, codes.all(|code| promised.contains(&code))),
        };
        let mut meanwhile = self.meanwhile.iter().map(String::as_str);
        is_right
            && meanwhile.all(|code| promised.contains(&code) || promise.meanwhile.contains(&code))
            && self.after == promise.after
    }

    /// Whether the key is there, or not: as it has to be.
    pub(super) fn has(&self, key: Key) -> bool {
        self.key.is_none_or(|seen| seen == key)
    }

    pub(super) fn new(code: impl Into<String>, after: After) -> Outcome {
        Outcome { codes: BTreeSet::from([code.into()]), meanwhile: BTreeSet::new(), after, key: None }
    }

    /// And what became of the key.
    pub(super) fn with_key(self, key: Option<Key>) -> Outcome {
        Outcome { key, ..self }
    }

    /// And the command after it failed with this code.
    pub(super) fn and_then(mut self, code: String) -> Outcome {
        self.meanwhile.insert(code);
        self
    }

    /// Whether the process is there no more.
    pub(super) fn is_the_end(&self) -> bool {
        self.after == After::Never
    }

    /// Of all variants: every code. The same comes after all of them.
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

fn show<'a>(
    f: &mut fmt::Formatter<'_>,
    codes: impl Iterator<Item = &'a str>,
    chance: &str,
    after: After,
) -> fmt::Result {
    let codes: Vec<String> =
        codes.map(|code| if code == "SUCCESS" { "answers".to_owned() } else { format!("`{code}`") }).collect();
    f.write_str(&codes.join(" or "))?;
    f.write_str(chance)?;
    match after {
        After::GoesOn if codes == ["answers"] => Ok(()),
        After::GoesOn => f.write_str(", goes on"),
        After::WhenBack => f.write_str(", when back"),
        After::NewContext => f.write_str(", new context"),
        After::Never => f.write_str(", never again"),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.codes.iter().map(String::as_str), "", self.after)?;
        match self.meanwhile.is_empty() {
            true => Ok(()),
            false => write!(f, " (until then {:?})", self.meanwhile),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (codes, chance) = match self.codes {
            Codes::Each(codes) => (codes, ""),
            Codes::Any(codes) => (codes, " by chance"),
        };
        show(f, codes.iter().copied(), chance, self.after)
    }
}
