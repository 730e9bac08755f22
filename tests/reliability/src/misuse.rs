// SPDX-License-Identifier: BSD-2-Clause
//! Calls in the wrong order, and localities. A call that is refused must not disturb the exchange under way.

use super::case::Case;
use super::module::Module;
use super::outcome::Outcome;
use super::program::Wait;

#[derive(Clone, Copy, Debug)]
pub(super) enum Misuse {
    /// Receive without a command.
    ReceiveFirst,
    /// Transmit while a response is due.
    TransmitTwice,
    /// SetLocality while a response is due.
    LocalityBetween,
    /// SetLocality to one that is reserved.
    ReservedLocality,
    /// SetLocality to one that exists.
    Locality,
}

impl Misuse {
    pub(super) fn observe(self, module: Module) -> Outcome {
        Case::open(module).endures(
            |case| {
                let program = &mut case.program;
                match self {
                    Misuse::ReceiveFirst => program.receive(Wait::Forever).reply(),
                    Misuse::ReservedLocality => program.set_locality(5).reply(),
                    Misuse::Locality => program.set_locality(0).reply(),
                    Misuse::TransmitTwice => {
                        program.transmit().succeeds();
                        let code = program.transmit_again().reply();
                        program.receive(Wait::Forever).succeeds();
                        code
                    }
                    Misuse::LocalityBetween => {
                        program.transmit().succeeds();
                        let code = program.set_locality(0).reply();
                        program.receive(Wait::Forever).succeeds();
                        code
                    }
                }
            },
            Case::restore,
        )
    }
}
