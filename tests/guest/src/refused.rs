// SPDX-License-Identifier: BSD-2-Clause
//! What the kernel's driver and its resource manager refuse, what is still loaded then, and what is said.

use crate::programs;
use crate::vtpm::Vtpm;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use tss2_kit::need::SWTPM;
use tss2_kit::scenario::refused::{BY_THE_TPM, IO_ERROR, Refusals, nothing_is_lost};
use tss2_kit::stage;
use tss2_kit::suite::Suite;

/// Said once of a connection that is at its end.
const LOST: &str = "What was loaded through this connection is lost; the next command reopens the device";

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("refused::nothing_is_lost_on_tpm0", &[], || {
        nothing_is_lost("device:/dev/tpm0", Refusals { size: IO_ERROR, ..BY_THE_TPM });
    });
    suite.test("refused::nothing_is_lost_on_tpmrm0", &[], || {
        nothing_is_lost("device:/dev/tpmrm0", Refusals { handle: IO_ERROR, size: IO_ERROR, ..BY_THE_TPM });
    });
    suite.test("refused::nothing_is_lost_where_the_kernel_has_less_room_than_the_tpm", &[SWTPM], fourth_object);
    suite.test("refused::an_answer_that_is_none_costs_nothing", &[SWTPM], garbled_once);
    suite.test("refused::an_error_again_and_again_is_the_end_of_the_connection", &[SWTPM], garbled_again);
    suite.test("refused::a_tpm_that_is_removed_is_said_to_be_lost_once", &[SWTPM], removed);
    suite.test("refused::a_session_that_the_kernel_ends_ends_nothing_for_ever", &[], session);
}

fn fourth_object() {
    let vtpm = Vtpm::plug_in();
    let refusals = Refusals { handle: IO_ERROR, fourth: IO_ERROR, size: IO_ERROR };
    let said = nothing_is_lost(&vtpm.name_conf(), refusals);
    let device = vtpm.manager();
    let of_the_fourth = format!(
        "cannot read the response from {}: Out of memory: the resource manager has room for three objects and \
         three sessions per connection. Those already loaded stay: flush one before loading another (tpm2_flushcontext)",
        device.display()
    );
    assert_eq!(said.matches(&of_the_fourth).count(), 2, "{said}");
    assert!(!said.contains(LOST), "{said}");
}

/// A context that is driven step by step, with one object in it.
struct Steps(Child);

impl Steps {
    fn open(name_conf: &str) -> Steps {
        let mut command = stage::command(programs::steps());
        command.arg(name_conf).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut steps = Steps(command.spawn().unwrap());
        assert_eq!(steps.answer(), "SUCCESS");
        assert_eq!(steps.step("create"), "SUCCESS");
        steps
    }

    fn step(&mut self, step: &str) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{step}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends it; gives what was logged.
    fn said(mut self) -> String {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn garbled_once() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::open(&vtpm.name_conf());
    for _ in 0..2 {
        vtpm.garble(1);
        assert_eq!(steps.step("random"), "IO_ERROR");
        assert_eq!(steps.step("read"), "SUCCESS");
    }
    let said = steps.said();
    assert!(
        said.contains(": Bad address: the driver could not use the answer of the TPM") && !said.contains(LOST),
        "{said}"
    );
}

fn garbled_again() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::open(&vtpm.name_conf());
    vtpm.garble(2);
    assert_eq!(steps.step("random"), "IO_ERROR");
    assert_eq!(steps.step("random"), "IO_ERROR");
    assert_eq!(steps.step("random"), "SUCCESS");
    assert_eq!(steps.step("read"), "IO_ERROR", "the object of the connection before");
    assert_eq!(steps.step("create"), "SUCCESS");
    assert_eq!(steps.step("read"), "SUCCESS");
    let said = steps.said();
    assert_eq!(said.matches(LOST).count(), 1, "{said}");
}

fn removed() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::open(&vtpm.name_conf());
    vtpm.kill();
    for _ in 0..3 {
        assert_eq!(steps.step("random"), "IO_ERROR");
    }
    // It is closed: the next TPM has the same number.
    let next = Vtpm::plug_in();
    assert_eq!(next.name_conf(), vtpm.name_conf());
    assert_eq!(steps.step("random"), "SUCCESS");
    let said = steps.said();
    assert_eq!(said.matches(LOST).count(), 1, "{said}");
    assert_eq!(said.matches("cannot open").count(), 2, "{said}");
}

/// Linux 6.1 ends the sessions of a connection when it refuses a command, and cannot serve the connection any more. Later
/// ones can.
fn session() {
    let mut steps = Steps::open("device:/dev/tpmrm0");
    assert_eq!(steps.step("session"), "SUCCESS");
    assert_eq!(steps.step("refused"), "IO_ERROR");
    let codes: Vec<String> = (0..3).map(|_| steps.step("random")).collect();
    let said = steps.said();
    assert_eq!(codes[2], "SUCCESS", "{codes:?}\n{said}");
    assert_eq!(said.matches(LOST).count(), usize::from(codes[1] != "SUCCESS"), "{said}");
}
