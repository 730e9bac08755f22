// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask bench`: benchmarks our modules against the C modules of the distribution and the newest in Debian. [`run`] calls
//! the program in `tools/bench` for each table and writes a document.

use crate::debian::sid::Sid;
use crate::project::Project;
use crate::{compile, install, needs, vm, vm_test};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use tss2_vm::Machine;
use xshell::{Shell, cmd};

/// The document, relative to the root.
const DOCUMENT: &str = "docs/performance.md";
/// Prefix of a command that pins it and its child processes to one core.
const PINNED: [&str; 3] = ["taskset", "--cpu-list", "0"];
/// Time limit of the virtual machine in seconds.
const LIMIT: u64 = 600;

/// How much to measure, and where to write the results.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure little, to test the benchmark itself.
    #[arg(long, conflicts_with = "publish")]
    quick: bool,
    /// Also write docs/performance.md. The machine should be idle otherwise.
    #[arg(long)]
    publish: bool,
}

/// How much to measure for each table. Counts for virtual machines are lower, because emulation is slow.
struct Counts {
    /// Commands of each kind.
    commands: usize,
    /// Pairs of processes.
    processes: usize,
    /// Commands per round on many contexts.
    concurrent_commands: usize,
    /// Contexts to open and finalize.
    contexts: usize,
    devices: GuestCounts,
    stick: GuestCounts,
    handshakes: HandshakeCounts,
}

/// Counts for a table that is measured in a virtual machine.
struct GuestCounts {
    /// Commands of each kind.
    commands: usize,
    contexts: usize,
}

/// Counts for the handshakes.
struct HandshakeCounts {
    /// Turns of each server.
    turns: usize,
    /// Handshakes per turn.
    count: usize,
}

const QUICK: Counts = Counts {
    commands: 40,
    processes: 5,
    concurrent_commands: 320,
    contexts: 100,
    devices: GuestCounts { commands: 20, contexts: 50 },
    stick: GuestCounts { commands: 3, contexts: 50 },
    handshakes: HandshakeCounts { turns: 3, count: 8 },
};
const FULL: Counts = Counts {
    commands: 3000,
    processes: 300,
    concurrent_commands: 20_000,
    contexts: 10_000,
    devices: GuestCounts { commands: 2000, contexts: 10_000 },
    stick: GuestCounts { commands: 50, contexts: 1000 },
    handshakes: HandshakeCounts { turns: 8, count: 16 },
};

const INTRODUCTION: &str = "\
Each table comes from one run, in which the measured libraries took turns: our modules, two versions
of the C modules and, where there is one, the floor.
The C modules are the newest in Debian, from its suite sid, and those of the distribution.
All ran on the libc of sid, which the newest modules need.
Both C versions used the newest libtss2-mu and libtss2-tctildr.
Times are in microseconds: the median, and the 99th percentile in parentheses.
A ratio is our time divided by the other's; below 1, ours is faster.
It is computed for each turn, and the table shows the median, so that it does not depend on changes
in the speed of the machine.
The floor is the minimum that a protocol needs: one gathered write, as few reads as possible, and no
checks except of the size.

`cargo xtask bench` writes these tables to target/bench.md and takes a quarter of an hour.
`cargo xtask bench --publish` also writes this page.
";

const COMMANDS: &str = "\
One command and its response, received in two calls as libtss2-sys does: first the size, then the
response.
Client and server share one core.
Calls are system calls per command.
The C modules do not support `keep=true`, so the row \"swtpm TCP kept\" compares our kept connection
with their connection per command.
Over TCP with mssim's protocol, the C modules wait for a delayed acknowledgement twice per command.
libtpms runs in the process itself.

With swtpm on a Unix socket, our module makes two additional calls per connection: it limits the
time to connect, and it closes the connection with shutdown(2), because a forked process may hold a
copy of it.
It saves one call by reading a response at once instead of reading its header first.
pcap makes two additional calls, because it queries the file size limit before each write: exceeding
a limit that was set in the meantime would kill the program with a signal.
Our module for libtpms also defers thread cancellation and locks out other threads in each call,
which takes 0.05 us.
With a state file, which is on a disk, it stores the effect of each command before it returns the
response, and syncs the file when the TPM's permanent state has changed.
The C module writes the file when the context is finalized.
";

const DEVICES: &str = "\
The same measurement on the kernel's devices, in a virtual machine without hardware acceleration,
with swtpm as the TPM.
`/dev/tpm0` bypasses the resource manager.
The driver takes most of each time.
A kernel worker waits for the TPM, so that time-outs work; this costs a context switch per command.
The C module sends a command when it opens the device.
";

