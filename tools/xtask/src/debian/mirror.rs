// SPDX-License-Identifier: BSD-2-Clause
//! Finds mirrors of Debian in the configuration of this system's apt, for its own suite and for others: [`Mirror::all`].

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The suite that is never released and therefore has no separate updates.
const UNSTABLE: &str = "sid";

/// Returns the URI of a mirror that this system's apt uses, for any suite. A mirror has all suites.
pub(crate) fn any(shell: &Shell) -> Result<Option<String>> {
    Ok(plain(&listed(shell)?).map(|mirror| mirror.uri))
}

/// Returns the suite of Debian that this system's apt uses; `None` on other distributions.
pub(crate) fn host_suite(shell: &Shell) -> Option<String> {
    plain(&listed(shell).ok()?).map(|mirror| mirror.suite)
}

/// A source of packages.
pub(crate) struct Mirror {
    pub(crate) uri: String,
    /// Name of a suite, of its updates or of its security updates: `trixie`, `trixie-updates`, `trixie-security`.
    pub(crate) suite: String,
}

impl Mirror {
    /// Returns the mirrors of a suite; empty if this system's apt has no mirror of Debian.
    pub(crate) fn all(shell: &Shell, suite: &str) -> Result<Vec<Mirror>> {
        Ok(Mirror::of(&listed(shell)?, suite))
    }

    /// Returns the configured mirrors of the suite. If there are none, derives them from those of this system's suite, assuming
    /// that each mirror has all suites.
    fn of(listed: &str, suite: &str) -> Vec<Mirror> {
        let Some(Mirror { suite: host, .. }) = plain(listed) else { return Vec::new() };
        let found = Mirror::parse(listed, suite);
        if !found.is_empty() {
            return found;
        }
        let like = |mirror: Mirror| {
            let kind = mirror.suite.strip_prefix(&host)?;
            (kind.is_empty() || suite != UNSTABLE).then(|| Mirror { uri: mirror.uri, suite: format!("{suite}{kind}") })
        };
        Mirror::parse(listed, &host).into_iter().filter_map(like).collect()
    }

    /// Returns the mirrors of a suite and its updates; empty if the suite itself is missing.
    fn parse(listed: &str, suite: &str) -> Vec<Mirror> {
        let is_of_suite =
            |found: &str| found.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let mirrors: Vec<Mirror> = entries(listed).filter(|mirror| is_of_suite(&mirror.suite)).collect();
        if mirrors.iter().any(|mirror| mirror.suite == suite) { mirrors } else { Vec::new() }
    }
}

/// Returns the mirrors as lines of sources.list.
pub(crate) fn sources(mirrors: &[Mirror]) -> String {
    mirrors.iter().map(|mirror| format!("deb {} {} main\n", mirror.uri, mirror.suite)).collect()
}

fn listed(shell: &Shell) -> Result<String> {
    let format = "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(CODENAME)";
    let listed = cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'").quiet().read();
    listed.context("cannot get the list of mirrors from apt-get")
}

fn entries(listed: &str) -> impl Iterator<Item = Mirror> {
    let entry = |line: &str| {
        line.strip_prefix("Debian|main|")?.split_once('|').map(|(uri, suite)| (uri.to_owned(), suite.to_owned()))
    };
    listed.lines().filter_map(entry).map(|(uri, suite)| Mirror { uri, suite })
}

/// Returns the first mirror of a suite itself. The names of its updates contain a hyphen.
fn plain(listed: &str) -> Option<Mirror> {
    entries(listed).find(|mirror| !mirror.suite.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "Debian|main|http://a.invalid/debian/|bookworm\nDebian|contrib|http://a.invalid/debian/|bookworm\n\
                          Debian|main|http://a.invalid/security/|bookworm-security\nOther|main|http://b.invalid/|bookworm\n";

    fn pairs(mirrors: &[Mirror]) -> Vec<(&str, &str)> {
        mirrors.iter().map(|mirror| (mirror.uri.as_str(), mirror.suite.as_str())).collect()
    }

    #[test]
    fn only_mirrors_of_the_suite_are_used() {
        let listed = LISTED.to_owned() + "Debian|main|http://c.invalid/debian/|trixie\n";
        let found = Mirror::of(&listed, "bookworm");
        let expected = [("http://a.invalid/debian/", "bookworm"), ("http://a.invalid/security/", "bookworm-security")];
        assert_eq!(pairs(&found), expected);
        assert_eq!(pairs(&Mirror::of(&listed, "trixie")), [("http://c.invalid/debian/", "trixie")]);
    }

    #[test]
    fn mirrors_of_another_suite_are_derived_from_those_of_this_system() {
        let expected = [("http://a.invalid/debian/", "trixie"), ("http://a.invalid/security/", "trixie-security")];
        assert_eq!(pairs(&Mirror::of(LISTED, "trixie")), expected);
        assert_eq!(pairs(&Mirror::of(LISTED, "sid")), [("http://a.invalid/debian/", "sid")]);
        assert!(Mirror::of("Debian|main|http://a.invalid/|bookworm-updates\n", "bookworm").is_empty());
    }

    #[test]
    fn any_mirror_of_debian_is_found() {
        let listed = "Debian|main|http://a.invalid/security/|trixie-security\nOther|main|http://b.invalid/|stable\n\
                      Debian|main|http://a.invalid/debian/|trixie\n";
        assert_eq!(plain(listed).map(|mirror| mirror.uri).as_deref(), Some("http://a.invalid/debian/"));
        assert!(plain("Ubuntu|main|http://a.invalid/|noble\n").is_none());
    }
}
