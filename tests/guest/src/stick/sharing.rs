// SPDX-License-Identifier: BSD-2-Clause
//! Several sticks, several programs, and programs without permission.

use super::{GET_RANDOM_16, NEEDS, open, random};
use crate::steps::Steps;
use nix::libc::SIGKILL;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use tcti_core::Tcti;
use tcti_core::{Error, Result, ReturnCode, Wait};
use tss2_kit::need::{CC, Need, SETPRIV, SWTPM};
use tss2_kit::simulator::{Counters, Simulator, claimed};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const ABRMD: Need = Need::Program("tpm2-abrmd", "tpm2-abrmd");
const DBUS: Need = Need::Program("dbus-run-session", "dbus-daemon");
/// The TCTI module of its clients.
const TABRMD: Need = Need::Library("libtss2-tcti-tabrmd.so.0", "libtss2-tcti-tabrmd0");

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("stick::serial_numbers_select_one_of_two", &NEEDS, two_by_serial_number);
    suite.test("stick::a_stick_in_use_does_not_hide_the_other", &[SWTPM, CC], one_in_use);
    suite.test("stick::an_unplugged_stick_is_found_again", &NEEDS, found_again);
    suite.test("stick::a_context_that_is_not_finalized_does_not_block_the_stick", &[SWTPM], forgotten);
    suite.test("stick::errors_are_explained", &[SWTPM, CC, SETPRIV], messages);
    suite.test("stick::a_killed_program_leaves_no_stale_bytes", &NEEDS, a_killed_program);
    suite.test("stick::tpm2_abrmd_shares_the_stick", &[&NEEDS[..], &[ABRMD, DBUS, TABRMD]].concat(), abrmd);
}

/// Returns the code of a failure, or `None` for success.
fn code<T>(result: &Result<T>) -> Option<ReturnCode> {
    result.as_ref().err().map(Error::code)
}

/// Runs a tool that has to succeed.
fn tool(program: &str, arguments: &[&str]) -> String {
    output::succeed(stage::command(program).args(arguments))
}

fn two_by_serial_number() {
    let _sticks = [Simulator::plug_in("0042"), Simulator::plug_in("0043")];
    for serial in ["0042", "0043"] {
        tool("tpm2_nvdefine", &["-T", &format!("spi-ltt2go:^{serial}$"), "-Q", "-C", "o", "-s", "4", "0x1500001"]);
        let mut write = stage::command("sh");
        write.args(["-c", "printf \"$1\" | tpm2_nvwrite -T \"spi-ltt2go:^$1$\" -Q -C o -i - 0x1500001", "sh", serial]);
        output::succeed(&mut write);
    }
    let read =
        |conf: &str| tool("tpm2_nvread", &["-T", &format!("spi-ltt2go:{conf}"), "-C", "o", "-s", "4", "0x1500001"]);
    assert_eq!((read("^0042$").as_str(), read("0043").as_str()), ("0042", "0043"));
    assert_eq!((read("^00(43|99)$").as_str(), read("2$").as_str()), ("0043", "0042"));
    assert_eq!(code(&open("^004$")), Some(ReturnCode::IO_ERROR));
    assert_eq!(claimed(), 0);
}

fn one_in_use() {
    let _sticks = [Simulator::plug_in("0042"), Simulator::plug_in("0043")];
    let holder = Steps::open(Some("spi-ltt2go:^0042$"));
    random(&mut open("").unwrap()).unwrap();
    random(&mut open("43").unwrap()).unwrap();
    assert_eq!(code(&open("42")), Some(ReturnCode::IO_ERROR));
    holder.finish();
    random(&mut open("42").unwrap()).unwrap();
}

/// Programs of systemd do this: they free the memory of a context without Tss2_Tcti_Finalize, or exit.
fn forgotten() {
    let mut stick = Simulator::plug_in("0042");
    for _ in 0..3 {
        let mut tpm = open("").unwrap();
        random(&mut tpm).unwrap();
        std::mem::forget(tpm);
    }
    let mut first = open("").unwrap();
    let mut second = open("0042").unwrap();
    // Both contexts work: each takes the stick from the other, but not during a command.
    for _ in 0..3 {
        random(&mut first).unwrap();
        random(&mut second).unwrap();
    }
    first.transmit(GET_RANDOM_16).unwrap();
    assert_eq!(code(&random(&mut second)), Some(ReturnCode::IO_ERROR));
    first.receive(&mut [0; 64], Wait::Forever).unwrap();
    random(&mut second).unwrap();
    drop(first);
    random(&mut second).unwrap();
    drop(second);
    stick.counters();
    assert!(!stick.has_locality());
    assert_eq!(claimed(), 0);
}

fn found_again() {
    let stick = Simulator::plug_in("0042");
    let mut tpm = open("").unwrap();
    random(&mut tpm).unwrap();
    stick.kill();
    assert_eq!(code(&random(&mut tpm)), Some(ReturnCode::NO_CONNECTION));
    assert_eq!(code(&random(&mut tpm)), Some(ReturnCode::NO_CONNECTION));
    // A stick with another serial number is not used instead.
    let other = Simulator::plug_in("0043");
    assert_eq!(code(&random(&mut tpm)), Some(ReturnCode::NO_CONNECTION));
    let mut stick = Simulator::plug_in("0042");
    random(&mut tpm).unwrap();
    drop(other);
    random(&mut tpm).unwrap();
    stick.unplug();
    stick.plug();
    assert_eq!(code(&random(&mut tpm)), Some(ReturnCode::NO_CONNECTION));
    random(&mut tpm).unwrap();
    drop(tpm);
    assert!(!stick.has_locality());
    assert_eq!(claimed(), 0);
}

