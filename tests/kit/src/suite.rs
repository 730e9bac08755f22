// SPDX-License-Identifier: BSD-2-Clause
//! The list of tests, and the fate of those that lack something.

use crate::need::{Need, is_ci};
use libtest_mimic::{Failed, Trial};

/// Tests as the topics add them.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds a test that fails by panicking.
    pub fn test(&mut self, name: impl Into<String>, needs: &[Need], body: impl FnOnce() + Send + 'static) {
        let missing: Vec<(Need, String)> = needs.iter().filter_map(|need| Some((*need, need.missing()?))).collect();
        let is_wrong = is_ci() && missing.iter().any(|(need, _)| !need.is_given());
        let reasons: Vec<&str> = missing.iter().map(|(_, reason)| reason.as_str()).collect();
        let (name, reason) = (name.into(), reasons.join(", "));
        self.trials.push(match (missing.is_empty(), is_wrong) {
            (true, _) => Trial::test(name, || {
                body();
                Ok(())
            }),
            (false, true) => Trial::test(name, || Err(Failed::from(reason))),
            (false, false) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true),
        });
    }

    /// The tests, for the harness.
    pub fn into_trials(self) -> Vec<Trial> {
        self.trials
    }
}
