// SPDX-License-Identifier: BSD-2-Clause
//! Where Debian's packages come from: the mirrors that this machine's apt has, for its own suite and for others
//! ([`Mirror::all`]).

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The suite that is never released, and so has no updates of its own.
const UNSTABLE: &str = "sid";

/// Where this machine's apt gets Debian's packages, of whichever suite. That place has the others, too.
pub(crate) fn any(shell: &Shell) -> Result<Option<String>> {
    Ok(plain(&listed(shell)?).map(|mirror| mirror.uri))
}

/// The suite of Debian that this machine is, by its apt; `None` where that is not Debian's.
pub(crate) fn suite_here(shell: &Shell) -> Option<String> {
    plain(&listed(shell).ok()?).map(|mirror| mirror.suite)
}

/// A place with packages of a suite.
pub(crate) struct Mirror {
    pub(crate) uri: String,
    /// The suite, its updates, its security updates.
    pub(crate) suite: String,
}

impl Mirror {
    /// Of a suite; none if apt here has no mirror of Debian.
    pub(crate) fn all(shell: &Shell, suite: &str) -> Result<Vec<Mirror>> {
        Ok(Mirror::of(&listed(shell)?, suite))
    }

    /// Those of the suite itself, or else where they are if a mirror has all suites in the same way.
    fn of(listed: &str, suite: &str) -> Vec<Mirror> {
        let Some(Mirror { suite: here, .. }) = plain(listed) else { return Vec::new() };
        let found = Mirror::parse(listed, suite);
        if !found.is_empty() {
            return found;
        }
        let like = |mirror: Mirror| {
            let kind = mirror.suite.strip_prefix(&here)?;
            (kind.is_empty() || suite != UNSTABLE).then(|| Mirror { uri: mirror.uri, suite: format!("{suite}{kind}") })
        };
        Mirror::parse(listed, &here).into_iter().filter_map(like).collect()
    }

    /// Nothing unless the suite itself is among them.
    fn parse(listed: &str, suite: &str) -> Vec<Mirror> {
        let is_of_suite =
            |found: &str| found.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let mirrors: Vec<Mirror> = entries(listed).filter(|mirror| is_of_suite(&mirror.suite)).collect();
        if mirrors.iter().any(|mirror| mirror.suite == suite) { mirrors } else { Vec::new() }
    }
}

/// The lines of apt's sources.list.
pub(crate) fn sources(mirrors: &[Mirror]) -> String {
    mirrors.iter().map(|mirror| format!("deb {} {} main\n", mirror.uri, mirror.suite)).collect()
}

fn listed(shell: &Shell) -> Result<String> {
    let format = "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(CODENAME)";
    let listed = cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'").quiet().read();
    listed.context("cannot ask apt-get for its mirrors")
}

fn entries(listed: &str) -> impl Iterator<Item = Mirror> {
    let entry = |line: &str| {
        line.strip_prefix("Debian|main|")?.split_once('|').map(|(uri, suite)| (uri.to_owned(), suite.to_owned()))
    };
    listed.lines().filter_map(entry).map(|(uri, suite)| Mirror { uri, suite })
}

/// The first that is of a suite itself. Updates have a hyphen in their name.
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
    fn mirrors_of_the_suite_are_taken_and_no_others() {
        let listed = LISTED.to_owned() + "Debian|main|http://c.invalid/debian/|trixie\n";
        let found = Mirror::of(&listed, "bookworm");
        let expected = [("http://a.invalid/debian/", "bookworm"), ("http://a.invalid/security/", "bookworm-security")];
        assert_eq!(pairs(&found), expected);
        assert_eq!(pairs(&Mirror::of(&listed, "trixie")), [("http://c.invalid/debian/", "trixie")]);
    }

    #[test]
    fn another_suite_is_where_that_of_the_machine_is() {
        let expected = [("http://a.invalid/debian/", "trixie"), ("http://a.invalid/security/", "trixie-security")];
        assert_eq!(pairs(&Mirror::of(LISTED, "trixie")), expected);
        assert_eq!(pairs(&Mirror::of(LISTED, "sid")), [("http://a.invalid/debian/", "sid")]);
        assert!(Mirror::of("Debian|main|http://a.invalid/|bookworm-updates\n", "bookworm").is_empty());
    }

    #[test]
    fn a_mirror_of_any_suite_has_the_others() {
        let listed = "Debian|main|http://a.invalid/security/|trixie-security\nOther|main|http://b.invalid/|stable\n\
                      Debian|main|http://a.invalid/debian/|trixie\n";
        assert_eq!(plain(listed).map(|mirror| mirror.uri).as_deref(), Some("http://a.invalid/debian/"));
        assert!(plain("Ubuntu|main|http://a.invalid/|noble\n").is_none());
    }
}
