// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the USB, and of the TPM behind it, in the simulated stick.

use super::case::{Case, opens_again};
use super::clock;
use super::module::Module;
use super::outcome::Outcome;
use super::program::{self, Wait};
use super::reply::Code;
use super::server::Server;
use super::stick::{NEVER, StickFault, Transfers};
use std::time::{Duration, Instant};
use tss2_kit::simulator::{Simulator, claimed};

#[derive(Clone, Copy, Debug)]
pub(super) enum Usb {
    /// One of the faults happens in the middle of a command.
    Transfer(&'static [StickFault]),
    /// The same, with a bridge that still works: the stick stays open.
    Tpm(&'static [StickFault]),
    /// The TPM does not become ready; then another stick is plugged in.
    NeverReady,
    /// One of the faults happens during Init.
    DuringInit(&'static [StickFault]),
    /// The response takes seconds, in which 1,000 signals arrive. Their handler is installed without SA_RESTART.
    Interrupted,
    /// The stick is unplugged, at each transfer of a command.
    Unplugged,
    /// The stick is unplugged, at each transfer of Init.
    UnpluggedInInit,
    /// The response arrives after the time-out, and the system clock is set back and forth.
    LateByAnotherClock,
}

/// The longest time that a command may take. A transfer times out after 1 s, a TPM that does not become ready after 2 s. The
/// limit is many times as long, because the virtual machine may be emulated on a busy host.
const LIMIT: Duration = Duration::from_secs(30);
/// A response after 1,000 polls; the module polls at most once per millisecond.
const SLOW: StickFault = StickFault::DataAfter(1000);
const SLOWER: StickFault = StickFault::DataAfter(4000);
/// The number of transfers of a command.
const TRANSFERS: usize = 24;
/// The number of transfers of Init.
const INIT_TRANSFERS: usize = 21;

impl Usb {
    pub(super) fn observe(self) -> Outcome {
        match self {
            Usb::Transfer(faults) => of_each(open, faults, 0, Case::restore),
            Usb::Tpm(faults) => of_each(open, faults, 1, Case::restore),
            Usb::NeverReady => of_each(without_key, &[StickFault::ReadyAfter(NEVER)], 1, |case| {
                let stick = &mut case.server;
                stick.set("");
                assert!(stick.ask("unplug") == "ok" && stick.ask("plug").starts_with("ready "));
                assert_eq!(case.program.get_random().reply(), Code::NoConnection);
            }),
            Usb::DuringInit(faults) => {
                Outcome::of_all(faults.iter().map(|&fault| during_init(Module::Stick.times(), || fault)))
            }
            Usb::UnpluggedInInit => {
                let mut transfers = 0..;
                during_init(INIT_TRANSFERS, || StickFault::Once(Transfers::Unplug, transfers.next().unwrap()))
            }
            Usb::Unplugged => {
                let mut transfers = 0..;
                without_key().times(TRANSFERS).endures(
                    |case| {
                        let fault = StickFault::Once(Transfers::Unplug, transfers.next().unwrap());
                        case.server.set(&fault.to_string());
                        case.program.get_random().reply()
                    },
                    Case::restore,
                )
            }
            Usb::Interrupted => open().times(1).endures(
                |case| {
                    case.server.set(&SLOWER.to_string());
                    case.program.catch_interrupts().succeeds();
                    case.program.transmit().succeeds();
                    case.program.receive(Wait::Forever).begin();
                    for _ in 0..1000 {
                        case.program.interrupt();
                    }
                    let code = case.program.reply();
                    case.server.set("");
                    code
                },
                Case::restore,
            ),
            Usb::LateByAnotherClock => open().times(1).endures(
                |case| {
                    case.server.set(&SLOW.to_string());
                    case.program.transmit().succeeds();
                    let code = clock::keeps_time(|| case.program.receive(Wait::For(400)).reply());
                    case.program.receive(Wait::Forever).succeeds();
                    code
                },
                Case::restore,
            ),
        }
    }
}

/// Opens a context and loads a key.
fn open() -> Case<Simulator> {
    without_key().with_key()
}

/// Opens a context on a stick that is going to be unplugged. The simulated one keeps its power then, and would keep a key.
fn without_key() -> Case<Simulator> {
    Case::with(Module::Stick, Box::new(Simulator::plug_in("0042")), program::command(Module::Stick, "-"))
}

/// Observes each of the faults in a command. `claimed_after` is the number of sticks that stay open afterwards.
fn of_each(
    open: fn() -> Case<Simulator>,
    faults: &[StickFault],
    claimed_after: usize,
    restore: fn(&mut Case<Simulator>),
) -> Outcome {
    Outcome::of_all(faults.iter().map(|fault| {
        open().endures(
            |case| {
                case.server.set(&fault.to_string());
                let since = Instant::now();
                // That a TPM does not become ready shows in the second command.
                let mut code = case.program.get_random().reply();
                if code.is_success() {
                    code = case.program.get_random().reply();
                }
                assert!(since.elapsed() < LIMIT, "{fault}: {:?}", since.elapsed());
                assert_eq!(claimed(), claimed_after, "{fault}");
                code
            },
            restore,
        )
    }))
}

fn during_init(times: usize, mut next: impl FnMut() -> StickFault) -> Outcome {
    let mut stick = Simulator::plug_in("0042");
    opens_again(times, program::command(Module::Stick, "-"), |program| {
        let fault = next();
        stick.set(&fault.to_string());
        let since = Instant::now();
        let code = program.init().reply();
        assert!(since.elapsed() < LIMIT, "{fault}: {:?}", since.elapsed());
        assert_eq!(claimed(), 0, "{fault}");
        stick.restore();
        code
    })
}
