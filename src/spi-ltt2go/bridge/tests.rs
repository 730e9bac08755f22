// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the bus on a simulated stick, without libusb: the cost of a command, faults, and stale bytes.

use super::*;
use sim_tpm2go::{Counters, ENDPOINT_IN, ENDPOINT_OUT, Faults, Reply, When};
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::{Session, Wait};
use tcti_tis::Tis;

/// TPM2_GetRandom of 16 bytes.
const GET_RANDOM_16: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];

/// A USB socket, and the state that the tests check.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    plugged: Option<(String, sim_tpm2go::Stick)>,
    /// Whether a program has claimed the interface.
    claimed: bool,
    /// The number of calls that wait for the bus.
    round_trips: u32,
    /// The largest number of bytes per read.
    max_read: Option<usize>,
}

/// Returns a response of 28 bytes, whose last byte is that of the command.
fn tpm(_locality: u8, command: &[u8]) -> Vec<u8> {
    let mut response = vec![0x80, 0x01, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16];
    response.resize(28, command.last().copied().unwrap_or_default());
    response
}

impl Socket {
    fn with(serial: &str, faults: Faults) -> Socket {
        let socket = Socket::default();
        socket.plug(serial, faults);
        socket
    }

    fn plug(&self, serial: &str, faults: Faults) {
        let mut stick = sim_tpm2go::Stick::new(serial, tpm, faults);
        assert_eq!(stick.control([0, 9, 1, 0, 0, 0, 0, 0]), Reply::Data(Vec::new()));
        self.state().plugged = Some((serial.to_owned(), stick));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn counters(&self) -> Counters {
        self.stick(|stick| stick.counters())
    }

    fn stick<T>(&self, look: impl FnOnce(&mut sim_tpm2go::Stick) -> T) -> T {
        look(&mut self.state().plugged.as_mut().unwrap().1)
    }

    fn set(&self, faults: Faults) {
        self.stick(|stick| *stick.faults() = faults);
    }

    fn open(&self) -> Result<Session<Tis<Bridge<Here>>>> {
        Tis::over(Bridge::over(Here(self.clone()))?).map(Session::new)
    }
}

/// Finds the stick in the socket.
struct Here(Socket);

impl Find for Here {
    type Stick = Claimed;

    fn parse(_conf: Conf<'_>) -> Result<Here> {
        Err(ReturnCode::NOT_IMPLEMENTED.into())
    }

    fn find(&self, same: Option<&str>) -> Result<Claimed> {
        let absent = if same.is_some() { ReturnCode::NO_CONNECTION } else { ReturnCode::IO_ERROR };
        let mut state = self.0.state();
        let serial = state.plugged.as_ref().map(|(serial, _)| serial.clone());
        let serial = serial.filter(|serial| same.is_none_or(|same| same == serial)).ok_or(absent)?;
        assert!(!state.claimed, "claimed twice");
        state.claimed = true;
        Ok(Claimed { socket: self.0.clone(), serial })
    }
}

/// The stick while it is claimed.
struct Claimed {
    socket: Socket,
    serial: String,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.socket.state().claimed = false;
    }
}

