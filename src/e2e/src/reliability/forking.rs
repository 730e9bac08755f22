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

impl Forking {
    pub(super) fn observe(self, module: Module) -> Outcome {
        Case::open(module).times(1).endures(|case| self.happen(module, case), Case::restore)
    }

    fn happen(self, module: Module, case: &mut Case) -> String {
        let program = &mut case.program;
        let is_between = matches!(self, Forking::CommandsBetween);
        if !is_between {
            program.succeed("transmit");
        }
        assert_eq!(program.step("fork"), "child");
        let code = match self {
            Forking::Receives => program.step("receive -1"),
            Forking::Commands | Forking::CommandsBetween => match program.step("transmit").as_str() {
                "SUCCESS" => program.step(&format!("receive {}", self.patience(module))),
                code => code.to_owned(),
            },
            Forking::Finalizes => program.step("finalize"),
        };
        program.succeed("mark");
        assert_eq!(program.step("exit"), "exit 0");
        let has_sent = matches!(self, Forking::Commands | Forking::CommandsBetween) && code != "IO_ERROR";
        if has_sent {
            // Over what is not the parent's. The two write to one capture, and to one state file in turn.
            let of_both = u64::from(matches!(module, Module::Pcap | Module::Libtpms));
            assert_eq!(program.number("marked"), of_both, "files that both have open");
        }
        program.succeed(if is_between { "random" } else { "receive -1" });
        code
    }

    /// Milliseconds that the child waits for its response. It waits in vain where the server has a connection of the
    /// parent and serves one at a time.
    fn patience(self, module: Module) -> i32 {
        use Module::{Loader, Pcap, Swtpm, SwtpmKept, SwtpmUnix};
        match (self, module) {
            (Forking::Commands, Swtpm | SwtpmUnix | SwtpmKept | Pcap | Loader) | (_, SwtpmKept) => 1000,
            _ => -1,
        }
    }
}
