// SPDX-License-Identifier: BSD-2-Clause
//! Cells of a table: a figure that there may not be is a dash.

use std::fmt::Display;

pub(crate) fn or_dash(figure: Option<impl Display>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// Ours to the other's; below 1 is better.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    or_dash(ratio.map(|ratio| format!("{ratio:.3}")))
}
