// SPDX-License-Identifier: BSD-2-Clause
//! The findings of forked processes, and the faults that explain them ([`History`]). A forked process does not know the
//! faults that its parent makes, so it reports the times of its findings.

use std::time::Duration;
use tcti_core::ReturnCode;

/// The number of calls that may fail after the end of a fault, before one succeeds: when a connection ends after a
/// response, the next command notices it.
pub const TRIES: u32 = 1;

/// An event that may need an explanation. Times are relative to the start of the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The context.
    pub slot: usize,
    /// When the last command with a right response was sent. A fault after that time may show in the next call.
    pub since: Duration,
    /// When the call that found it began.
    pub began: Duration,
    /// When that call ended.
    pub ended: Duration,
    /// Its description, one line.
    pub text: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call failed with this return code.
    Failed(u32),
    /// A loaded object is lost.
    Lost,
    /// A response is one to the command, but its content is wrong.
    Untrue,
    /// A response is not one to the command.
    Wrong,
    /// Something that no fault explains.
    Failure,
}

impl Finding {
    /// Formats it as a line of text.
    pub fn line(&self) -> String {
        let Finding { kind, slot, since, began, ended, text } = self;
        let [since, began, ended] = [since, began, ended].map(|time| time.as_nanos());
        let (kind, code) = match kind {
            Kind::Failed(code) => ("failed", *code),
            Kind::Lost => ("lost", 0),
            Kind::Untrue => ("untrue", 0),
            Kind::Wrong => ("wrong", 0),
            Kind::Failure => ("failure", 0),
        };
        format!("{kind} {code} {slot} {since} {began} {ended} {}\n", text.replace('\n', " "))
    }

    /// Parses a line of text.
    pub fn parse(line: &str) -> Option<Finding> {
        let mut words = line.splitn(7, ' ');
        let (kind, code) = (words.next()?, words.next()?.parse().ok()?);
        let kind = match kind {
            "failed" => Kind::Failed(code),
            "lost" => Kind::Lost,
            "untrue" => Kind::Untrue,
            "wrong" => Kind::Wrong,
            "failure" => Kind::Failure,
            _ => return None,
        };
        let slot = words.next()?.parse().ok()?;
        let mut time = || words.next()?.parse().ok().map(Duration::from_nanos);
        let (since, began, ended) = (time()?, time()?, time()?);
        Some(Finding { kind, slot, since, began, ended, text: words.next()?.to_owned() })
    }
}

/// The effects of a fault on the processes that it reaches.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Its name.
    pub fault: &'static str,
    /// The return codes that calls may have.
    pub codes: &'static [ReturnCode],
    /// Whether loaded objects may be lost.
    pub unloads: bool,
    /// Whether written data may be lost.
    pub forgets: bool,
}

struct Fault {
    slot: usize,
    cost: Cost,
    from: Duration,
    /// `None` while it lasts.
    until: Option<Duration>,
}

/// Faults, and how long each lasted.
#[derive(Default)]
pub struct History(Vec<Fault>);

impl History {
    /// Notes that a fault of a context begins.
    pub fn begin(&mut self, slot: usize, cost: Cost, now: Duration) {
        self.0.push(Fault { slot, cost, from: now, until: None });
    }

    /// Notes a fault that is over.
    pub fn was(&mut self, slot: usize, cost: Cost, from: Duration, until: Duration) {
        self.0.push(Fault { slot, cost, from, until: Some(until) });
    }

    /// Notes that the faults of a context end.
    pub fn end(&mut self, slot: usize, now: Duration) {
        self.0.iter_mut().filter(|fault| fault.slot == slot && fault.until.is_none()).for_each(|fault| {
            fault.until = Some(now);
        });
    }

    /// Describes the faults of a context.
    pub fn list(&self, slot: usize) -> String {
        let faults = self.0.iter().filter(|fault| fault.slot == slot);
        let words = |fault: &Fault| format!("{} {:?} to {:?}", fault.cost.fault, fault.from, fault.until);
        faults.map(words).collect::<Vec<_>>().join(", ")
    }

    /// Forgets the faults that are over.
    pub fn clear(&mut self) {
        self.0.retain(|fault| fault.until.is_none());
    }

