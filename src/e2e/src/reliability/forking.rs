// SPDX-License-Identifier: BSD-2-Clause
//! The host program forks. What is under way is the parent's, and it gets its answer whatever the child does.

use super::case::Case;
use super::module::Module;
use super::outcome::Outcome;

/// What the child does with the context it inherited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forking {
    /// Asks for the response that the parent awaits.
    Receives,
    /// Sends a command of its own while the parent awaits a response.
    Commands,
    /// Finalizes while the parent awaits a response.
    Finalizes,
    /// Sends a command of its own between two of the parent.
    CommandsBetween,
}

/// Milliseconds that the child waits for its response.
const PATIENCE: u32 = 1000;

impl Forking {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let mut case = Case::open(module);
        let program = &mut case.program;
        let is_between = matches!(self, Forking::CommandsBetween);
        if !is_between {
            program.succeed("transmit");
        }
        assert_eq!(program.step("fork"), "child");
        let code = match self {
            Forking::Receives => program.step(&format!("receive {PATIENCE}")),
            Forking::Commands | Forking::CommandsBetween => match program.step("transmit").as_str() {
                "SUCCESS" => program.step(&format!("receive {PATIENCE}")),
                code => code.to_owned(),
            },
            Forking::Finalizes => program.step("finalize"),
        };
        assert_eq!(program.step("exit"), "exit 0");
        program.succeed(if is_between { "random" } else { "receive -1" });
        case.ends(code)
    }
}
