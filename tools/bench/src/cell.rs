// SPDX-License-Identifier: BSD-2-Clause
//! Tables in Markdown. A figure that may be missing is a dash.

use crate::measure::Times;
use std::fmt::Display;

/// The head of a table.
pub(crate) fn head(cells: &[String]) -> String {
    format!("{}\n|{}", row(cells), "---|".repeat(cells.len()))
}

pub(crate) fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

pub(crate) fn or_dash(figure: Option<impl Display>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// Ours to the other's; below 1 is better.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    or_dash(ratio.map(|ratio| format!("{ratio:.3}")))
}

/// The columns of what ours is compared with: its times, and the ratio.
pub(crate) fn compared<'a>(
    ours: &'a Times,
    others: impl IntoIterator<Item = Option<&'a Times>>,
) -> impl Iterator<Item = String> {
    others.into_iter().flat_map(|other| [or_dash(other), ratio(other.map(|other| ours.ratio(other)))])
}

/// The heads of those columns for versions of the C module.
pub(crate) fn versions<'a>(versions: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = String> {
    versions.into_iter().flat_map(|version| [format!("C {version}"), "ratio".to_owned()])
}
