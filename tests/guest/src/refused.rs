// SPDX-License-Identifier: BSD-2-Clause
//! Commands that the kernel's driver or its resource manager refuses: which objects stay loaded, and what is logged.

use crate::steps::{Step, Steps};
use crate::vtpm::Vtpm;
use tss2_kit::need::SWTPM;
use tss2_kit::scenario::refused::{IO_ERROR, RefusalCodes, TPM_CODES, keeps_objects};
use tss2_kit::suite::Suite;

/// Logged once for a connection that can no longer be used.
const LOST: &str = "What was loaded through this connection is lost; the next command reopens the device";

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("refused::objects_stay_loaded_on_tpm0", &[], || {
        keeps_objects("device:/dev/tpm0", RefusalCodes { too_large: IO_ERROR, ..TPM_CODES });
    });
    suite.test("refused::objects_stay_loaded_on_tpmrm0", &[], || {
        keeps_objects(
            "device:/dev/tpmrm0",
            RefusalCodes { unknown_handle: IO_ERROR, too_large: IO_ERROR, ..TPM_CODES },
        );
    });
    suite.test("refused::objects_stay_loaded_when_the_kernel_has_less_room_than_the_tpm", &[SWTPM], fourth_object);
    suite.test("refused::a_malformed_response_costs_nothing", &[SWTPM], truncated_once);
    suite.test("refused::a_repeated_error_reopens_the_connection", &[SWTPM], truncated_again);
    suite.test("refused::the_removal_of_a_tpm_is_logged_once", &[SWTPM], removed);
    suite.test("refused::a_session_that_the_kernel_ends_blocks_nothing_for_long", &[], session);
}

fn fourth_object() {
    let vtpm = Vtpm::plug_in();
    let refusals = RefusalCodes { unknown_handle: IO_ERROR, fourth_object: IO_ERROR, too_large: IO_ERROR };
    let logged = keeps_objects(&vtpm.name_conf(), refusals);
    let device = vtpm.manager();
    let of_the_fourth = format!(
        "cannot read the response from {}: Out of memory: the resource manager has room for three objects and \
         three sessions per connection. Those already loaded stay: flush one before loading another (tpm2_flushcontext)",
        device.display()
    );
    assert_eq!(logged.matches(&of_the_fourth).count(), 2, "{logged}");
    assert!(!logged.contains(LOST), "{logged}");
}

fn truncated_once() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::with_object(&vtpm.name_conf());
    for _ in 0..2 {
        vtpm.truncate(1);
        assert_eq!(steps.step(Step::Random), "IO_ERROR");
        assert_eq!(steps.step(Step::Read), "SUCCESS");
    }
    let logged = steps.finish();
    assert!(
        logged.contains(": Bad address: the driver could not use the answer of the TPM") && !logged.contains(LOST),
        "{logged}"
    );
}

fn truncated_again() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::with_object(&vtpm.name_conf());
    vtpm.truncate(2);
    assert_eq!(steps.step(Step::Random), "IO_ERROR");
    assert_eq!(steps.step(Step::Random), "IO_ERROR");
    assert_eq!(steps.step(Step::Random), "SUCCESS");
    assert_eq!(steps.step(Step::Read), "IO_ERROR", "the object belonged to the connection before");
    assert_eq!(steps.step(Step::Create), "SUCCESS");
    assert_eq!(steps.step(Step::Read), "SUCCESS");
    let logged = steps.finish();
    assert_eq!(logged.matches(LOST).count(), 1, "{logged}");
}

fn removed() {
    let mut vtpm = Vtpm::plug_in();
    let mut steps = Steps::with_object(&vtpm.name_conf());
    vtpm.kill();
    for _ in 0..3 {
        assert_eq!(steps.step(Step::Random), "IO_ERROR");
    }
    // The module has closed the device, so the next TPM gets the same number.
    let next = Vtpm::plug_in();
    assert_eq!(next.name_conf(), vtpm.name_conf());
    assert_eq!(steps.step(Step::Random), "SUCCESS");
    let logged = steps.finish();
    assert_eq!(logged.matches(LOST).count(), 1, "{logged}");
    assert_eq!(logged.matches("cannot open").count(), 2, "{logged}");
}

/// Linux 6.1 ends the sessions of a connection when it refuses a command, and then fails on this connection. Later
/// versions do not.
fn session() {
    let mut steps = Steps::with_object("device:/dev/tpmrm0");
    assert_eq!(steps.step(Step::Session), "SUCCESS");
    assert_eq!(steps.step(Step::Refused), "IO_ERROR");
    let codes: Vec<String> = (0..3).map(|_| steps.step(Step::Random)).collect();
    let logged = steps.finish();
    assert_eq!(codes[2], "SUCCESS", "{codes:?}\n{logged}");
    assert_eq!(logged.matches(LOST).count(), usize::from(codes[1] != "SUCCESS"), "{logged}");
}