const STICK: &str = "\
The LetsTrust-TPM2Go, simulated behind the kernel's USB stack in a virtual machine.
On a real bus, the round trips take most of the time.
The C module makes three transfers for each SPI transaction, one after the other, and sleeps for
8 ms between two reads of the status register.
Opening a context means finding the stick, claiming it and starting communication with the TPM.
All of that is emulated here and slow, so only a thousand contexts are measured.
";

const START: &str = "\
`tpm2_getrandom 8` as a process on the libc of this machine.
LD_LIBRARY_PATH names a directory that contains libtss2-tctildr and libtss2-tcti-swtpm, either ours
or those of the distribution.
Instructions are those of the program, counted by valgrind.
Memory and page faults are measured at one point: after the first command is sent, while the program
waits for the response.

Ratios above 1 are due to the Rust standard library, which is linked into each of our libraries.
It needs more functions of libc.
The dynamic linker looks up each of them in about forty libraries, and all of them at load time
(BIND_NOW), while the C libraries bind functions when they are first called.
It contains tables of addresses, about a thousand entries in both libraries compared to fifty in the
C libraries, which add 12 KiB of private memory per library.
It is also large: the kernel maps the pages around each page that is used, so that 250 KiB of each
library are resident, compared to 40 KiB of the C libraries.
Those are file pages, which all processes share.
";

const SIZES: &str = "\
Sizes of the stripped files.
More than half of each of our libraries is the Rust standard library, most of that the code that
prints a backtrace, which is always linked in.
";

const CONTEXTS: &str = "\
Contexts in threads of one process, each with its own swtpm behind a Unix socket, on all cores.
The rate is that of all contexts together; its ratio is a ratio of times.
With more contexts a command takes longer, because each thread waits for its turn on a core.
With more contexts than cores, no core is idle, and our module makes one more system call per
command here (shutdown).
";

const CYCLES: &str = "\
A context is initialised and finalized immediately, while its library stays loaded.
KiB is the growth of the process after all contexts.

The reasons why ours takes longer:

* device, mssim, cmd and the kept connection of swtpm can be shared by forked processes.
  Each context has a memory page and one or two memory files for the locks that forked processes
  share, which take about ten system calls.
* mssim sends SESSION_END on both channels when it closes, as the protocol requires and the C module
  does not, and limits the time to connect.
* pcap checks the type of its file and the file size limit, so that no signal kills the program, and
  generates the addresses that tell contexts apart.
* cmd closes the input of a command that was used and lets it exit by itself; the C module kills it.
* swtpm closes its connections with shutdown(2): both on Unix sockets, and the kept connection.

Memory stops growing after about a thousand contexts.
A test verifies that the size of the heap stays the same to the byte (docs/reliability.md).
";

const HANDSHAKES: &str = "\
TLS handshakes per second with an nginx whose key is in a TPM, by means of tpm2-openssl.
The key is an elliptic curve key, each handshake takes two TPM commands, and no session is resumed.
Two nginx servers run in a virtual machine as above and take turns, one with our libraries and one
with those of the distribution.
Most of a handshake is the cryptography of server and client, which is emulated too.
The master process opened the connection and loaded the key before it forked.
With several workers at a time, the C module fails when one worker sends a command while another
waits for its response, and the worker that fails serves no more requests.
";

