// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong on the USB and behind it, in the simulated stick.

use super::case::{Case, opens_anew};
use super::clock;
use super::module::Module;
use super::outcome::Outcome;
use super::program;
use super::server::Server;
use std::time::{Duration, Instant};
use tss2_kit::simulator::{Simulator, claimed};

/// The faults are those of `tests/sim/tpm2go/src/faults.rs`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usb {
    /// In the middle of a command.
    Transfer(&'static [&'static str]),
    /// Behind the bridge, which answers well: the stick stays open.
    Tpm(&'static [&'static str]),
    /// A TPM that does not get ready; another one is plugged in.
    NeverReady,
    /// While a context is opened.
    AtInit(&'static [&'static str]),
    /// The answer takes seconds, in which there are 1,000 signals without SA_RESTART.
    Interrupted,
    /// It is pulled out, at each transfer.
    Unplugged,
    /// The same while a context is opened.
    UnpluggedAtInit,
    /// No answer, and the system's clock is set to and fro.
    LateByAnotherClock,
}

/// A transfer is given up after 1 s, a TPM that does not get ready after 2 s. The machine is emulated, and that which
/// does it has other work: this is many times as long.
const LIMIT: Duration = Duration::from_secs(30);
/// So many times the module asks for the response until it is there, at most once in a millisecond.
const SLOW: &str = "data_after=1000";
const SLOWER: &str = "data_after=4000";
/// Transfers of a command.
const TRANSFERS: usize = 24;
/// Transfers of Init.
const INIT_TRANSFERS: usize = 21;

impl Usb {
    pub(super) fn observe(self) -> Outcome {
        match self {
            Usb::Transfer(faults) => of_each(open, faults, 0, Case::restore),
            Usb::Tpm(faults) => of_each(open, faults, 1, Case::restore),
            Usb::NeverReady => of_each(without_key, &["ready_after=1000000"], 1, |case| {
                let stick = &mut case.server;
                stick.set("");
                assert!(stick.ask("unplug") == "ok" && stick.ask("plug").starts_with("ready "));
                assert_eq!(case.program.step("random"), "NO_CONNECTION");
            }),
            Usb::AtInit(faults) => {
                Outcome::of_all(faults.iter().map(|faults| at_init(Module::Stick.times(), || faults.to_string())))
            }
            Usb::UnpluggedAtInit => {
                let mut transfers = 0..;
                at_init(INIT_TRANSFERS, || format!("unplug={}", transfers.next().unwrap()))
            }
            Usb::Unplugged => {
                let mut transfers = 0..;
                without_key().times(TRANSFERS).endures(
                    |case| {
                        case.server.set(&format!("unplug={}", transfers.next().unwrap()));
                        case.program.step("random")
                    },
                    Case::restore,
                )
            }
            Usb::Interrupted => open().times(1).endures(
                |case| {
                    case.server.set(SLOWER);
                    case.program.succeed("catch");
                    case.program.succeed("transmit");
                    case.program.begin("receive -1");
                    for _ in 0..1000 {
                        case.program.interrupt();
                    }
                    let code = case.program.code();
                    case.server.set("");
                    code
                },
                Case::restore,
            ),
            Usb::LateByAnotherClock => open().times(1).endures(
                |case| {
                    case.server.set(SLOW);
                    case.program.succeed("transmit");
                    let code = clock::keeps_time(|| case.program.step("receive 400"));
                    case.program.succeed("receive -1");
                    code
                },
                Case::restore,
            ),
        }
    }
}

/// With a key in the TPM.
fn open() -> Case<Simulator> {
    without_key().with_key()
}

/// For one that is pulled out: the simulated one keeps its power.
fn without_key() -> Case<Simulator> {
    Case::with(Module::Stick, Box::new(Simulator::plug_in("0042")), program::command(Module::Stick, "-"))
}

fn of_each(
    open: fn() -> Case<Simulator>,
    faults: &[&str],
    stay_claimed: usize,
    restore: fn(&mut Case<Simulator>),
) -> Outcome {
    Outcome::of_all(faults.iter().map(|faults| {
        open().endures(
            |case| {
                case.server.set(faults);
                let since = Instant::now();
                // A TPM that is slow to get ready is asked for it with the second command.
                let mut code = case.program.step("random");
                if code == "SUCCESS" {
                    code = case.program.step("random");
                }
                assert!(since.elapsed() < LIMIT, "{faults}: {:?}", since.elapsed());
                assert_eq!(claimed(), stay_claimed, "{faults}");
                code
            },
            restore,
        )
    }))
}

fn at_init(times: usize, mut faults: impl FnMut() -> String) -> Outcome {
    let mut stick = Simulator::plug_in("0042");
    opens_anew(times, program::command(Module::Stick, "-"), |program| {
        let faults = faults();
        stick.set(&faults);
        let since = Instant::now();
        let code = program.step("open");
        assert!(since.elapsed() < LIMIT, "{faults}: {:?}", since.elapsed());
        assert_eq!(claimed(), 0, "{faults}");
        stick.restore();
        code
    })
}
