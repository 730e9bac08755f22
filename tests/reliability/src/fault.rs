// SPDX-License-Identifier: BSD-2-Clause
//! The rows.

use super::answers::Answer;
use super::death::Death;
use super::files::Files;
use super::forking::Forking;
use super::misuse::Misuse;
use super::module::{Environment, Module};
use super::outcome::{Key, Outcome};
use super::process::Process;
use super::usb::Usb;
use tss2_kit::need::{Need, SETPRIV};

/// The fault of a row.
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
    /// Makes it happen, and observes the module.
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

    /// Returns where it has to be observed, if the module does not decide that.
    pub(super) fn environment(self) -> Option<Environment> {
        match self {
            Fault::Answer(Answer::LateByAnotherClock) | Fault::Process(Process::Clock) => Some(Environment::Guest),
            _ => None,
        }
    }

    /// Returns whether a key that was loaded before is lost. It is lost with its TPM, or with the driver that kept it.
    /// Behind cmd only the command is killed.
    pub(super) fn leaves(self, module: Module) -> Key {
        match self {
            Fault::Death(_) if module != Module::Cmd => Key::Lost,
            _ => Key::Stays,
        }
    }

    /// Returns the needs of the fault itself.
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Fault::Files(_) => &[SETPRIV, Need::Mount],
            _ => &[],
        }
    }
}
