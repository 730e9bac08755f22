// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the platform channel: its commands, and the TPM command in progress when it fails.

use super::*;
use std::net::TcpStream;
use tcti_core::Tcti;

/// Otherwise two programs, each with one channel of a simulator, would deadlock.
#[test]
fn the_data_channel_is_connected_only_once_the_platform_channel_is_served() {
    let ((data, port), (ctrl, platform_port)) = (listen(), listen());
    let platform = spawn(move || {
        let (mut peer, _) = ctrl.accept().unwrap();
        for _ in [MS_SIM_POWER_ON, MS_SIM_NV_ON] {
            peer.read_exact(&mut [0; 4]).unwrap();
            data.set_nonblocking(true).unwrap();
            assert!(data.accept().is_err(), "the data channel is connected too early");
            peer.write_all(&[0; 4]).unwrap();
        }
        data.set_nonblocking(false).unwrap();
        play(data.accept().unwrap().0, exchange()).join().unwrap()
    });
    let mut session = Session::new(open(port, platform_port).unwrap());
    assert_eq!(run(&mut session).unwrap(), OK);
    platform.join().unwrap();
}

/// Serves the platform channel, and closes its first connection after `codes` commands.
fn close_after(codes: usize, listener: TcpListener) -> JoinHandle<()> {
    spawn(move || {
        for limit in [codes, usize::MAX] {
            let (mut peer, _) = listener.accept().unwrap();
            let mut left = 0..limit;
            while left.next().is_some() && peer.read_exact(&mut [0; 4]).is_ok() && peer.write_all(&[0; 4]).is_ok() {}
        }
    })
}

#[test]
fn a_closed_platform_channel_costs_no_command() {
    let _alone = no_others_fork();
    type Between = fn(&mut Session<Mssim>);
    let cancelled: Between = |session| {
        session.transmit(GET_RANDOM).unwrap();
        session.cancel().unwrap();
    };
    let idle: Between = |_| {};
    for (codes, before, first) in [(3, cancelled, exchange()), (2, idle, Vec::new())] {
        let ((data, port), (ctrl, platform_port)) = (listen(), listen());
        let platform = close_after(codes, ctrl);
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
fn a_platform_command_may_be_sent_during_a_tpm_command() {
    let (mut session, _data, _platform) = session(vec![exchange()]);
    session.transmit(GET_RANDOM).unwrap();
    session.alongside(|mssim| mssim.platform(17)).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_refused_platform_command_does_not_affect_the_tpm_command() {
    let (data, port) = listen();
    let (ctrl, platform_port) = listen();
    let _platform = answering(ctrl, 1, |code| Some(u32::from(code == 99)));
    let data = spawn(move || play(data.accept().unwrap().0, exchange()).join().unwrap());
    let mut session = Session::new(open(port, platform_port).unwrap());
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.alongside(|mssim| mssim.platform(99)), Err(ReturnCode::IO_ERROR.into()));
    session.alongside(|mssim| mssim.platform(17)).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    data.join().unwrap();
}

#[test]
fn a_lost_platform_channel_fails_the_tpm_command_and_ends_the_cancellation() {
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
        session.alongside(|mssim| mssim.platform(17)),
        Err(ReturnCode::IO_ERROR.into()),
        "refused until the loss of the command is reported"
    );
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 9, 1, 11, 10, 20], "the new connection ends the cancellation");
}

/// Opens against a platform channel that sends `reply` to the first command.
fn open_with_reply(reply: &'static [u8]) -> Result<Mssim> {
    let (_data, port) = listen();
    let (ctrl, platform_port) = listen();
    let peer = spawn(move || {
        let mut peer: TcpStream = ctrl.accept().unwrap().0;
        peer.read_exact(&mut [0; 4]).unwrap();
        peer.write_all(reply).unwrap();
        let _ = peer.read(&mut [0; 4]);
    });
    let opened = open_within(500, port, platform_port);
    peer.join().unwrap();
    opened
}

#[test]
fn a_refusal_or_a_reply_of_another_protocol_is_an_io_error() {
    assert_eq!(open_with_reply(&[0, 0, 0, 1]).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_with_reply(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff]).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open_with_reply(&[0, 0]).err(), Some(ReturnCode::IO_ERROR.into()));
}
