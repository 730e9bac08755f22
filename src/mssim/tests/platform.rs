// SPDX-License-Identifier: BSD-2-Clause
//! The platform channel: commands on it, and what becomes of a TPM command when it fails.

use super::*;
use std::net::TcpStream;

/// Or two programs would each have one channel of a simulator, and wait for the other.
#[test]
fn the_data_channel_is_connected_when_the_platform_channel_is_served() {
    let ((data, port), (ctrl, platform_port)) = (listen(), listen());
    let platform = spawn(move || {
        let (mut peer, _) = ctrl.accept().unwrap();
        for _ in [MS_SIM_POWER_ON, MS_SIM_NV_ON] {
            peer.read_exact(&mut [0; 4]).unwrap();
            data.set_nonblocking(true).unwrap();
            assert!(data.accept().is_err(), "a connection of a program that may have to wait");
            peer.write_all(&[0; 4]).unwrap();
        }
        data.set_nonblocking(false).unwrap();
        play(data.accept().unwrap().0, exchange()).join().unwrap()
    });
    let mut session = Session::new(open(port, platform_port).unwrap());
    assert_eq!(run(&mut session).unwrap(), OK);
    platform.join().unwrap();
}

/// A platform channel that hangs up after so many codes of its first connection.
fn hangs_up_after(codes: usize, listener: TcpListener) -> JoinHandle<()> {
    spawn(move || {
        for most in [codes, usize::MAX] {
            let (mut peer, _) = listener.accept().unwrap();
            let mut left = 0..most;
            while left.next().is_some() && peer.read_exact(&mut [0; 4]).is_ok() && peer.write_all(&[0; 4]).is_ok() {}
        }
    })
}

#[test]
fn a_platform_channel_that_has_ended_costs_no_command() {
    type Between = fn(&mut Session<Mssim>);
    let cancelled: Between = |session| {
        session.transmit(GET_RANDOM).unwrap();
        session.cancel().unwrap();
    };
    let idle: Between = |_| {};
    for (codes, before, first) in [(3, cancelled, exchange()), (2, idle, Vec::new())] {
        let ((data, port), (ctrl, platform_port)) = (listen(), listen());
        let platform = hangs_up_after(codes, ctrl);
        let data = spawn(move || {
            for steps in [[first, vec![Step::Read(1)]].concat(), [exchange(), vec![Step::Read(4)]].concat()] {
                play(data.accept().unwrap().0, steps).join().unwrap();
            }
        });
        let mut session = Session::new(open(port, platform_port).unwrap());
        before(&mut session);
        while session.transport_mut().link.streams().unwrap().1.is_quiet() {
            std::thread::yield_now();
        }
        if codes == 2 {
            session.preempt(|mssim| mssim.platform(17)).unwrap();
        }
        assert_eq!(run(&mut session).unwrap(), OK);
        drop(session);
        data.join().unwrap();
        platform.join().unwrap();
    }
}

#[test]
fn a_platform_command_goes_beside_a_tpm_command() {
    let (mut session, _data, _platform) = session(vec![exchange()]);
    session.transmit(GET_RANDOM).unwrap();
    session.beside(|mssim| mssim.platform(17)).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_refused_platform_command_costs_the_tpm_command_nothing() {
    let (data, port) = listen();
    let (ctrl, platform_port) = listen();
    let _platform = answering(ctrl, 1, |code| Some(u32::from(code == 99)));
    let data = spawn(move || play(data.accept().unwrap().0, exchange()).join().unwrap());
    let mut session = Session::new(open(port, platform_port).unwrap());
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.beside(|mssim| mssim.platform(99)), Err(ReturnCode::IO_ERROR.into()));
    session.beside(|mssim| mssim.platform(17)).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    data.join().unwrap();
}

#[test]
fn a_lost_platform_channel_ends_the_tpm_command_and_a_cancellation() {
    let (data, port) = listen();
    let (ctrl, platform_port) = listen();
    let platform = answering(ctrl, 2, |code| (code != 9).then_some(0));
    let data = spawn(move || {
        let silent = play(data.accept().unwrap().0, vec![Step::Read(COMMAND)]);
        play(data.accept().unwrap().0, exchange()).join().unwrap();
        silent.join().unwrap();
    });
    let mut session = Session::new(open(port, platform_port).unwrap());
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.cancel(), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(
        session.beside(|mssim| mssim.platform(17)),
        Err(ReturnCode::IO_ERROR.into()),
        "not while the command is lost"
    );
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 9, 1, 11, 10, 20], "the cancellation ends with the new connection");
}

/// Opens against a platform channel that gives this reply to the first command.
fn open_with_reply(reply: &'static [u8]) -> Result<Mssim> {
    let (_data, port) = listen();
    let (ctrl, platform_port) = listen();
    let peer = spawn(move || {
        let mut peer: TcpStream = ctrl.accept().unwrap().0;
        peer.read_exact(&mut [0; 4]).unwrap();
        peer.write_all(reply).unwrap();
        let _ = peer.read(&mut [0; 4]);
    });
    let opened = open(port, platform_port);
    peer.join().unwrap();
    opened
}

#[test]
fn a_platform_channel_that_refuses_or_is_none_is_an_io_error() {
    assert_eq!(open_with_reply(&[0, 0, 0, 1]).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_with_reply(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff]).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_with_reply(&[0, 0]).err(), Some(ReturnCode::IO_ERROR.into()));
}
