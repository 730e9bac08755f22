// SPDX-License-Identifier: BSD-2-Clause
//! Our modules and the C modules side by side, those of the distribution and the newest that Debian has: a document of
//! tables. What is measured is in `tools/bench`.

use crate::project::Project;
use crate::sid::Sid;
use crate::{compile, install, needs, vm, vm_test};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use tss2_vm::Machine;
use xshell::{Shell, cmd};

/// The document that readers of the repository see.
const DOCUMENT: &str = "docs/performance.md";
/// Before a program: it and what it starts stay on one core.
const PINNED: [&str; 3] = ["taskset", "--cpu-list", "0"];
/// Seconds for the virtual machine.
const LIMIT: u64 = 600;

/// How much is measured, and for whom.
#[derive(Args)]
pub(crate) struct Options {
    /// A few of each, in a minute: whether it works.
    #[arg(long, conflicts_with = "publish")]
    quick: bool,
    /// Also write docs/performance.md. On a machine that does nothing else.
    #[arg(long)]
    publish: bool,
}

/// How much of each.
struct Counts {
    commands: usize,
    processes: usize,
    together: usize,
    contexts: usize,
    /// The virtual machine is emulated, and with that slow.
    devices: Both,
    stick: Both,
    handshakes: Turns,
}

/// Commands of each kind, and contexts.
struct Both(usize, usize);

/// Turns of each server, and handshakes in each.
struct Turns(usize, usize);

const QUICK: Counts = Counts {
    commands: 40,
    processes: 5,
    together: 320,
    contexts: 100,
    devices: Both(20, 50),
    stick: Both(3, 50),
    handshakes: Turns(3, 8),
};
const FULL: Counts = Counts {
    commands: 3000,
    processes: 300,
    together: 20_000,
    contexts: 10_000,
    devices: Both(2000, 10_000),
    stick: Both(50, 1000),
    handshakes: Turns(8, 16),
};

const INTRODUCTION: &str = "\
Each table comes from one run, in which our modules, two versions of the C modules and, where there is one, the floor took
turns. One version is the newest that Debian has, from its suite sid, the other that of the distribution. All ran on
the libc of sid, which the newest need; both C versions used the newest libtss2-mu and libtss2-tctildr. Times are
microseconds, median (99th percentile). A ratio is ours to the other's, formed turn by turn, and the median of those: below
1 is better, and a machine that changes its speed does not change it. The floor is the least that a protocol needs: one gathered
write, as few reads as possible, and nothing checked but the size.

`cargo xtask bench` writes all this to target/bench.md, in a quarter of an hour; `cargo xtask bench --publish` writes this
page, too.
";

const COMMANDS: &str = "\
One command and its response, as libtss2-sys does it: the size first, then the response. Client and server share one core.
Calls are system calls per command. The C modules have no `keep=true`, so ours is compared with their connection per command;
in mssim's protocol over TCP they wait for a delayed acknowledgement twice per command. libtpms is in the process.

On a Unix socket ours bounds the time to connect, and ends the connection with shutdown(2), because a forked process may have a
copy of it: two calls more. It reads a response at once, and not its header first: a call less. pcap asks for the limit
of file sizes before each write, because the signal of a limit that came meanwhile would end the program: two calls more. In
each call of libtpms ours also defers the cancellation of the thread and keeps other threads out: 0.05 us. With a state file,
on a disk, ours stores the effect of each command before its response goes out, and has on the disk what a TPM keeps without
power; the C module writes when the context ends.
";

const DEVICES: &str = "\
The same on the kernel's devices, in a virtual machine without hardware acceleration and with an swtpm behind it. `/dev/tpm0`
is without the resource manager. Most of each time is the driver's. A worker of the kernel waits for the TPM, so that
time-outs hold: a change of threads in each command. The C module sends a command when it opens.
";

const STICK: &str = "\
The LetsTrust-TPM2Go, simulated behind the kernel's USB stack in a virtual machine. On a real bus the turns are what takes
time. The C module makes three transfers for each SPI transaction, one after the other, and sleeps for 8 ms between two
looks at the status register. To make a context is to look for the stick, to claim it and to begin with the TPM; where all of
that is emulated, as here, it takes so long that a thousand have to do.
";