/// Returns the exit status and the text of the only line that a program logs.
fn logged(mut command: Command) -> (Option<i32>, String) {
    let output = output::run(&mut command);
    let line = output::stderr(&output);
    let text = line.trim_end().split_once("() ").unwrap_or_else(|| panic!("{line}")).1;
    (output.status.code(), text.to_owned())
}

fn messages() {
    let _stick = Simulator::plug_in("0042");
    let open_it = |conf: &str| {
        let mut command = stage::command(program::link_tctildr());
        command.arg(format!("spi-ltt2go:{conf}"));
        command
    };
    let (code, text) = logged(open_it("^0043$"));
    assert_eq!(code, Some(0xa));
    assert_eq!(
        text,
        "no LetsTrust-TPM2Go whose serial number matches \"^0043$\" opens: one has \"0042\". Plug that stick in, or \
         correct the serial number"
    );

    let holder = Steps::open(Some("spi-ltt2go:"));
    let (code, text) = logged(open_it(""));
    assert_eq!(code, Some(0xa));
    let (before, after) = text.split_once("/dev/bus/usb/").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(before, "no LetsTrust-TPM2Go opens: ");
    assert!(
        after.ends_with("is in use by another program. Wait for it or end it, or share the stick through tpm2-abrmd")
    );
    holder.finish();

    let mut command = stage::command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program::link_tctildr()).arg("spi-ltt2go");
    let (code, text) = logged(command);
    assert_eq!(code, Some(0xc));
    let reason = ": Permission denied (mode 0600, owner root:root, we are nobody:nogroup). Install the udev rules that \
                  give the stick to group tss";
    assert!(text.contains(reason), "{text}");
}

/// A program is killed in the middle of a transaction, whose bytes stay in the stick. The next program gets its own
/// responses.
fn a_killed_program() {
    let mut stick = Simulator::plug_in("0042");
    // The tool makes more transactions than this.
    for before in [0, 3, 8] {
        stick.reset_counters();
        stick.set(&format!("nak_in={before}"));
        let mut tool = stage::command("tpm2_getrandom");
        tool.args(["-T", "spi-ltt2go", "16"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tool = tool.spawn().unwrap();
        // Everything is written then, and the bytes that come back are delayed for longer than the kill takes.
        while stick.counters().bulk_out <= before {
            if tool.try_wait().unwrap().is_some() {
                panic!("{}", output::show(&tool.wait_with_output().unwrap()));
            }
        }
        tool.kill().unwrap();
        let ended = tool.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(SIGKILL), "{}", output::show(&ended));
        let Counters { bulk_out, bulk_in, .. } = stick.counters();
        assert_eq!((bulk_out, bulk_in), (before + 1, before));
        stick.set("");

        let mut next = stage::command("tpm2_getrandom");
        next.args(["-T", "spi-ltt2go", "--hex", "16"]).env("TSS2_LOG", "tcti+debug");
        let next = output::run(&mut next);
        assert!(next.status.success() && next.stdout.len() == 32, "{}", output::show(&next));
        assert!(output::stderr(&next).contains(" stale bytes "), "{}", output::show(&next));
        random(&mut open("").unwrap()).unwrap();
    }
}

/// The resource manager has opened the stick; its clients do not know.
fn abrmd() {
    let _stick = Simulator::plug_in("0042");
    // The daemon acquires its name on the bus before its object exists.
    let script = "cd \"$1\"\ntpm2-abrmd --session --allow-root --tcti=spi-ltt2go & daemon=$!\n\
                  trap 'kill $daemon 2>/dev/null' EXIT\n\
                  until dbus-send --session --print-reply --dest=com.intel.tss2.Tabrmd /com/intel/tss2/Tabrmd/Tcti \
                  org.freedesktop.DBus.Introspectable.Introspect >introspected 2>&1 && grep -q CreateConnection introspected\n\
                  do kill -0 $daemon || exit 1; done\n\
                  export TPM2TOOLS_TCTI=tabrmd:bus_type=session\n\
                  for client in 1 2 3; do\n\
                  (tpm2_createprimary -Q -C o -G ecc -c $client.ctx && tpm2_getrandom --hex 16 >$client.random) &\n\
                  clients=\"$clients $!\"\n\
                  done\n\
                  for client in $clients; do wait $client || exit 1; done\n\
                  kill $daemon\nwait $daemon\ncat *.random\n";
    let dir = tempfile::tempdir().unwrap();
    let mut session = stage::command("dbus-run-session");
    session.args(["--", "sh", "-c", script, "sh"]).arg(dir.path());
    let printed = output::succeed(&mut session);
    assert_eq!(printed.trim().len(), 3 * 32, "{printed}");
    assert_eq!(claimed(), 0);
}
