// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport on a pseudo-terminal, a character device whose other end the test holds.

use super::*;
use nix::poll::PollFlags;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use proptest::prelude::*;
use rustix::io::ioctl_fionread;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use tcti_core::Session;
use tcti_core::Tcti;
use tcti_core::io::wait_for;
use tcti_core::session::Received;
use tcti_core::testing::exchange::{Peer, exchanges, follow_the_ideal};
use tcti_core::testing::{Forked, GET_RANDOM, OK, Stranger, run_polling};

fn conf(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn open_path(path: &Path) -> Result<Device> {
    Device::open(Conf::new(Some(&conf(path))))
}

/// Opens a raw pseudo-terminal: the TPM's end, the slave that keeps it open, and a session on its device.
fn device() -> (File, OwnedFd, Session<Device>) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let mut attributes = tcgetattr(&slave).unwrap();
    cfmakeraw(&mut attributes);
    tcsetattr(&slave, SetArg::TCSANOW, &attributes).unwrap();
    let device = open_path(&ttyname(&slave).unwrap()).unwrap();
    (File::from(master), slave, Session::new(device))
}

fn expect_command(tpm: &mut File) {
    let mut command = vec![0; GET_RANDOM.len()];
    tpm.read_exact(&mut command).unwrap();
    assert_eq!(command, GET_RANDOM);
}