impl Claimed {
    /// Runs one round trip on the bus.
    fn round_trip<T>(&self, work: impl FnOnce(&mut sim_tpm2go::Stick) -> rusb::Result<T>) -> rusb::Result<T> {
        let mut state = self.socket.state();
        state.round_trips += 1;
        work(&mut state.plugged.as_mut().ok_or(Error::NoDevice)?.1)
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

fn fetch(stick: &mut sim_tpm2go::Stick, into: &mut [u8], max_read: Option<usize>) -> rusb::Result<usize> {
    let most = max_read.unwrap_or(into.len()).min(into.len());
    let came = data(stick.bulk_in(ENDPOINT_IN, most))?;
    into[..came.len()].copy_from_slice(&came);
    Ok(came.len())
}

impl Stick for Claimed {
    fn serial(&self) -> &str {
        &self.serial
    }

    fn announce(&mut self, count: u16) -> rusb::Result<()> {
        let [low, high] = count.to_le_bytes();
        self.round_trip(|stick| data(stick.control([0xc0, 0xca, 3, 0, low, high, 0, 0])).map(drop))
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize> {
        let max_read = self.socket.state().max_read;
        self.round_trip(|stick| {
            data(stick.bulk_out(ENDPOINT_OUT, out))?;
            fetch(stick, into, max_read)
        })
    }

    fn read(&mut self, into: &mut [u8], _timeout: Duration) -> rusb::Result<usize> {
        let max_read = self.socket.state().max_read;
        self.round_trip(|stick| fetch(stick, into, max_read))
    }

    fn set_at_work(&mut self, _at_work: bool) -> bool {
        true
    }
}

fn run(session: &mut Session<Tis<Bridge<Here>>>, mark: u8) -> Result<()> {
    let mut command = GET_RANDOM_16.to_vec();
    command[11] = mark;
    session.transmit(&command)?;
    match session.receive(Some(4096), Wait::Millis(2000))? {
        Received::Response(response) => assert_eq!((response.len(), response[27]), (28, mark)),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[test]
fn a_forked_child_does_not_touch_the_stick() {
    let socket = Socket::with("1", Faults::default());
    let mut bridge = Bridge::over(Here(socket.clone())).unwrap();
    bridge.after_fork(Inheritance::Copies);
    let round_trips = socket.state().round_trips;
    assert_eq!(
        bridge.transfer(Transfer { out: Some(&[0; 5]), into: None, last: true }),
        Err(ReturnCode::NO_CONNECTION.into())
    );
    drop(bridge);
    assert!(
        socket.state().claimed && socket.state().round_trips == round_trips,
        "the stick of the parent is untouched"
    );
}

#[test]
fn a_short_command_costs_eight_transactions_and_sixteen_round_trips() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.stick(sim_tpm2go::Stick::reset_counters);
    socket.state().round_trips = 0;
    run(&mut session, 16).unwrap();
    let counters = socket.counters();
    assert_eq!((counters.spi, counters.control, counters.bulk_out, counters.bulk_in), (8, 8, 8, 8));
    assert_eq!(socket.state().round_trips, 16);
}

#[test]
fn finalize_releases_the_locality_and_the_interface() {
    let socket = Socket::with("1", Faults::default());
    let session = socket.open().unwrap();
    assert!(socket.state().claimed && socket.stick(|stick| stick.has_locality()));
    drop(session);
    assert!(!socket.state().claimed && !socket.stick(|stick| stick.has_locality()));
    assert_eq!(socket.stick(|stick| stick.offences()), Vec::<String>::new());
}

#[test]
fn stale_bytes_of_a_killed_program_are_dropped() {
    let socket = Socket::with("1", Faults { whole_packets: true, ..Faults::default() });
    for _ in 0..2 {
        let mut killed = Here(socket.clone()).find(None).unwrap();
        killed.announce(68).unwrap();
        let read_64 = [&[0xbf, 0xd4, 0x0f, 0x00][..], &[0; 64]].concat();
        killed.round_trip(|stick| data(stick.bulk_out(ENDPOINT_OUT, &read_64))).unwrap();
        // Another program was killed while it wrote.
        drop(killed);
        let mut killed = Here(socket.clone()).find(None).unwrap();
        killed.announce(68).unwrap();
        killed.round_trip(|stick| data(stick.bulk_out(ENDPOINT_OUT, &[0x80]))).unwrap();
        drop(killed);
        let mut session = socket.open().unwrap();
        run(&mut session, 1).unwrap();
        run(&mut session, 2).unwrap();
    }
}

#[test]
fn unsolicited_bytes_cost_one_command() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.stick(|stick| {
        stick.control([0xc0, 0xca, 3, 0, 36, 0, 0, 0]);
        stick.bulk_out(ENDPOINT_OUT, &[&[0x9f, 0xd4, 0x0f, 0x00][..], &[0; 32]].concat());
    });
    assert!(run(&mut session, 1).is_err(), "the stale bytes are not its response");
    for mark in 2..5 {
        run(&mut session, mark).unwrap();
    }
}

#[test]
fn bytes_may_arrive_in_pieces() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.state().max_read = Some(3);
    run(&mut session, 1).unwrap();
    run(&mut session, 2).unwrap();
}

/// Returns the faults that fail a command, for each kind of transfer.
fn fatal(when: When) -> Vec<(&'static str, Faults)> {
    let none = Faults::default;
    vec![
        ("stall_control", Faults { stall_control: when, ..none() }),
        ("nak_control", Faults { nak_control: when, ..none() }),
        ("stall_out", Faults { stall_out: when, ..none() }),
        ("nak_out", Faults { nak_out: when, ..none() }),
        ("stall_in", Faults { stall_in: when, ..none() }),
        ("nak_in", Faults { nak_in: when, ..none() }),
        ("short_in", Faults { short_in: when, ..none() }),
        ("long_in", Faults { long_in: when, ..none() }),
    ]
}

#[test]
fn a_fault_at_any_transfer_costs_one_command() {
    for at in 0..8 {
        for (name, faults) in fatal(When::Once(at)) {
            let socket = Socket::with("1", Faults::default());
            let mut session = socket.open().unwrap();
            socket.set(faults);
            let got = run(&mut session, 1);
            // The last transfer prepares for the next command; the response is complete by then.
            let wanted = if at == 7 { Ok(()) } else { Err(ReturnCode::IO_ERROR.into()) };
            assert_eq!(got, wanted, "{name} at {at}");
            assert!(!socket.state().claimed, "{name} at {at}");
            assert_eq!(run(&mut session, 2), Ok(()), "{name} at {at}");
            assert_eq!(run(&mut session, 3), Ok(()), "{name} at {at}");
        }
    }
}

#[test]
fn an_empty_packet_is_skipped() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.set(Faults { empty_in: When::Once(3), ..Faults::default() });
    assert_eq!(run(&mut session, 1), Ok(()));
}

#[test]
fn endless_empty_packets_time_out() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.set(Faults { empty_in: When::From(3), ..Faults::default() });
    let begin = Instant::now();
    assert_eq!(run(&mut session, 1), Err(ReturnCode::IO_ERROR.into()));
    assert!(begin.elapsed() + Duration::from_millis(1) >= TIMEOUT && !socket.state().claimed);
    socket.set(Faults::default());
    assert_eq!(run(&mut session, 2), Ok(()));
}

