// SPDX-License-Identifier: BSD-2-Clause
//! Processes that are killed, servers that go away and come back, files that cannot be written.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;
use tss2_e2e::need::{CC, LIBTPMS, Need, PKG_CONFIG, SETPRIV, SWTPM, TPM2_TOOLS};
use tss2_e2e::program::{self, Link};
use tss2_e2e::server::{Socket, StateFile, Swtpm, Tpm};
use tss2_e2e::suite::Suite;
use tss2_e2e::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

pub(crate) fn tests(suite: &mut Suite) {
    let libtpms = [&BUILD[..], &[LIBTPMS, TPM2_TOOLS]].concat();
    suite.test("survival::a_killed_process_leaves_a_state_that_loads", &libtpms, killed_processes);
    suite.test("survival::processes_share_a_state_file_one_after_the_other", &libtpms, shared_state_file);
    suite.test("survival::a_state_file_stays_its_owners", &[&libtpms[..], &[Need::Root]].concat(), owner);
    suite.test("survival::a_pipe_line_of_tools_on_one_state_file", &libtpms, pipe_line);
    suite.test("survival::closed_streams_leave_the_state_file_alone", &libtpms, closed_streams);
    let tcp = [CC, PKG_CONFIG, SWTPM];
    suite.test("survival::a_hundred_thousand_commands_over_tcp", &tcp, a_hundred_thousand_commands);
    suite.test(
        "survival::a_directory_that_cannot_be_written",
        &[&libtpms[..], &[SETPRIV, Need::Root]].concat(),
        read_only_directory,
    );
    suite.test("survival::a_full_disk", &[&libtpms[..], &[Need::Mount]].concat(), full_disk);
    let swtpm = [&BUILD[..], &[SWTPM]].concat();
    for (name, socket, conf) in
        [("over_tcp", Socket::Tcp, ""), ("over_a_unix_socket", Socket::Unix, ""), ("kept", Socket::Tcp, ",keep=true")]
    {
        suite.test(format!("survival::a_swtpm_killed_and_restarted_{name}"), &swtpm, move || restarted(socket, conf));
    }
}

const COUNTER: &str = "0x1500020";

fn tool(name_conf: &str, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = stage::command(words.next().unwrap());
    output::succeed(command.args(words).env("TPM2TOOLS_TCTI", name_conf))
}

/// Counts up in a loop, printing a line per success, until it is killed.
fn counting(name_conf: &str) -> Child {
    let mut shell = stage::command("sh");
    shell.args(["-c", &format!("while tpm2_nvincrement -C o {COUNTER}; do echo; done")]);
    shell.env("TPM2TOOLS_TCTI", name_conf).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    shell.spawn().unwrap()
}

