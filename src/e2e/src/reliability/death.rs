// SPDX-License-Identifier: BSD-2-Clause
//! The TPM, or what leads to it, is killed in the middle of a command.

use super::case::Case;
use super::module::Module;
use super::outcome::Outcome;

/// When it dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// Before the command.
    Idle,
    /// Before the command, and it is back by then.
    IdleAndBack,
    /// The command was sent.
    Sent,
    /// While the caller waits for the response.
    Awaited,
    /// The caller knows the size of the response.
    Sized,
    /// The caller sets the locality then.
    Locality,
}

impl Death {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let mut case = Case::open(module);
        let code = match self {
            Death::Idle => {
                case.server.kill();
                case.program.step("random")
            }
            Death::IdleAndBack => {
                case.server.kill();
                case.server.restore();
                case.program.step("random")
            }
            Death::Locality => {
                case.server.kill();
                let code = case.program.step("locality 0");
                return case.ends_with(code, |case| {
                    case.server.restore();
                    assert_ne!(case.program.step("locality 0"), "IO_ERROR", "it is back");
                });
            }
            Death::Sent => {
                case.server.pause();
                case.program.succeed("transmit");
                case.server.kill();
                case.program.step("receive -1")
            }
            Death::Awaited => {
                case.server.pause();
                case.program.succeed("transmit");
                case.program.begin("receive -1");
                case.program.await_blocked();
                case.server.kill();
                case.program.code()
            }
            Death::Sized => {
                case.program.succeed("transmit");
                case.program.succeed("size -1");
                case.server.kill();
                case.program.step("receive -1")
            }
        };
        case.ends(code)
    }
}
