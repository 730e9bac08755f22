// SPDX-License-Identifier: BSD-2-Clause
//! The bus of the LetsTrust-TPM2Go on a simulated stick in this process, with libtpms behind it: more commands and
//! faults than through the kernel's USB stack, which `usb` uses.

use crate::target::{Abilities, BROKEN, Keeps, Now, Refusals, SPOILT, Strike, TAKEN, Target};
use fastrand::Rng;
use rusb::Error;
use sim_tis::{Death, TctiTpm};
use sim_tpm2go::{ENDPOINT_IN, ENDPOINT_OUT, Faults, Reply, When};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tcti_core::Tcti;
use tcti_core::{Conf, Open, Result, ReturnCode, Session};
use tcti_spi_ltt2go::bridge::{Bridge, Find, Stick};
use tcti_tis::Tis;

const SERIAL: &str = "soak";

/// The fault that takes the power of the TPM.
const PULLED_OUT: &str = "a stick pulled out";

/// The one stick.
static SOCKET: Mutex<Option<Plugged>> = Mutex::new(None);

struct Plugged {
    stick: sim_tpm2go::Stick,
    claimed: bool,
}

fn socket() -> MutexGuard<'static, Option<Plugged>> {
    SOCKET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_stick<T>(work: impl FnOnce(&mut sim_tpm2go::Stick) -> T) -> T {
    work(&mut socket().as_mut().unwrap().stick)
}

/// SET_CONFIGURATION 1, as the kernel does it when a stick is plugged in.
fn configure(stick: &mut sim_tpm2go::Stick) {
    assert_eq!(stick.control([0, 9, 1, 0, 0, 0, 0, 0]), Reply::Data(Vec::new()));
}

struct Here;

impl Find for Here {
    type Stick = Claimed;

    fn parse(_conf: Conf<'_>) -> Result<Here> {
        Ok(Here)
    }

    fn find(&self, same: Option<&str>) -> Result<Claimed> {
        let mut socket = socket();
        let plugged = socket.as_mut().filter(|plugged| plugged.stick.is_plugged());
        let plugged = plugged.ok_or(if same.is_some() { ReturnCode::NO_CONNECTION } else { ReturnCode::IO_ERROR })?;
        assert!(!plugged.claimed, "claimed twice");
        plugged.claimed = true;
        Ok(Claimed)
    }
}

/// The stick while it is claimed.
struct Claimed;

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(plugged) = socket().as_mut() {
            plugged.claimed = false;
        }
    }
}

fn data(reply: Reply) -> rusb::Result<Vec<u8>> {
    match reply {
        Reply::Data(data) => Ok(data),
        Reply::Stall => Err(Error::Pipe),
        Reply::Overflow => Err(Error::Overflow),
        Reply::Nak | Reply::Silence => Err(Error::Timeout),
        Reply::Gone => Err(Error::NoDevice),
    }
}

fn fetch(stick: &mut sim_tpm2go::Stick, into: &mut [u8]) -> rusb::Result<usize> {
    let came = data(stick.bulk_in(ENDPOINT_IN, into.len()))?;
    into[..came.len()].copy_from_slice(&came);
    Ok(came.len())
}

/// Clears the halt of both endpoints after a bulk transfer that was refused, as the module's own stick does.
fn heal<T>(stick: &mut sim_tpm2go::Stick, result: rusb::Result<T>) -> rusb::Result<T> {
    if matches!(result, Err(Error::Pipe)) {
        for endpoint in [ENDPOINT_OUT, ENDPOINT_IN] {
            stick.control([2, 1, 0, 0, endpoint, 0, 0, 0]);
        }
    }
    result
}

impl Stick for Claimed {
    fn serial(&self) -> &str {
        SERIAL
    }

