// SPDX-License-Identifier: BSD-2-Clause
//! Collects the tests of a program: [`Suite`]. A test with an unmet need is ignored or fails, see [`crate::need`].

use crate::need::{Need, Unmet, is_ci};
use libtest_mimic::{Failed, Trial};

/// The tests that the topics of a program have added.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds a test, which fails by panicking.
    pub fn test(&mut self, name: impl Into<String>, needs: &[Need], body: impl FnOnce() + Send + 'static) {
        let unmet: Vec<Unmet> = needs.iter().filter_map(|need| need.unmet()).collect();
        let fails = is_ci() && unmet.iter().any(|unmet| matches!(unmet, Unmet::Fixable(_)));
        let reasons: Vec<&str> = unmet.iter().map(Unmet::reason).collect();
        let (name, reason) = (name.into(), reasons.join(", "));
        self.trials.push(match (unmet.is_empty(), fails) {
            (true, _) => Trial::test(name, || {
                body();
                Ok(())
            }),
            (false, true) => Trial::test(name, || Err(Failed::from(reason))),
            (false, false) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true),
        });
    }

    /// Returns the tests for the harness.
    pub fn into_trials(self) -> Vec<Trial> {
        self.trials
    }
}