#[test]
fn a_command_receives_its_response() {
    let (mut tpm, _slave, mut session) = device();
    for _ in 0..2 {
        session.transmit(GET_RANDOM).unwrap();
        expect_command(&mut tpm);
        tpm.write_all(OK).unwrap();
        assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
}

#[test]
fn nothing_is_sent_at_init() {
    let (tpm, _slave, _session) = device();
    assert_eq!(wait_for(tpm.as_fd(), PollFlags::POLLIN, &Deadline::Now), Ok(false));
}

#[test]
fn a_timeout_loses_no_bytes() {
    let (mut tpm, _slave, mut session) = device();
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    assert_eq!(session.receive(None, Wait::Millis(5)), Err(ReturnCode::TRY_AGAIN.into()));
    tpm.write_all(&OK[..7]).unwrap();
    while session.receive(None, Wait::Millis(1)).is_err() {
        if session.receive(None, Wait::Millis(5)) == Err(ReturnCode::TRY_AGAIN.into()) {
            break;
        }
    }
    tpm.write_all(&OK[7..]).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn the_device_can_be_polled() {
    let (mut tpm, _slave, mut session) = device();
    session.transmit(GET_RANDOM).unwrap();
    let handle = session.poll_handle().unwrap();
    assert_eq!(handle.events, nix::libc::POLLIN);
    assert!(handle.fd > 2);
    tpm.write_all(OK).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_malformed_response_costs_one_command() {
    let (mut tpm, _slave, mut session) = device();
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    tpm.write_all(&[0xff; 20]).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    tpm.write_all(OK).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

/// Closing the resource manager's device would lose what was loaded.
#[test]
fn an_error_keeps_the_device_open() {
    let (mut tpm, slave, _) = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tpm");
    symlink(ttyname(&slave).unwrap(), &path).unwrap();
    let mut session = Session::new(open_path(&path).unwrap());
    std::fs::remove_file(&path).unwrap(); // it cannot be opened again
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    tpm.write_all(&[0xff; 20]).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    tpm.write_all(OK).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn stale_responses_are_dropped_before_a_command() {
    let (mut tpm, slave, mut session) = device();
    tpm.write_all(&[OK, &[0; 3980]].concat()).unwrap();
    while ioctl_fionread(&slave).unwrap() < 4000 {
        std::thread::yield_now();
    }
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    tpm.write_all(OK).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

/// A process may be killed after it has taken the event and before it has read the response.
#[test]
fn a_response_whose_event_was_taken_is_never_taken_for_a_later_one() {
    let (mut tpm, _slave, mut session) = device();
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    tpm.write_all(&[OK, &[0; 10]].concat()).unwrap();
    assert_eq!(session.transport_mut().watched().unwrap().wait(&Deadline::Never), Ok(true));
    session.preempt(|_| Ok(())).unwrap();
    session.transmit(GET_RANDOM).unwrap();
    expect_command(&mut tpm);
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    tpm.write_all(OK).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_removed_tpm_or_a_second_failure_ends_the_connection() {
    let mut watched = WatchedDevice::open(Path::new("/dev/null")).unwrap();
    for refusal in [Errno::EINVAL, Errno::ENOMEM, Errno::E2BIG, Errno::EBUSY, Errno::ETIME, Errno::ENOENT] {
        assert!(!watched.is_fatal(refusal), "{refusal}");
    }
    for doubt in [Errno::EIO, Errno::EFAULT] {
        assert!(!watched.is_fatal(doubt));
        watched.succeeded();
    }
    assert!(!watched.is_fatal(Errno::EIO));
    assert!(watched.is_fatal(Errno::EFAULT));
    for end in [Errno::ENODEV, Errno::EPIPE] {
        assert!(WatchedDevice::open(Path::new("/dev/null")).unwrap().is_fatal(end));
    }
}

/// A pseudo-terminal has no entry in sysfs, like a device whose driver is gone.
#[test]
fn the_first_failure_ends_the_connection_to_an_unregistered_device() {
    let (_tpm, slave, _session) = device();
    let mut watched = WatchedDevice::open(&ttyname(&slave).unwrap()).unwrap();
    assert_eq!(watched.is_fatal(Errno::EIO), Path::new("/sys/dev/char").exists());
}

/// For a driver without poll, Linux reports that it is ready.
#[test]
fn a_driver_without_poll_is_not_watched() {
    assert!(!WatchedDevice::open(Path::new("/dev/null")).unwrap().is_watched());
    let (_tpm, slave, _session) = device();
    assert!(WatchedDevice::open(&ttyname(&slave).unwrap()).unwrap().is_watched());
}

#[test]
fn a_device_that_disappears_is_an_error() {
    let (tpm, _slave, mut session) = device();
    session.transmit(GET_RANDOM).unwrap();
    drop(tpm);
    let gone = session.receive(Some(4096), Wait::Forever).unwrap_err();
    assert!([ReturnCode::NO_CONNECTION, ReturnCode::IO_ERROR].contains(&gone.code()), "{gone:?}");
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::IO_ERROR.into()));
}

#[test]
fn the_poll_handle_serves_a_device_that_is_opened_again() {
    let terminals: Vec<_> = (0..2).map(|_| device()).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tpm");
    symlink(ttyname(&terminals[0].1).unwrap(), &path).unwrap();
    let mut session = Session::new(open_path(&path).unwrap());
    let handle = session.poll_handle().unwrap();
    let answer = |mut tpm: &File| {
        let mut command = vec![0; GET_RANDOM.len()];
        tpm.read_exact(&mut command).unwrap();
        tpm.write_all(OK).unwrap();
    };
    for (tpm, slave, _) in &terminals {
        std::fs::remove_file(&path).unwrap();
        symlink(ttyname(slave).unwrap(), &path).unwrap();
        session.transport_mut().watched = None; // as after an error that ends the connection
        for _ in 0..2 {
            std::thread::scope(|scope| {
                scope.spawn(|| answer(tpm));
                // A terminal also wakes the device when it can be written to again.
                assert_eq!(run_polling(&mut session, handle, 10).unwrap(), OK);
            });
        }
    }
}

#[test]
fn only_a_character_device_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(open_path(&file).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_path(dir.path()).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_path(Path::new("/dev/no-such-tpm")).err(), Some(ReturnCode::IO_ERROR.into()));
}

/// Both ends of a pseudo-terminal, which transfers bytes between them with some delay.
struct Ends {
    tpm: File,
    slave: OwnedFd,
}

impl Peer for Ends {
    /// The device is also woken when the terminal becomes writable again.
    const IS_RESTLESS: bool = true;

    fn command(&mut self, size: usize) -> Vec<u8> {
        self.tpm.command(size)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.tpm.send(bytes);
    }

    /// Counts at the slave: the watched file descriptor is an epoll instance.
    fn unread(&self, _watched: RawFd) -> usize {
        ioctl_fionread(&self.slave).unwrap().try_into().unwrap()
    }
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(4000)) {
        let (tpm, slave, mut session) = device();
        follow_the_ideal(&mut session, &mut Ends { tpm, slave }, &exchanges);
    }
}

/// The pseudo-terminal, unlike a TPM, keeps the response to a command of a connection that was closed.
#[test]
fn files_that_a_program_opens_after_closing_every_descriptor_are_left_alone() {
    for kind in [Stranger::file, Stranger::socket] {
        for (is_due, closes_all) in [(false, true), (true, true), (false, false), (true, false)] {
            let child = Forked::asks(|| {
                let (mut tpm, slave, mut session) = device();
                let mut stranger = kind();
                if is_due {
                    session.transmit(GET_RANDOM).unwrap();
                    expect_command(&mut tpm);
                }
                let device = session.transport().watched.as_ref().unwrap().as_fd().as_raw_fd();
                let others = [tpm.as_raw_fd(), slave.as_raw_fd(), if closes_all { -1 } else { device }];
                stranger.take_over(&others);
                let is_lost = session.receive(Some(4096), Wait::Millis(0));
                assert_eq!(is_lost.is_err_and(|error| error == ReturnCode::IO_ERROR.into()), is_due);
                for _ in 0..2 {
                    session.transmit(GET_RANDOM).unwrap();
                    expect_command(&mut tpm);
                    tpm.write_all(OK).unwrap();
                    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
                }
                assert!(stranger.is_untouched());
                stranger.take_over(&others);
                drop(session);
                stranger.is_untouched()
            });
            assert_eq!(child.status(), Some(0), "a response is due: {is_due}, all are closed: {closes_all}");
        }
    }
}
