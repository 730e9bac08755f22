// SPDX-License-Identifier: BSD-2-Clause
//! Formats tables in Markdown. A missing value is shown as a dash.

use crate::measure::Times;
use std::fmt::Display;

/// Returns the header of a table.
pub(crate) fn head(cells: &[String]) -> String {
    format!("{}\n|{}", row(cells), "---|".repeat(cells.len()))
}

/// Returns a row of a table.
pub(crate) fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Formats a value, or a dash if it is missing.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Formats the ratio of our time to another's.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    or_dash(ratio.map(|ratio| format!("{ratio:.3}")))
}

/// Returns two cells for each library that ours is compared with: its times, and the ratio.
pub(crate) fn compared<'a>(
    ours: &'a Times,
    others: impl IntoIterator<Item = Option<&'a Times>>,
) -> impl Iterator<Item = String> {
    others.into_iter().flat_map(|other| [or_dash(other), ratio(other.map(|other| ours.ratio(other)))])
}

/// Returns the headers of those columns for versions of the C module.
pub(crate) fn versions<'a>(versions: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = String> {
    versions.into_iter().flat_map(|version| [format!("C {version}"), "ratio".to_owned()])
}
