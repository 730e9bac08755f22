// SPDX-License-Identifier: BSD-2-Clause
//! The transport cmd, with a command that responds with files of the fuzzer: the caller gets exactly the content of a
//! file that is a response, or an error, and the next command works.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use tcti_cmd::Cmd;
use tcti_core::Tcti;
use tcti_core::session::{Received, State};
use tcti_core::{Conf, Open, Result, ReturnCode, Session, Wait};
use tss2_faults::{Framing, Response, Step};
use tss2_fuzz::message::{COMMAND_SIZE, command, is_response, response};

/// The size of a response, and the steps that write its file.
#[derive(Arbitrary, Debug)]
struct Reply(u16, Vec<Step>);

static DIR: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a directory").keep());

/// Runs the command, which responds with one file after the other and exits after a file that is not a response.
fn open() -> Session<Cmd> {
    let turn = format!("head -c {COMMAND_SIZE} >&2; cat $f; [ -e $f.end ] && exit");
    let line = format!("cd {} && exec 2>/dev/null; for f in 0 1 2; do {turn}; done", DIR.display());
    let line = CString::new(line).expect("no NUL");
    Session::new(Cmd::open(Conf::new(Some(&line))).expect("a shell"))
}

fn put(name: u32, file: &[u8]) {
    fs::write(DIR.join(format!("{name}")), file).expect("a file");
    let end = DIR.join(format!("{name}.end"));
    match is_response(file) {
        true => drop(fs::remove_file(end)), // it may not exist
        false => fs::write(end, "").expect("a file"),
    }
}

fn run(session: &mut Session<Cmd>, number: u32) -> Result<Vec<u8>> {
    session.transmit(&command(number))?;
    match session.receive(Some(usize::MAX), Wait::Forever)? {
        Received::Response(bytes) => Ok(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

fuzz_target!(|replies: [Reply; 2]| {
    tss2_fuzz::listen_to_log();
    let files: Vec<Vec<u8>> = (0..)
        .zip(&replies)
        .map(|(number, Reply(size, steps))| {
            Response::new(Framing::Raw, response(number, *size)).bytes(&steps[..steps.len().min(8)]).0
        })
        .collect();
    for (name, file) in (0..).zip(&files) {
        put(name, file);
    }
    put(2, &response(2, 5));
    let mut session = open();
    for (number, file) in (0..).zip(&files) {
        match run(&mut session, number) {
            Ok(bytes) => assert!(is_response(&bytes) && file.starts_with(&bytes)),
            Err(error) => {
                assert!([ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE].contains(&error.code()), "{error:?}");
                assert!(!is_response(file), "a response was refused");
                assert_eq!(session.state(), State::Transmit);
                // The module starts it again, and it responds with its first file.
                put(0, &response(9, 9));
                assert_eq!(run(&mut session, 9), Ok(response(9, 9)));
                return;
            }
        }
    }
    assert_eq!(run(&mut session, 2), Ok(response(2, 5)));
});
