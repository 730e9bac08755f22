// SPDX-License-Identifier: BSD-2-Clause
//! Processes that are killed, and several processes on one TPM. Other faults are in `tests/reliability`.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SETPRIV, SWTPM, TPM2_TOOLS};
use tss2_kit::program::{self, Link};
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

pub(crate) fn tests(suite: &mut Suite) {
    let libtpms = [&BUILD[..], &[LIBTPMS, TPM2_TOOLS]].concat();
    suite.test("survival::a_killed_process_leaves_a_state_that_loads", &libtpms, killed_processes);
    suite.test("survival::processes_take_turns_on_a_state_file", &libtpms, shared_state_file);
    suite.test("survival::a_state_file_of_another_user_is_refused", &[&libtpms[..], &[Need::Root]].concat(), owner);
    suite.test("survival::a_pipeline_of_tools_on_one_state_file", &libtpms, pipeline);
    let tcp = [CC, PKG_CONFIG, SWTPM];
    suite.test("survival::a_hundred_thousand_commands_over_tcp", &tcp, a_hundred_thousand_commands);
    suite.test(
        "survival::a_read_only_directory",
        &[&libtpms[..], &[SETPRIV, Need::Root]].concat(),
        read_only_directory,
    );
}

const COUNTER: &str = "0x1500020";

fn tool(name_conf: &str, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = stage::command(words.next().unwrap());
    output::succeed(command.args(words).env("TPM2TOOLS_TCTI", name_conf))
}

/// Increments the counter in a loop until it is killed, and prints a line per success.
fn counting(name_conf: &str) -> Child {
    let mut shell = stage::command("sh");
    shell.args(["-c", &format!("while tpm2_nvincrement -C o {COUNTER}; do echo; done")]);
    shell.env("TPM2TOOLS_TCTI", name_conf).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    shell.spawn().unwrap()
}

/// Every acknowledged increment is kept, and at most one that was not acknowledged.
fn killed_processes() {
    let file = StateFile::new();
    let name_conf = file.name_conf();
    tool(&name_conf, &format!("tpm2_nvdefine {COUNTER} -C o -s 8 -a ownerread|ownerwrite|nt=counter"));
    tool(&name_conf, &format!("tpm2_nvincrement {COUNTER} -C o"));
    let value = || {
        tool(&name_conf, "tpm2_flushcontext -l"); // a killed tool leaves its session
        let mut read = stage::command("tpm2_nvread");
        let output = output::run(read.args([COUNTER, "-C", "o", "-s", "8"]).env("TPM2TOOLS_TCTI", &name_conf));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        u64::from_be_bytes(output.stdout.try_into().unwrap())
    };
    let mut steps = 0;
    for round in 0..30u64 {
        let before = value();
        let mut child = counting(&name_conf);
        // On a busy machine the sleep alone may be too short for the first increment.
        let first = if round % 3 == 0 { child.stdout.as_mut().unwrap().read(&mut [0]).unwrap() } else { 0 };
        // The kill comes at a different moment each round.
        thread::sleep(Duration::from_micros(5_000 + round * 7_919 % 60_000));
        killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
        let output = child.wait_with_output().unwrap();
        let acknowledged = u64::try_from(first + output.stdout.len()).unwrap();
        let counted = value() - before;
        assert!((acknowledged..=acknowledged + 1).contains(&counted), "{counted} counted, {acknowledged} acknowledged");
        steps += counted;
    }
    assert!(steps > 0, "nothing was ever written");
    let left: Vec<_> = fs::read_dir(file.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(left.len() <= 2, "{left:?}");
}

fn shared_state_file() {
    let file = StateFile::new();
    let name_conf = file.name_conf();
    let start = || {
        let mut command = stage::command("tpm2_getrandom");
        command.args(["--hex", "8", "-T", &name_conf]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<Child> = (0..8).map(|_| start()).collect();
    let mut seen: Vec<String> = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        seen.push(output::stdout(&output));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8, "each process continues with the state of the one before: {seen:?}");
}

/// An existing file can be used there; a new one cannot be created.
fn read_only_directory() {
    let dir = program::readable_dir();
    let (path, missing) = (dir.path().join("tpm"), dir.path().join("missing"));
    output::succeed(stage::command(program::link_tctildr()).arg(format!("libtpms:{}", path.display())));
    chown(&path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).unwrap();

    let libraries = program::readable_dir();
    for library in ["tctildr", "tcti-libtpms"] {
        let file = stage::library(library);
        fs::copy(&file, libraries.path().join(file.file_name().unwrap())).unwrap();
    }
    let use_it = |path: &Path| {
        let mut command = stage::command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program::link_tctildr());
        output::run(command.arg(format!("libtpms:{}", path.display())).env("LD_LIBRARY_PATH", libraries.path()))
    };
    let output = use_it(&path);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let output = use_it(&missing);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", output::show(&output));
    let printed = output::stderr(&output);
    assert!(printed.contains("Permission denied") && printed.contains(missing.to_str().unwrap()), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Root does not use it, either, as with sudo: the owner of the file would control a file that root writes.
fn owner() {
    let file = StateFile::new();
    let mut command = stage::command(program::link_tctildr());
    command.arg(file.name_conf());
    output::succeed(&mut command);
    let before = fs::read(file.path()).unwrap();
    chown(file.path(), Some(65534), Some(65534)).unwrap();
    let output = output::run(&mut command);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", output::show(&output));
    let printed = output::stderr(&output);
    assert!(printed.contains("it is owned by uid 65534, but this process runs as uid 0"), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(fs::read(file.path()).unwrap() == before);
    assert_eq!(fs::metadata(file.path()).unwrap().uid(), 65534);
}

/// The tool on the right opens its TPM first and then waits for the output of the one on the left.
fn pipeline() {
    let file = StateFile::new();
    for _ in 0..5 {
        let mut shell = stage::command("sh");
        shell.args(["-c", "tpm2_getrandom 32 | tpm2_hash --hex -g sha256"]).env("TPM2TOOLS_TCTI", file.name_conf());
        let digest = output::succeed(&mut shell);
        assert_eq!(digest.trim().len(), 64);
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_ne!(digest.trim(), of_nothing);
    }
}

/// The module connects for each command, as fast as it can, and ports do not run out.
fn a_hundred_thousand_commands() {
    let swtpm = Swtpm::start(SocketKind::Tcp);
    let program = program::build("many", Link::Staged("tss2-tctildr"), &[]);
    let mut many = stage::command(program);
    assert_eq!(output::succeed(many.args([&swtpm.name_conf(), "100000"])), "");
}