#[test]
fn a_failed_open_releases_the_stick() {
    for (name, faults) in fatal(When::From(0)) {
        let socket = Socket::with("1", faults);
        assert_eq!(socket.open().err(), Some(ReturnCode::IO_ERROR.into()), "{name}");
        assert!(!socket.state().claimed, "{name}");
    }
    for faults in ["garbage_in=0+", "empty_in=0+", "dead_after=2", "claim_after=1000000", "ready_after=1000000"] {
        let socket = Socket::with("1", Faults::parse(faults).unwrap());
        assert_eq!(socket.open().err(), Some(ReturnCode::IO_ERROR.into()), "{faults}");
        assert!(!socket.state().claimed, "{faults}");
    }
}

#[test]
fn an_unplugged_stick_is_no_connection_until_it_is_plugged_in_again() {
    for at in 0..21 {
        let socket = Socket::with("1", Faults::default());
        let mut session = socket.open().unwrap();
        socket.set(Faults { unplug: When::Once(at), ..Faults::default() });
        assert_eq!(run(&mut session, 1), Err(ReturnCode::NO_CONNECTION.into()), "at {at}");
        assert!(!socket.state().claimed);
        socket.state().plugged = None;
        assert_eq!(run(&mut session, 1), Err(ReturnCode::NO_CONNECTION.into()), "at {at}");
        // Another stick does not replace it.
        socket.plug("2", Faults::default());
        assert_eq!(run(&mut session, 1), Err(ReturnCode::NO_CONNECTION.into()), "at {at}");
        socket.plug("1", Faults::default());
        assert_eq!(run(&mut session, 2), Ok(()), "at {at}");
    }
}

#[test]
fn finalize_after_unplugging_sends_nothing() {
    let socket = Socket::with("1", Faults::default());
    let mut session = socket.open().unwrap();
    socket.state().plugged = None;
    assert_eq!(run(&mut session, 1), Err(ReturnCode::NO_CONNECTION.into()));
    socket.plug("1", Faults::default());
    drop(session);
    assert_eq!(socket.counters().total(), 0);
}
