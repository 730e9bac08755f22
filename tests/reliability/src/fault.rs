// SPDX-License-Identifier: BSD-2-Clause
//! The rows.

use super::answers::Answer;
use super::death::Death;
use super::files::Files;
use super::forking::Forking;
use super::misuse::Misuse;
use super::module::{Module, Place};
use super::outcome::{Key, Outcome};
use super::process::Process;
use super::usb::Usb;
use tss2_kit::need::{Need, SETPRIV};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Answer(Answer),
    Death(Death),
    Misuse(Misuse),
    Process(Process),
    Forking(Forking),
    Files(Files),
    Usb(Usb),
}

impl Fault {
    /// Makes it happen.
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Fault::Answer(answer) => answer.observe(module),
            Fault::Death(death) => death.observe(module),
            Fault::Misuse(misuse) => misuse.observe(module),
            Fault::Process(process) => process.observe(module),
            Fault::Forking(forking) => forking.observe(module),
            Fault::Files(files) => files.observe(module),
            Fault::Usb(usb) => usb.observe(),
        }
    }

    /// Where, when that is not up to the module.
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Fault::Answer(Answer::LateByAnotherClock) | Fault::Process(Process::Clock) => Some(Place::Guest),
            _ => None,
        }
    }

    /// What becomes of a key that was loaded before. It goes with its TPM, or with the driver that was its memory; behind
    /// cmd it is the command that dies.
    pub(super) fn leaves(self, module: Module) -> Key {
        match self {
            Fault::Death(_) if module != Module::Cmd => Key::Lost,
            _ => Key::Stays,
        }
    }

    /// Besides what the module needs.
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Fault::Files(_) => &[SETPRIV, Need::Mount],
            _ => &[],
        }
    }
}
