// SPDX-License-Identifier: BSD-2-Clause
//! The caller makes calls out of order, or sets a locality. What is under way is not disturbed by a call that is refused.

use super::case::Case;
use super::module::Module;
use super::outcome::Outcome;

#[derive(Clone, Copy, Debug)]
pub(super) enum Misuse {
    /// It receives without a command.
    ReceivesNothing,
    /// It sends a command while a response is due.
    TransmitsTwice,
    /// It sets the locality while a response is due.
    LocalityBetween,
    /// It sets one that is reserved.
    ReservedLocality,
    /// It sets one that there is.
    Locality,
}

impl Misuse {
    pub(super) fn observe(self, module: Module) -> Outcome {
        Case::open(module).endures(
            |case| {
                let program = &mut case.program;
                match self {
                    Misuse::ReceivesNothing => program.step("receive -1"),
                    Misuse::ReservedLocality => program.step("locality 5"),
                    Misuse::Locality => program.step("locality 0"),
                    Misuse::TransmitsTwice | Misuse::LocalityBetween => {
                        program.succeed("transmit");
                        let code = program.step(if let Misuse::TransmitsTwice = self { "again" } else { "locality 0" });
                        program.succeed("receive -1");
                        code
                    }
                }
            },
            Case::restore,
        )
    }
}