/// What was acknowledged is kept, and at most one step more than that.
fn killed_processes() {
    let file = StateFile::new();
    let name_conf = file.name_conf();
    tool(&name_conf, &format!("tpm2_nvdefine {COUNTER} -C o -s 8 -a ownerread|ownerwrite|nt=counter"));
    tool(&name_conf, &format!("tpm2_nvincrement {COUNTER} -C o"));
    let value = || {
        tool(&name_conf, "tpm2_flushcontext -l"); // the session of a tool that was killed is still there
        let mut read = stage::command("tpm2_nvread");
        let output = output::run(read.args([COUNTER, "-C", "o", "-s", "8"]).env("TPM2TOOLS_TCTI", &name_conf));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        u64::from_be_bytes(output.stdout.try_into().unwrap())
    };
    let mut steps = 0;
    for round in 0..30u64 {
        let before = value();
        let child = counting(&name_conf);
        thread::sleep(Duration::from_micros(5_000 + round * 7_919 % 60_000)); // when it is killed: at any moment
        killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
        let output = child.wait_with_output().unwrap();
        let acknowledged = u64::try_from(output.stdout.len()).unwrap();
        let counted = value() - before;
        assert!((acknowledged..=acknowledged + 1).contains(&counted), "{counted} for {acknowledged}");
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
    assert_eq!(seen.len(), 8, "each continues where the one before left the TPM: {seen:?}");
}

fn read_only_directory() {
    let dir = program::readable_dir();
    let path = dir.path().join("tpm");
    output::succeed(stage::command(program::link_tctildr()).arg(format!("libtpms:{}", path.display())));
    let before = fs::read(&path).unwrap();
    chown(&path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).unwrap();

    let libraries = program::readable_dir();
    for library in ["tctildr", "tcti-libtpms"] {
        let file = stage::library(library);
        fs::copy(&file, libraries.path().join(file.file_name().unwrap())).unwrap();
    }
    let mut command = stage::command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program::link_tctildr());
    command.arg(format!("libtpms:{}", path.display())).env("LD_LIBRARY_PATH", libraries.path());
    let output = output::run(&mut command);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", output::show(&output));
    let printed = output::stderr(&output);
    assert!(printed.contains("Permission denied") && printed.contains(path.to_str().unwrap()), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A file system with room for two states, which something else then fills.
fn full_disk() {
    let script = "
        set -e
        mount -t tmpfs -o size=128k none $1
        export TPM2TOOLS_TCTI=libtpms:$1/tpm
        tpm2_nvdefine 0x1500021 -C o -s 8 -a 'ownerread|ownerwrite|nt=counter' >/dev/null
        tpm2_nvincrement -C o 0x1500021
        tpm2_nvread -C o -s 8 0x1500021 >$2/before
        cp $1/tpm $2/state
        cat /dev/zero >$1/filler 2>/dev/null || true
        ! tpm2_nvincrement -C o 0x1500021 2>$2/message
        cmp $1/tpm $2/state
        rm $1/filler
        tpm2_nvread -C o -s 8 0x1500021 >$2/after
        cmp $2/before $2/after
        tpm2_nvincrement -C o 0x1500021
    ";
    let (mounted, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut unshare = stage::command("unshare");
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(mounted.path()).arg(results.path());
    output::succeed(&mut unshare);
    let message = fs::read_to_string(results.path().join("message")).unwrap();
    assert!(message.contains("No space left on device"), "{message}");
}

/// Root uses a file of somebody else, as people do with sudo.
fn owner() {
    let file = StateFile::new();
    let use_it = || output::succeed(stage::command("tpm2_getrandom").args(["--hex", "8", "-T", &file.name_conf()]));
    use_it();
    chown(file.path(), Some(65534), Some(65534)).unwrap();
    use_it();
    let metadata = fs::metadata(file.path()).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (65534, 65534, 0o600));
}

/// The tool on the right opens its TPM first and waits for what the one on the left prints.
fn pipe_line() {
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

/// What a program prints on a stream that was closed must not go where our descriptors are.
fn closed_streams() {
    let file = StateFile::new();
    for tool in ["tpm2_getcap properties-fixed", "tpm2_getrandom 8", "tpm2_pcrread sha256"] {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
            let mut shell = stage::command("sh");
            let name_conf = file.name_conf();
            shell.args(["-c", &format!("{tool} {closed}")]).env("TPM2TOOLS_TCTI", &name_conf);
            output::run(&mut shell); // the tool may mind that it cannot print; the TPM must not
            let mut after = stage::command("tpm2_getrandom");
            let random = output::succeed(after.args(["--hex", "8", "-T", &name_conf]));
            assert_eq!(random.len(), 16, "after {tool} {closed}");
        }
    }
}

/// A connection per command, as fast as they go: ports do not run out.
fn a_hundred_thousand_commands() {
    let swtpm = Swtpm::start(Socket::Tcp);
    let program = program::build("many", Link::Staged("tss2-tctildr"), &[]);
    let mut many = stage::command(program);
    assert_eq!(output::succeed(many.args([&swtpm.name_conf(), "100000"])), "");
}

/// A program that does one thing at a time.
struct Steps {
    child: Child,
    input: ChildStdin,
    codes: Lines<BufReader<ChildStdout>>,
}

impl Steps {
    fn open(name_conf: &str) -> Steps {
        let mut command: Command = stage::command(program::build("steps", Link::Staged("tss2-tctildr"), &[]));
        command.arg(name_conf).stdin(Stdio::piped()).stdout(Stdio::piped()).env("TSS2_LOG", "all+none");
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut steps = Steps { child, input, codes: BufReader::new(output).lines() };
        assert_eq!(steps.code(), "SUCCESS");
        steps
    }

    fn code(&mut self) -> String {
        self.codes.next().expect("the program ended").unwrap()
    }

    fn step(&mut self, step: &str) -> String {
        writeln!(self.input, "{step}").unwrap();
        self.code()
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

fn restarted(socket: Socket, more: &str) {
    let mut swtpm = Swtpm::start(socket);
    let mut steps = Steps::open(&format!("{}{more}", swtpm.name_conf()));
    assert_eq!(steps.step("random"), "SUCCESS");
    for _ in 0..2 {
        swtpm.pause(); // so that the command is under way when it dies
        assert_eq!(steps.step("transmit"), "SUCCESS");
        swtpm.kill();
        assert_eq!(steps.step("receive"), "IO_ERROR");
        assert_eq!(steps.step("receive"), "BAD_SEQUENCE");
        assert_eq!(steps.step("random"), "IO_ERROR");
        assert_eq!(steps.step("locality"), "IO_ERROR");
        swtpm.restart();
        assert_eq!(steps.step("random"), "SUCCESS");
        assert_eq!(steps.step("locality"), "SUCCESS");
    }
    swtpm.kill();
    swtpm.restart();
    assert_eq!(steps.step("random"), "SUCCESS"); // a kept connection that died is noticed before it is used
    steps.end();
}