const START: &str = "\
`tpm2_getrandom 8` as a process on the libc of this machine, with a directory in LD_LIBRARY_PATH that has libtss2-tctildr
and libtss2-tcti-swtpm, ours or those of the distribution. Instructions are those of the program, counted by valgrind. Memory and page faults are those at one moment: the
first command is sent and the response awaited.

What is above 1 here is the standard library that each of our libraries has inside. It asks the dynamic linker for more
functions of libc, each sought among some forty libraries, and all before the first runs (BIND_NOW), while the C libraries bind what
they call when they call it. It has tables with addresses in them, a thousand in both libraries where the C libraries have
fifty: 12 KiB more of each are the process's own. And it is large: the kernel maps what is around each page that is used, so
that 250 KiB of each library are resident, of the C libraries 40. Those are pages of files, one copy for all processes.
";

const SIZES: &str = "\
The stripped files. More than half of each of ours is Rust's standard library, of that most the printing of a
backtrace, which is linked in whether it can happen or not.
";

const CONTEXTS: &str = "\
Contexts in threads of one process, each with an swtpm of its own behind a Unix socket, on all cores. The rate is that of all
contexts together; its ratio is one of times. A command takes longer the more contexts there are, since each waits for its turn
on a core. With more contexts than cores all have something to do at any time, and ours has a system call more per command
here (shutdown).
";

const CYCLES: &str = "\
A context is made and finalized at once, its library staying loaded. KiB are by how much the process has grown after all of
them.

Where ours takes longer: what forked processes share, that is device, mssim, cmd and the connection that swtpm keeps, has a
page and one or two files in memory for each context, by which they take turns: some ten system calls. mssim says SESSION_END
on both channels when it ends, as the protocol wants it, which the C module does not, and bounds the time for connecting. pcap
looks at what kind of file it has and at the limit for its size, so that no signal ends the program, and draws the addresses
by which contexts are told apart. cmd lets a command that was used end by itself once its input is closed; the C module kills
it. swtpm ends both its connections with shutdown(2), where they are Unix sockets, and the one that it keeps. What the memory
grows by is reached after some thousand contexts; a test holds that their heap stays the same to the byte
(docs/reliability.md).
";

const HANDSHAKES: &str = "\
TLS handshakes in a second with an nginx whose key is in a TPM, by tpm2-openssl: an elliptic curve, two TPM commands for each
handshake, no session resumed. Two nginx run in a virtual machine as above, one with our libraries and one with those of the
distribution, and have their turns. Most of a handshake is the cryptography of server and client, emulated too. The master opened the
connection and loaded the key before it forked; with several workers at once the C module fails where one sends a command
while another awaits its response, and the worker that this happened to serves nobody from then on.
";