/// Measures all tables and writes the document.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::BENCH, needs::VM].concat(), no_install)?;
    let ours = install::stage(project)?.join("lib");
    let built = compile::release(project, ["tss2-bench", "sim-mssim", "sim-tpm2go"])?;
    let shell = project.shell()?;
    // Dirty pages of the new files would count as private memory of the processes that map them.
    cmd!(shell, "sync").quiet().run()?;
    let multiarch = cmd!(shell, "cc -print-multiarch").quiet().read()?;
    let newest = newest(project, options.publish)?;
    let distribution = (version_of_distribution(&shell)?, format!("/usr/lib/{multiarch}").into());
    let bench = Bench { project, built, ours, newest, distribution };
    let counts = if options.quick { QUICK } else { FULL };

    let mut text = format!("# Performance\n\n{}\n{INTRODUCTION}", bench.machine(&shell)?);
    let mut add = |title: &str, about: &str, table: String| -> Result<()> {
        println!("{title}\n\n{table}");
        Ok(write!(text, "\n## {title}\n\n{about}\n{table}")?)
    };
    add("Commands", COMMANDS, bench.pinned("commands", counts.commands)?)?;
    add("Program start", START, bench.start(counts.processes)?)?;
    add("Concurrent contexts", CONTEXTS, bench.on_all_cores("contexts", counts.concurrent_commands)?)?;
    add("Init and Finalize", CYCLES, bench.pinned("cycles", counts.contexts)?)?;
    add("Sizes", SIZES, bench.sizes()?)?;
    // A published document has all tables, so fail if virtual machines are not available.
    if options.publish || vm_test::is_available(project)? {
        add("Kernel devices", DEVICES, bench.in_guest("devices", counts.devices)?)?;
        add("LetsTrust-TPM2Go", STICK, bench.in_guest("stick", counts.stick)?)?;
        add("TLS server", HANDSHAKES, bench.handshakes(counts.handshakes)?)?;
    }
    let _ = fs::remove_file(bench.capture());
    let mut written = vec![project.target.join("bench.md")];
    written.extend(options.publish.then(|| project.root.join(DOCUMENT)));
    for path in written {
        fs::create_dir_all(path.parent().context("a path without a directory")?)?;
        fs::write(&path, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// Returns the newest C modules. If they are not available, fails only if the results are to be published.
fn newest(project: &Project, publish: bool) -> Result<Option<Sid>> {
    if !publish {
        return Ok(Sid::if_available(project));
    }
    let sid = Sid::prepare(project)?;
    sid.map(Some).context("apt has no mirror of Debian to download the newest C modules from")
}

/// Returns the version of the C modules in the distribution, or a placeholder without dpkg.
fn version_of_distribution(shell: &Shell) -> Result<String> {
    let version = "${Version}";
    let asked = cmd!(shell, "dpkg-query --show --showformat={version} libtss2-tcti-swtpm0").quiet().ignore_stderr();
    Ok(asked.read().unwrap_or_else(|_| "of the distribution".to_owned()))
}

/// Returns an environment variable with a path as its value.
fn variable((name, path): (&str, PathBuf)) -> (String, String) {
    (name.to_owned(), path.display().to_string())
}

/// The program `side-by-side` and the libraries that it measures.
struct Bench<'a> {
    project: &'a Project,
    built: PathBuf,
    ours: PathBuf,
    /// The newest C modules.
    newest: Option<Sid>,
    /// Version and directory of the distribution's C modules.
    distribution: (String, PathBuf),
}

impl Bench<'_> {
    /// Returns the command line of a mode, on the libc of the newest modules if they are available.
    fn words(&self, mode: &str) -> Vec<String> {
        let (version, dir) = &self.distribution;
        let upstream = version.split('-').next().unwrap_or_default();
        let newest = self.newest.iter().map(|sid| (sid.upstream(), sid.libraries()));
        let theirs = newest.chain([(upstream, dir.clone())]);
        let theirs = theirs.flat_map(|(version, dir)| ["--theirs".to_owned(), format!("{version}={}", dir.display())]);
        let run = self.newest.iter().map(|sid| sid.run().display().to_string());
        run.chain(self.on_this_libc(mode)).chain(theirs).collect()
    }

    /// Returns the command line of a mode on this system's libc, without the C modules.
    fn on_this_libc(&self, mode: &str) -> [String; 4] {
        let path = |path: &Path| path.display().to_string();
        [path(&self.built.join("side-by-side")), mode.to_owned(), "--ours".to_owned(), path(&self.ours)]
    }

    /// Returns the command line of a mode with a count.
    fn counted(&self, mode: &str, count: usize) -> Vec<String> {
        [self.words(mode), vec!["--count".to_owned(), count.to_string()]].concat()
    }

    /// Returns the file that pcap writes to.
    fn capture(&self) -> PathBuf {
        self.project.target.join("bench.pcap")
    }

    /// Returns the environment of the command lines of [`Bench::words`].
    fn environment(&self) -> Result<Vec<(String, String)>> {
        let mut variables = self.environment_on_this_libc()?;
        if let Some(sid) = &self.newest {
            variables.extend([("TSS2_RUN", sid.run()), ("LD_LIBRARY_PATH", sid.libraries())].map(variable));
        }
        Ok(variables)
    }

    /// Returns the environment of the command lines of [`Bench::on_this_libc`]: where the libraries and simulators are.
    fn environment_on_this_libc(&self) -> Result<Vec<(String, String)>> {
        let stage = self.ours.parent().context("the libraries are not in a stage")?;
        Ok([("TSS2_STAGE", stage.to_owned()), ("TSS2_SIM", self.built.clone())].map(variable).to_vec())
    }

    /// Runs a command line and returns the table that it prints.
    fn table(&self, words: &[String]) -> Result<String> {
        self.table_in(words, self.environment()?)
    }

    fn table_in(&self, words: &[String], environment: Vec<(String, String)>) -> Result<String> {
        let shell = self.project.shell()?;
        let (program, arguments) = words.split_first().context("no command")?;
        let command = cmd!(shell, "{program} {arguments...}").envs(environment);
        // Keep temporary files in memory, so that the disk does not affect the results.
        let memory = ["/dev/shm"].into_iter().filter(|dir| Path::new(dir).is_dir()).map(|dir| ("TMPDIR", dir));
        Ok(command.envs(memory).env("TCTI_PCAP_FILE", self.capture()).quiet().read()? + "\n")
    }

    fn sizes(&self) -> Result<String> {
        self.table(&self.words("sizes"))
    }

    /// Measures with client and server on one core, because their speed on two cores varies between runs.
    fn pinned(&self, mode: &str, count: usize) -> Result<String> {
        self.table(&[PINNED.map(str::to_owned).to_vec(), self.counted(mode, count)].concat())
    }

    /// Measures the start of a program of the distribution.
    fn start(&self, processes: usize) -> Result<String> {
        let (version, dir) = &self.distribution;
        let theirs = ["--theirs".to_owned(), format!("{version}={}", dir.display())];
        let count = ["--count".to_owned(), processes.to_string()];
        let words = PINNED.map(str::to_owned).into_iter().chain(self.on_this_libc("start")).chain(theirs).chain(count);
        self.table_in(&words.collect::<Vec<_>>(), Vec::new())
    }

    /// Measures on all cores.
    fn on_all_cores(&self, mode: &str, count: usize) -> Result<String> {
        self.table(&self.counted(mode, count))
    }

    /// Measures in a virtual machine.
    fn in_guest(&self, mode: &str, GuestCounts { commands, contexts }: GuestCounts) -> Result<String> {
        let counts = [("--commands", commands), ("--contexts", contexts)];
        let counts = counts.into_iter().flat_map(|(name, count)| [name.to_owned(), count.to_string()]);
        let words = self.words(mode).into_iter().chain(counts).collect::<Vec<_>>();
        let mut machine = vm::machine(self.project, LIMIT);
        machine.environment.extend(self.environment()?);
        self.run_in(&machine, &words)
    }

    /// Measures handshakes with servers of the distribution in a virtual machine.
    fn handshakes(&self, HandshakeCounts { turns, count }: HandshakeCounts) -> Result<String> {
        let (version, dir) = &self.distribution;
        let theirs = format!("{version}={}", dir.display());
        let (turns, count) = (turns.to_string(), count.to_string());
        let more = ["--theirs", &theirs, "--turns", &turns, "--count", &count].map(str::to_owned);
        let words = self.on_this_libc("handshakes").into_iter().chain(more).collect::<Vec<_>>();
        let mut machine = vm::machine(self.project, LIMIT);
        (machine.memory, machine.layer) = (400, Some(vm::Layer::Servers.prepare(self.project)?));
        machine.environment.extend(self.environment_on_this_libc()?);
        self.run_in(&machine, &words)
    }

    /// Runs a command line in a virtual machine and returns its output.
    fn run_in(&self, machine: &Machine, words: &[String]) -> Result<String> {
        let mut printed = Vec::new();
        let status = machine.run(&vm::kernel(self.project)?, words, &mut printed)?;
        let printed = String::from_utf8_lossy(&printed).into_owned();
        ensure!(status == 0, "{words:?} in the virtual machine exited with {status}: {printed}");
        Ok(printed)
    }

    /// Describes the date, hardware and software, without details that identify the machine.
    fn machine(&self, shell: &Shell) -> Result<String> {
        let date = cmd!(shell, "date --utc +%F").quiet().read()?;
        let kernel = cmd!(shell, "uname --kernel-release").quiet().read()?;
        // The suffix of the kernel release may identify the machine.
        let kernel = format!("Linux {} {}", kernel.split('-').next().unwrap_or_default(), std::env::consts::ARCH);
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let processor =
            processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
        let processor = processor.trim_start_matches(['\t', ' ', ':']);
        let release = fs::read_to_string("/etc/os-release")?;
        let release =
            release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default().trim_matches('"');
        let newest = self.newest.as_ref().map(|sid| format!("{} (Debian sid) and ", sid.version)).unwrap_or_default();
        let stack = format!("tpm2-tss {newest}{} (the distribution)", self.distribution.0);
        let compiler = cmd!(shell, "rustc --version").quiet().read()?;
        let cores = available_parallelism()?;
        Ok(format!(
            "Measured on {date}: {processor}, {cores} cores, {kernel}, {release}; the C modules are {stack}; ours were built with \
             {compiler}.\n"
        ))
    }
}
