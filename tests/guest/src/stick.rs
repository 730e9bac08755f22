// SPDX-License-Identifier: BSD-2-Clause
//! The module for the LetsTrust-TPM2Go on libusb and the kernel's USB stack, with a simulated stick.

mod sharing;

use std::ffi::CString;
use tcti_core::Tcti;
use tcti_core::{Result, Wait};
use tcti_loader::{Child, NameConf};
use tss2_kit::need::{CC, Need, OPENSSL, SWTPM, TPM2_TOOLS, VALGRIND};
use tss2_kit::scenario::tools;
use tss2_kit::simulator::{Counters, Simulator, claimed};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const NEEDS: [Need; 3] = [SWTPM, TPM2_TOOLS, OPENSSL];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("stick::a_tool_gets_random_bytes", &NEEDS, a_tool_gets_random_bytes);
    suite.test("stick::all_steps", &NEEDS, all_steps);
    suite.test("stick::a_short_command_takes_eight_transactions", &NEEDS, a_short_command);
    suite.test("stick::all_calls_in_all_states", &[SWTPM, CC], conformance);
    suite.test("stick::no_memory_error", &[SWTPM, CC, VALGRIND], no_memory_error);
    sharing::tests(suite);
}

/// Opens a stick in this process.
fn open(conf: &str) -> Result<Child> {
    let name_conf = CString::new(format!("spi-ltt2go:{conf}")).unwrap();
    tcti_loader::open(&NameConf::parse(Some(&name_conf))?)
}

/// TPM2_GetRandom of 16 bytes.
const GET_RANDOM_16: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];

/// How long a response may take on a busy machine. A TPM that does not respond is noticed earlier.
const ANSWER: Wait = Wait::Millis(30_000);

/// Gets random bytes.
fn random(tpm: &mut Child) -> Result<[u8; 16]> {
    let mut response = [0; 64];
    tpm.transmit(GET_RANDOM_16)?;
    let size = tpm.receive(&mut response, ANSWER)?;
    assert_eq!((size, &response[..12]), (28, &[0x80, 0x01, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16][..]));
    Ok(response[12..28].try_into().unwrap())
}

fn a_tool_gets_random_bytes() {
    let _stick = Simulator::plug_in("0042");
    for name in ["spi-ltt2go", "spi-ltt2go:", "spi-ltt2go:42", "spi-ltt2go:^0042$", "libtss2-tcti-spi-ltt2go.so.0"] {
        let output = output::run(stage::command("tpm2_getrandom").args(["-T", name, "--hex", "16"]));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        assert_eq!(output.stdout.len(), 32);
    }
    assert_eq!(claimed(), 0);
}

fn all_steps() {
    let mut stick = Simulator::plug_in("0042");
    tools::all_steps("spi-ltt2go");
    stick.counters();
    assert!(!stick.has_locality());
    assert_eq!(claimed(), 0);
}

fn a_short_command() {
    let mut stick = Simulator::plug_in("0042");
    let mut tpm = open("").unwrap();
    // The TPM works in parallel. On a busy host its response may be late, and each additional read of the status is a
    // transaction.
    let mut in_time = 0;
    for _ in 0..100 {
        stick.reset_counters();
        random(&mut tpm).unwrap();
        let counted = stick.counters();
        assert!(counted.spi >= 8, "{counted:?}");
        // Bulk OUT and bulk IN of a transaction are in progress at the same time: 16 bus cycles.
        in_time += u32::from(counted == Counters { control: 8, bulk_out: 8, bulk_in: 8, spi: 8 });
        if in_time == 3 {
            return;
        }
    }
    panic!("{in_time} of 100 commands took eight transactions");
}

fn conformance() {
    let _stick = Simulator::plug_in("0042");
    let mut command = stage::command(program::conformance());
    command.arg(stage::library("tcti-spi-ltt2go")).args(["Tss2_Tcti_Spi_Ltt2go_Init", "^0042$"]);
    output::passes(&output::succeed(command.env("TSS2_LOG", "all+none")), 100);
}

/// The command fails in the middle of a transfer, and both directions of the transfer are cancelled.
fn no_memory_error() {
    let mut stick = Simulator::plug_in("0042");
    stick.set("stall_out=12");
    let mut valgrind = stage::command("valgrind");
    valgrind.args(["-q", "--error-exitcode=99", "--leak-check=full"]).arg(program::link_tctildr()).arg("spi-ltt2go");
    let output = output::run(valgrind.env("TSS2_LOG", "all+none"));
    assert!(output.status.code() == Some(0xa) && output.stderr.is_empty(), "{}", output::show(&output));
}