/// Writes the document.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::BENCH, needs::VM].concat(), no_install)?;
    let ours = install::stage(project)?.join("lib");
    let built = compile::release(project, ["tss2-bench", "sim-mssim", "sim-tpm2go"])?;
    let shell = project.shell()?;
    // What was just written and is not on the disk yet would count as memory of the processes that map it.
    cmd!(shell, "sync").quiet().run()?;
    let multiarch = cmd!(shell, "cc -print-multiarch").quiet().read()?;
    let newest = newest(project, options.publish)?;
    let distributions = (version_of_distribution(&shell)?, format!("/usr/lib/{multiarch}").into());
    let bench = Bench { project, built, ours, newest, distributions };
    let counts = if options.quick { QUICK } else { FULL };

    let mut text = format!("# How fast\n\n{}\n{INTRODUCTION}", bench.machine(&shell)?);
    let mut add = |title: &str, about: &str, table: String| -> Result<()> {
        println!("{title}\n\n{table}");
        Ok(write!(text, "\n## {title}\n\n{about}\n{table}")?)
    };
    add("A command", COMMANDS, bench.pinned("commands", counts.commands)?)?;
    add("The start of a program", START, bench.start(counts.processes)?)?;
    add("Many contexts at once", CONTEXTS, bench.on_all_cores("contexts", counts.together)?)?;
    add("Init and Finalize", CYCLES, bench.pinned("cycles", counts.contexts)?)?;
    add("Sizes", SIZES, bench.sizes()?)?;
    // Nothing is published that lacks a part.
    if options.publish || vm_test::is_available(project)? {
        add("The kernel's devices", DEVICES, bench.in_a_machine("devices", counts.devices)?)?;
        add("A stick", STICK, bench.in_a_machine("stick", counts.stick)?)?;
        add("A server", HANDSHAKES, bench.handshakes(counts.handshakes)?)?;
    }
    let _ = fs::remove_file(bench.capture());
    let mut written = vec![project.target.join("bench.md")];
    written.extend(options.publish.then(|| project.root.join(DOCUMENT)));
    for path in written {
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(&path, &text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// The newest C modules, unless they cannot be had and nothing is to be published.
fn newest(project: &Project, publish: bool) -> Result<Option<Sid>> {
    if !publish {
        return Ok(Sid::if_to_be_had(project));
    }
    let sid = Sid::prepare(project)?;
    sid.map(Some).context("apt has no mirror of Debian here, which has the C modules to compare with")
}

/// The version of the package; a name where the manager of packages is another one.
fn version_of_distribution(shell: &Shell) -> Result<String> {
    let version = "${Version}";
    let asked = cmd!(shell, "dpkg-query --show --showformat={version} libtss2-tcti-swtpm0").quiet().ignore_stderr();
    Ok(asked.read().unwrap_or_else(|_| "of the distribution".to_owned()))
}

fn variable((name, path): (&str, PathBuf)) -> (String, String) {
    (name.to_owned(), path.display().to_string())
}

/// `side-by-side` and what it gets.
struct Bench<'a> {
    project: &'a Project,
    built: PathBuf,
    ours: PathBuf,
    newest: Option<Sid>,
    /// Version and directory.
    distributions: (String, PathBuf),
}

impl Bench<'_> {
    /// On the libc of the newest modules, where they are.
    fn words(&self, mode: &str) -> Vec<String> {
        let (version, dir) = &self.distributions;
        let upstream = version.split('-').next().unwrap_or_default();
        let newest = self.newest.iter().map(|sid| (sid.upstream(), sid.libraries()));
        let theirs = newest.chain([(upstream, dir.clone())]);
        let theirs = theirs.flat_map(|(version, dir)| ["--theirs".to_owned(), format!("{version}={}", dir.display())]);
        let run = self.newest.iter().map(|sid| sid.run().display().to_string());
        run.chain(self.on_this_libc(mode)).chain(theirs).collect()
    }

    fn on_this_libc(&self, mode: &str) -> [String; 4] {
        let path = |path: &Path| path.display().to_string();
        [path(&self.built.join("side-by-side")), mode.to_owned(), "--ours".to_owned(), path(&self.ours)]
    }

    fn counted(&self, mode: &str, count: usize) -> Vec<String> {
        [self.words(mode), vec!["--count".to_owned(), count.to_string()]].concat()
    }

    fn capture(&self) -> PathBuf {
        self.project.target.join("bench.pcap")
    }

    /// Where it finds what it measures, and the servers.
    fn environment(&self) -> Result<Vec<(String, String)>> {
        let mut places = self.environment_on_this_libc()?;
        if let Some(sid) = &self.newest {
            places.extend([("TSS2_RUN", sid.run()), ("LD_LIBRARY_PATH", sid.libraries())].map(variable));
        }
        Ok(places)
    }

    fn environment_on_this_libc(&self) -> Result<Vec<(String, String)>> {
        let stage = self.ours.parent().context("no staged tree")?;
        Ok([("TSS2_STAGE", stage.to_owned()), ("TSS2_SIM", self.built.clone())].map(variable).to_vec())
    }

    fn table(&self, words: &[String]) -> Result<String> {
        self.table_in(words, self.environment()?)
    }

    fn table_in(&self, words: &[String], environment: Vec<(String, String)>) -> Result<String> {
        let shell = self.project.shell()?;
        let (program, arguments) = words.split_first().context("no command")?;
        let command = cmd!(shell, "{program} {arguments...}").envs(environment);
        // The time of the disk is not what is measured.
        let memory = ["/dev/shm"].into_iter().filter(|dir| Path::new(dir).is_dir()).map(|dir| ("TMPDIR", dir));
        Ok(command.envs(memory).env("TCTI_PCAP_FILE", self.capture()).quiet().read()? + "\n")
    }

    fn sizes(&self) -> Result<String> {
        self.table(&self.words("sizes"))
    }

    /// Client and server on two cores jump between two speeds.
    fn pinned(&self, mode: &str, count: usize) -> Result<String> {
        self.table(&[PINNED.map(str::to_owned).to_vec(), self.counted(mode, count)].concat())
    }

    /// A program of the distribution, with its libraries or ours.
    fn start(&self, processes: usize) -> Result<String> {
        let (version, dir) = &self.distributions;
        let theirs = ["--theirs".to_owned(), format!("{version}={}", dir.display())];
        let count = ["--count".to_owned(), processes.to_string()];
        let words = PINNED.map(str::to_owned).into_iter().chain(self.on_this_libc("start")).chain(theirs).chain(count);
        self.table_in(&words.collect::<Vec<_>>(), Vec::new())
    }

    fn on_all_cores(&self, mode: &str, count: usize) -> Result<String> {
        self.table(&self.counted(mode, count))
    }

    fn in_a_machine(&self, mode: &str, Both(commands, contexts): Both) -> Result<String> {
        let counts = [("--commands", commands), ("--contexts", contexts)];
        let counts = counts.into_iter().flat_map(|(name, count)| [name.to_owned(), count.to_string()]);
        let words = self.words(mode).into_iter().chain(counts).collect::<Vec<_>>();
        let mut machine = vm::machine(self.project, LIMIT);
        machine.environment.extend(self.environment()?);
        self.run_in(&machine, &words)
    }

    /// Servers of the distribution, with its libraries or ours.
    fn handshakes(&self, Turns(turns, count): Turns) -> Result<String> {
        let (version, dir) = &self.distributions;
        let theirs = format!("{version}={}", dir.display());
        let (turns, count) = (turns.to_string(), count.to_string());
        let more = ["--theirs", &theirs, "--turns", &turns, "--count", &count].map(str::to_owned);
        let words = self.on_this_libc("handshakes").into_iter().chain(more).collect::<Vec<_>>();
        let mut machine = vm::machine(self.project, LIMIT);
        (machine.memory, machine.layer) = (400, Some(vm::Layer::Servers.prepare(self.project)?));
        machine.environment.extend(self.environment_on_this_libc()?);
        self.run_in(&machine, &words)
    }

    /// What a mode prints in a machine.
    fn run_in(&self, machine: &Machine, words: &[String]) -> Result<String> {
        let mut printed = Vec::new();
        let status = machine.run(&vm::kernel(self.project)?, words, &mut printed)?;
        let printed = String::from_utf8_lossy(&printed).into_owned();
        ensure!(status == 0, "{words:?} in the virtual machine ended with {status}: {printed}");
        Ok(printed)
    }

    /// When and on what: nothing that names the machine.
    fn machine(&self, shell: &Shell) -> Result<String> {
        let date = cmd!(shell, "date --utc +%F").quiet().read()?;
        let kernel = cmd!(shell, "uname --kernel-release").quiet().read()?;
        // What follows the number names a build, and with that a machine.
        let kernel = format!("Linux {} {}", kernel.split('-').next().unwrap_or_default(), std::env::consts::ARCH);
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let processor =
            processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
        let processor = processor.trim_start_matches(['\t', ' ', ':']);
        let release = fs::read_to_string("/etc/os-release")?;
        let release =
            release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default().trim_matches('"');
        let newest = self.newest.as_ref().map(|sid| format!("{} (Debian sid) and ", sid.version)).unwrap_or_default();
        let stack = format!("tpm2-tss {newest}{} (the distribution)", self.distributions.0);
        let compiler = cmd!(shell, "rustc --version").quiet().read()?;
        let cores = available_parallelism()?;
        Ok(format!(
            "Measured on {date}: {processor}, {cores} cores, {kernel}, {release}; the C modules are {stack}; ours were built with \
             {compiler}.\n"
        ))
    }
}
