// SPDX-License-Identifier: BSD-2-Clause
//! What comes of a fault.

use std::collections::BTreeSet;
use std::fmt;

/// What the same context does after the fault. From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum After {
    /// The next command works.
    GoesOn,
    /// Commands fail until what was lost is there again; then they work.
    WhenBack,
    /// It serves no more; a new context in the same process does.
    NewContext,
    /// No context of this process works any more.
    Never,
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// Codes that the caller may get, in alphabetical order. SUCCESS: an answer, the right one.
    pub(super) codes: &'static [&'static str],
    pub(super) after: After,
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
    Cell::Ends(Promise { codes, after: After::GoesOn })
}

pub(super) const fn when_back(codes: &'static [&'static str]) -> Cell {
    Cell::Ends(Promise { codes, after: After::WhenBack })
}

pub(super) const fn new_context(codes: &'static [&'static str]) -> Cell {
    Cell::Ends(Promise { codes, after: After::NewContext })
}

/// What was seen, of one variant of a fault or of all.
#[derive(Debug)]
pub(super) struct Outcome {
    codes: BTreeSet<String>,
    after: After,
}

impl Outcome {
    /// Whether it is as promised: no other code, and the same afterwards.
    pub(super) fn keeps(&self, promise: &Promise) -> bool {
        self.after == promise.after && self.codes.iter().all(|code| promise.codes.contains(&code.as_str()))
    }

    pub(super) fn new(code: impl Into<String>, after: After) -> Outcome {
        Outcome { codes: BTreeSet::from([code.into()]), after }
    }

    /// Of all variants: every code, and the worst that came after.
    pub(super) fn of_all(variants: impl IntoIterator<Item = Outcome>) -> Outcome {
        let all = variants.into_iter().reduce(|mut all, one| {
            all.codes.extend(one.codes);
            Outcome { after: all.after.max(one.after), ..all }
        });
        all.expect("a fault has a variant")
    }
}

fn show<'a>(f: &mut fmt::Formatter<'_>, codes: impl Iterator<Item = &'a str>, after: After) -> fmt::Result {
    let codes: Vec<String> =
        codes.map(|code| if code == "SUCCESS" { "answers".to_owned() } else { format!("`{code}`") }).collect();
    f.write_str(&codes.join(" or "))?;
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
        show(f, self.codes.iter().map(String::as_str), self.after)
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.codes.iter().copied(), self.after)
    }
}