    fn announce(&mut self, count: u16) -> rusb::Result<()> {
        let [low, high] = count.to_le_bytes();
        with_stick(|stick| data(stick.control([0xc0, 0xca, 3, 0, low, high, 0, 0])).map(drop))
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize> {
        with_stick(|stick| {
            let exchanged = data(stick.bulk_out(ENDPOINT_OUT, out)).and_then(|_| fetch(stick, into));
            heal(stick, exchanged)
        })
    }

    fn read(&mut self, into: &mut [u8], _timeout: Duration) -> rusb::Result<usize> {
        with_stick(|stick| {
            let read = fetch(stick, into);
            heal(stick, read)
        })
    }

    fn set_at_work(&mut self, _at_work: bool) -> bool {
        true
    }
}

/// The simulated stick under load.
pub(crate) struct Simulated {
    /// The number of strikes when the last fault was made.
    before: u64,
}

impl Simulated {
    /// Plugs the stick in.
    pub(crate) fn plug_in() -> Simulated {
        let chip = TctiTpm::open(c"libtpms").unwrap();
        let mut stick = sim_tpm2go::Stick::new(SERIAL, chip, Faults::default());
        configure(&mut stick);
        *socket() = Some(Plugged { stick, claimed: false });
        Simulated { before: 0 }
    }
}

/// Draws a fault of the USB or of the TPM's interface. None inverts bits, because the bus has no checksum to detect
/// that.
fn draw(rng: &mut Rng) -> (&'static str, &'static [ReturnCode], Faults) {
    // A command has about 16 transfers of each kind.
    let when = When::Once(rng.u32(..16));
    let from = When::From(rng.u32(..16));
    let mut faults = Faults { whole_packets: rng.bool(), ..Faults::default() };
    let fault = match rng.u8(..40) {
        0..2 => (&mut faults.stall_control, when, "a refused announcement"),
        2..4 => (&mut faults.nak_control, when, "a lost announcement"),
        4..6 => (&mut faults.stall_out, when, "a stall"),
        6..8 => (&mut faults.halt_out, when, "a halted endpoint"),
        8..10 => (&mut faults.nak_out, when, "a bulk OUT without a reply"),
        10..12 => (&mut faults.stall_in, when, "a stall"),
        12..14 => (&mut faults.halt_in, when, "a halted endpoint"),
        14..17 => (&mut faults.nak_in, when, "a bulk IN without a reply"),
        17..20 => (&mut faults.short_in, when, "too few bytes"),
        20..23 => (&mut faults.long_in, when, "too many bytes"),
        23..25 => (&mut faults.empty_in, when, "no bytes"),
        25 => (&mut faults.halt_in, from, "a dead endpoint"),
        26..30 => (&mut faults.unplug, when, PULLED_OUT),
        n => {
            let tis = &mut faults.tis;
            let few = rng.u32(1..60);
            let (fault, codes): (_, &[ReturnCode]) = match n {
                30 => {
                    tis.burst = rng.u16(1..64);
                    ("a small burst count", &[])
                }
                31 => {
                    tis.burst_zero_every = rng.u32(2..5);
                    ("a burst count of zero", &[])
                }
                32 => {
                    tis.ready_after = rng.u32(..5);
                    ("a TPM that is ready late", &[])
                }
                33 => {
                    tis.data_after = rng.u32(..8);
                    ("a TPM that responds late", &[])
                }
                34 => {
                    tis.lose = rng.u32(1..4);
                    ("lost bytes", SPOILT)
                }
                35 => {
                    tis.cut_at = Some(rng.usize(..50));
                    ("a truncated response", SPOILT)
                }
                36 => {
                    tis.stall_at = Some(rng.usize(..50));
                    ("a response that stops", SPOILT)
                }
                37 => {
                    tis.garbage = Some([u32::MAX, 0, 0xdead_beef][rng.usize(..3)]);
                    ("an invalid status", SPOILT)
                }
                38 => {
                    tis.death = Some(Death { after: few, level: if rng.bool() { 0xff } else { 0 } });
                    ("a dead bus", SPOILT)
                }
                _ => {
                    tis.through_idle = true;
                    ("a TPM that goes to Idle", &[])
                }
            };
            return (fault, codes, faults);
        }
    };
    let (field, when, fault) = fault;
    *field = when;
    (fault, BROKEN, faults)
}

impl Target for Simulated {
    fn slots(&self) -> usize {
        1
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        Ok(Box::new(Session::new(Tis::<Bridge<Here>>::open(Conf::new(None))?)))
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Tpm
    }

    fn strike(&mut self, _slot: usize, _now: Now, rng: &mut Rng) -> Option<Strike> {
        let (fault, codes, faults) = draw(rng);
        self.before = with_stick(|stick| {
            *stick.faults() = faults;
            stick.strikes()
        });
        // A TPM may be busy until the fault ends.
        Some(Strike { endless: true, unloads: fault == PULLED_OUT, ..Strike::of_one(fault, codes) })
    }

    fn heal(&mut self, _slot: usize) -> bool {
        with_stick(|stick| {
            *stick.faults() = Faults::default();
            if !stick.is_plugged() {
                stick.plug();
                configure(stick);
            }
            stick.strikes() > self.before
        })
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            forks: false,
            refusals: Refusals::Tpm,
            largest: TAKEN,
            signals: false,
            cancel: false,
            locality: false,
            poll: false,
        }
    }

    fn rest(&mut self) -> Vec<String> {
        let claimed = socket().as_ref().is_some_and(|plugged| plugged.claimed);
        claimed.then(|| "the stick is claimed although no context is open".to_owned()).into_iter().collect()
    }

    /// Reports violations of the USB protocol by the driver.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        let offences = with_stick(|stick| stick.offences());
        *socket() = None;
        offences.into_iter().map(Err).collect()
    }
}
