// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the USB. They are counted in transfers that end, so that tests need no clock.
#![forbid(unsafe_code)]

use core::time::Duration;
use tcti_core::Result;
use tcti_core::conf::number;

/// The transfers of a kind that a fault affects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// None.
    #[default]
    Never,
    /// The one after this number of transfers; written `3`.
    Once(u32),
    /// All after this number of transfers; written `3+`.
    From(u32),
}

impl When {
    fn parse(key: &str, text: &str) -> Result<When> {
        let (digits, after): (&str, fn(u32) -> When) = match text.strip_suffix('+') {
            Some(digits) => (digits, When::From),
            None => (text, When::Once),
        };
        number(key, digits.as_ref(), 0..=u32::MAX).map(after)
    }

    /// Counts one transfer. Returns whether the fault affects it.
    fn strikes(&mut self) -> bool {
        match self {
            When::Never => false,
            When::Once(0) => {
                *self = When::Never;
                true
            }
            When::From(0) => true,
            When::Once(left) | When::From(left) => {
                *left -= 1;
                false
            }
        }
    }
}

/// How the stick differs from one that works and responds at once.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The duration of each transfer. [`crate::Stick`] has no clock and ignores it: the caller has to wait.
    pub latency: Duration,
    /// An announcement is answered with STALL and ignored.
    pub stall_control: When,
    /// An announcement is never answered, and ignored.
    pub nak_control: When,
    /// A bulk OUT is answered with STALL and its data is lost; the endpoint works again at once.
    pub stall_out: When,
    /// The same, and the endpoint stays halted until CLEAR_FEATURE.
    pub halt_out: When,
    /// A bulk OUT is never accepted.
    pub nak_out: When,
    /// A bulk IN is answered with STALL; the endpoint works again at once and keeps its data.
    pub stall_in: When,
    /// The same, and the endpoint stays halted until CLEAR_FEATURE.
    pub halt_in: When,
    /// A bulk IN is never answered; the endpoint keeps its data.
    pub nak_in: When,
    /// A bulk IN returns its data without the last byte, which is lost.
    pub short_in: When,
    /// A bulk IN returns a zero-length packet; the endpoint keeps its data.
    pub empty_in: When,
    /// A bulk IN returns its data with each bit inverted.
    pub garbage_in: When,
    /// A bulk IN returns more bytes than requested, which the host controller reports; the data is lost.
    pub long_in: When,
    /// The stick is unplugged, counted in announcements, bulk OUT and bulk IN.
    pub unplug: When,
    /// Transfers consist of whole packets, as with a real host controller: a bulk IN that ends inside a packet fails
    /// with an overflow, and one that is longer than the data and finds no short packet waits for more. Without this,
    /// a request takes the available bytes.
    pub whole_packets: bool,
    /// The faults of the TPM behind the bridge.
    pub tis: sim_tis::Faults,
}

/// A fault of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Stall,
    Halt,
    Silence,
    Short,
    Empty,
    Garbage,
    Long,
}

impl Faults {
    /// Parses `key=value` pairs, separated by commas. The keys are the names of the fields of type [`When`], with
    /// values such as `3` or `3+`; `whole_packets` with 0 or 1; and those of [`sim_tis::Faults::parse`].
    pub fn parse(text: &str) -> Result<Faults> {
        let mut faults = Faults::default();
        let mut tis = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (faults.field(key), key) {
                (Some(field), _) => *field = When::parse(key, value)?,
                (None, "whole_packets") => faults.whole_packets = number(key, value.as_ref(), 0..=1)? == 1,
                (None, _) => tis.push(part),
            }
        }
        faults.tis = sim_tis::Faults::parse(&tis.join(","))?;
        Ok(faults)
    }

    fn field(&mut self, key: &str) -> Option<&mut When> {
        Some(match key {
            "stall_control" => &mut self.stall_control,
            "nak_control" => &mut self.nak_control,
            "stall_out" => &mut self.stall_out,
            "halt_out" => &mut self.halt_out,
            "nak_out" => &mut self.nak_out,
            "stall_in" => &mut self.stall_in,
            "halt_in" => &mut self.halt_in,
            "nak_in" => &mut self.nak_in,
            "short_in" => &mut self.short_in,
            "empty_in" => &mut self.empty_in,
            "garbage_in" => &mut self.garbage_in,
            "long_in" => &mut self.long_in,
            "unplug" => &mut self.unplug,
            _ => return None,
        })
    }

    /// Counts one transfer of any kind. Returns whether the stick is unplugged now.
    pub(crate) fn unplugs(&mut self) -> bool {
        self.unplug.strikes()
    }

    /// Counts an announcement. Returns the fault that affects it.
    pub(crate) fn of_control(&mut self) -> Option<Fault> {
        first([(&mut self.stall_control, Fault::Stall), (&mut self.nak_control, Fault::Silence)])
    }

    /// Counts a bulk OUT. Returns the fault that affects it.
    pub(crate) fn of_out(&mut self) -> Option<Fault> {
        first([
            (&mut self.stall_out, Fault::Stall),
            (&mut self.halt_out, Fault::Halt),
            (&mut self.nak_out, Fault::Silence),
        ])
    }

    /// Counts a bulk IN. Returns the fault that affects it.
    pub(crate) fn of_in(&mut self) -> Option<Fault> {
        first([
            (&mut self.stall_in, Fault::Stall),
            (&mut self.halt_in, Fault::Halt),
            (&mut self.nak_in, Fault::Silence),
            (&mut self.short_in, Fault::Short),
            (&mut self.empty_in, Fault::Empty),
            (&mut self.garbage_in, Fault::Garbage),
            (&mut self.long_in, Fault::Long),
        ])
    }
}

/// Has each fault count the transfer. Returns the first that affects it.
fn first<const N: usize>(faults: [(&mut When, Fault); N]) -> Option<Fault> {
    faults.into_iter().fold(None, |found, (when, fault)| {
        let strikes = when.strikes();
        found.or(strikes.then_some(fault))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_usb_and_of_the_tpm_are_parsed() {
        let faults = Faults::parse("stall_in=3,unplug=7+,whole_packets=1,burst=8").unwrap();
        assert_eq!((faults.stall_in, faults.unplug), (When::Once(3), When::From(7)));
        assert!(faults.whole_packets);
        assert_eq!(faults.tis.burst, 8);
        for wrong in ["stall_in", "stall_in=x", "stall_in=+", "whole_packets=2", "nonsense=1"] {
            assert!(Faults::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_occurs_once_or_repeatedly() {
        let mut once = When::Once(2);
        assert_eq!([(); 4].map(|()| once.strikes()), [false, false, true, false]);
        let mut from = When::From(1);
        assert_eq!([(); 4].map(|()| from.strikes()), [false, true, true, true]);
    }
}