    /// Returns the findings of one process that no fault explains.
    pub fn unexplained<'a>(&self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        let mut late = 0;
        let mut last = None;
        let mut is_unexplained = |finding: &Finding| {
            if last.replace((finding.slot, finding.since)) != Some((finding.slot, finding.since)) {
                late = 0; // there was a response in between
            }
            let fits: Vec<&Fault> = self.0.iter().filter(|fault| fault.explains(finding)).collect();
            let is_over = |fault: &Fault| fault.until.is_some_and(|until| until < finding.began);
            let is_late = matches!(finding.kind, Kind::Failed(_)) && fits.iter().all(|fault| is_over(fault));
            late += u32::from(is_late);
            fits.is_empty() || late > TRIES * u32::try_from(fits.len()).unwrap_or(u32::MAX)
        };
        findings.iter().filter(|finding| is_unexplained(finding)).collect()
    }
}

impl Fault {
    fn explains(&self, finding: &Finding) -> bool {
        let fits = match finding.kind {
            Kind::Failed(code) => self.cost.codes.iter().any(|rc| rc.to_c() == code),
            Kind::Lost => self.cost.unloads,
            Kind::Untrue => self.cost.forgets,
            Kind::Wrong | Kind::Failure => false,
        };
        fits && self.slot == finding.slot
            && self.from <= finding.ended
            && self.until.is_none_or(|until| until >= finding.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO_ERROR: u32 = 0xa_000a;
    const COST: Cost = Cost { fault: "a fault", codes: &[ReturnCode::IO_ERROR], unloads: true, forgets: false };

    fn finding(kind: Kind, times: [u64; 3]) -> Finding {
        let [since, began, ended] = times.map(Duration::from_secs);
        Finding { kind, slot: 1, since, began, ended, text: "a text".to_owned() }
    }

    fn explained(kind: Kind, times: [u64; 3]) -> bool {
        let mut history = History::default();
        history.was(1, COST, Duration::from_secs(10), Duration::from_secs(20));
        history.unexplained(&[finding(kind, times)]).is_empty()
    }

    #[test]
    fn a_finding_survives_formatting_and_parsing() {
        for kind in [Kind::Failed(IO_ERROR), Kind::Lost, Kind::Untrue, Kind::Wrong, Kind::Failure] {
            let finding = finding(kind, [1, 2, 3]);
            assert_eq!(Finding::parse(finding.line().trim_end()), Some(finding));
        }
    }

    #[test]
    fn a_fault_explains_its_effects_and_only_while_it_lasts() {
        assert!(explained(Kind::Failed(IO_ERROR), [5, 12, 13]));
        assert!(!explained(Kind::Failed(0xa_0008), [5, 12, 13]), "another code");
        assert!(!explained(Kind::Failed(IO_ERROR), [5, 8, 9]), "before it");
        assert!(!explained(Kind::Failed(IO_ERROR), [21, 22, 23]), "a call has succeeded since");
        assert!(explained(Kind::Failed(IO_ERROR), [5, 22, 23]), "the first call after it");
        assert!(explained(Kind::Lost, [5, 22, 23]));
        assert!(!explained(Kind::Untrue, [5, 12, 13]));
        assert!(!explained(Kind::Wrong, [5, 12, 13]));
        assert!(!explained(Kind::Failure, [5, 12, 13]));
    }

    #[test]
    fn a_lasting_fault_explains_any_number_of_errors_and_a_past_fault_only_one() {
        let mut history = History::default();
        history.begin(1, COST, Duration::from_secs(10));
        let findings: Vec<Finding> =
            (0..3).map(|n| finding(Kind::Failed(IO_ERROR), [5, 20 + 2 * n, 21 + 2 * n])).collect();
        assert!(history.unexplained(&findings).is_empty());
        history.end(1, Duration::from_secs(15));
        assert_eq!(history.unexplained(&findings).len(), 2);
        history.clear();
        assert_eq!(history.unexplained(&findings).len(), 3);
    }

    #[test]
    fn a_fault_of_another_context_explains_nothing() {
        let mut history = History::default();
        history.begin(2, COST, Duration::from_secs(10));
        assert_eq!(history.unexplained(&[finding(Kind::Lost, [5, 12, 13])]).len(), 1);
    }
}
