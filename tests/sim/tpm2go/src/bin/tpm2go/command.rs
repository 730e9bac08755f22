// SPDX-License-Identifier: BSD-2-Clause
//! Parses the commands on stdin: [`Command`].
#![forbid(unsafe_code)]

use sim_tpm2go::Faults;
use std::time::Duration;

pub(crate) enum Command {
    Counters,
    ResetCounters,
    Faults(Box<Faults>),
    Latency(Duration),
    Unplug,
    Plug,
    Locality,
    Offences,
}

impl Command {
    /// Parses a line. The error is a text for the user.
    pub(crate) fn parse(line: &str) -> Result<Command, String> {
        let (name, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match (name, value) {
            ("counters", "") => Ok(Command::Counters),
            ("reset-counters", "") => Ok(Command::ResetCounters),
            ("faults", text) => match Faults::parse(text) {
                Ok(faults) => Ok(Command::Faults(Box::new(faults))),
                Err(_) => Err(format!("faults {text} is not understood")),
            },
            ("latency-us", number) => match number.parse() {
                Ok(number) => Ok(Command::Latency(Duration::from_micros(number))),
                Err(_) => Err(format!("\"{number}\" is not a number of microseconds")),
            },
            ("unplug", "") => Ok(Command::Unplug),
            ("plug", "") => Ok(Command::Plug),
            ("locality", "") => Ok(Command::Locality),
            ("offences", "") => Ok(Command::Offences),
            _ => Err(format!("unknown command \"{}\"", line.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_lines_are_parsed_and_others_rejected() {
        assert!(matches!(Command::parse("counters"), Ok(Command::Counters)));
        assert!(matches!(Command::parse("latency-us 125\r"), Ok(Command::Latency(Duration { .. }))));
        assert!(matches!(Command::parse("faults"), Ok(Command::Faults(_))));
        for wrong in ["", "counters x", "faults nonsense=1", "latency-us", "latency-us -1", "eject"] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }
}
