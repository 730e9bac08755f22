// SPDX-License-Identifier: BSD-2-Clause
//! `soak`: random load with random faults on one kind of TPM, for a time or for a number of commands. Prints a row of
//! counts. Fails when a response was wrong, something leaked, or a context did not recover.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an unexpected failure ends the program")]

mod descriptors;
mod driver;
mod kernel;
mod proxy;
mod resources;
mod storm;
mod sys;
mod tally;
mod target;
mod targets;
mod tools;
mod watchdog;
mod wire;

use clap::{Parser, ValueEnum};
use driver::Driver;
use fastrand::Rng;
use resources::Resources;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use storm::Storm;
use target::{Programs, Target};
use targets::command::Command;
use targets::device::Device;
use targets::libtpms::Libtpms;
use targets::network::Network;
use targets::stick::Simulated;
use targets::usb::Usb;
use targets::wrong_answers::{Lie, WrongAnswers};
use tools::Tools;
use tss2_faults::Framing;
use tss2_soak::Trouble;
use watchdog::Watchdog;

/// NV index of the first context, in a range where no hierarchy has indices of its own.
const FIRST_INDEX: u32 = 0x0150_0100;

/// The kinds of TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Swtpm,
    Mssim,
    Cmd,
    Libtpms,
    /// One of the other processes of `libtpms`, until its input ends.
    LibtpmsOther,
    /// The bus of a simulated stick, in this process.
    Stick,
    /// A simulated stick behind the kernel's USB stack; in the virtual machine.
    Usb,
    /// /dev/tpmrm0; in the virtual machine.
    Device,
    /// A TPM with a defect, to test this program itself.
    WrongAnswers,
    /// No load: a proxy between the contexts and a server, until its input ends.
    Proxy,
}

impl What {
    /// Returns its name in the table.
    fn name(self) -> &'static str {
        match self {
            What::Swtpm => "swtpm",
            What::Mssim => "mssim",
            What::Cmd => "cmd",
            What::Libtpms => "libtpms",
            What::LibtpmsOther => "libtpms, another process",
            What::Stick => "stick (bus only, in this process)",
            What::Usb => "stick (kernel's USB)",
            What::Device => "device",
            What::WrongAnswers => "wrong-answers",
            What::Proxy => "proxy",
        }
    }
}

#[derive(Parser)]
struct Options {
    what: Option<What>,
    /// Seconds to run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs until this many commands were sent, however long that takes.
    #[arg(long)]
    commands: Option<u64>,
    /// The seed of all random decisions; random by default, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The state file of `libtpms-other`.
    #[arg(long)]
    shared: Option<PathBuf>,
    /// The number of a process of `libtpms-other`, unique among those that run.
    #[arg(long, default_value_t = 0)]
    number: u32,
    /// Where `proxy` listens: a TCP port, or a path.
    #[arg(long, default_value = "0")]
    at: String,
    /// The server of `proxy`.
    #[arg(long, default_value = "0")]
    server: String,
    /// How messages through `proxy` are delimited.
    #[arg(long, default_value = "Raw", value_parser = proxy::framing)]
    framing: Framing,
    /// The defect of `wrong-answers`.
    #[arg(long)]
    lie: Option<Lie>,
    /// Compiles the C programs into the directory `TSS2_PROGRAMS`, and prints the head of the table.
    #[arg(long)]
    prepare: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.prepare {
        tools::compile();
        println!("{}", tally::HEAD);
    }
    let Some(what) = options.what else { return ExitCode::SUCCESS };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    if what == What::Proxy {
        proxy::serve(&options.at, &options.server, options.framing);
        return ExitCode::SUCCESS;
    }
    if what != What::LibtpmsOther {
        eprintln!("soak: {} with seed {seed}", what.name());
    }
    sys::prepare_signals();
    match what {
        What::Swtpm => run(what, &options, seed, Network::swtpm()),
        What::Mssim => run(what, &options, seed, Network::mssim()),
        What::Cmd => run(what, &options, seed, Command::new()),
        What::Libtpms => run(what, &options, seed, Libtpms::new(Rng::with_seed(!seed))),
        What::LibtpmsOther => {
            run(what, &options, seed, Libtpms::other_instance(options.shared.clone().unwrap_or_default()))
        }
        What::Stick => run(what, &options, seed, Simulated::plug_in()),
        What::Usb => run(what, &options, seed, Usb::plug_in()),
        What::Device => run(what, &options, seed, Device::default()),
        What::WrongAnswers => run(what, &options, seed, WrongAnswers(options.lie)),
        What::Proxy => ExitCode::SUCCESS, // see above
    }
}

/// The end of a run.
struct End {
    since: Instant,
    seconds: u64,
    commands: Option<u64>,
    input: Option<Arc<AtomicBool>>,
}

impl End {
    /// Returns the part of the run that is over, from 0 to 1.
    fn part(&self, sent: u64) -> f64 {
        match (&self.input, self.commands) {
            (Some(input), _) => {
                let enough = if input.load(Ordering::Relaxed) { 1.0 } else { 0.9 };
                (sent as f64 / FEWEST).min(enough)
            }
            (None, Some(commands)) => sent as f64 / commands as f64,
            (None, None) => self.since.elapsed().as_secs_f64() / self.seconds as f64,
        }
    }
}

/// Returns a flag that becomes true when standard input ends.
fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        set.store(true, Ordering::Relaxed);
    });
    ended
}

/// The fewest commands of a process of `libtpms-other`, also when its input ends at once, so that leaks show.
const FEWEST: f64 = 5000.0;

/// After this part of a run, everything that stays has been allocated.
const WARM: f64 = 0.3;

fn run(what: What, options: &Options, seed: u64, target: impl Target) -> ExitCode {
    let since = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let input = (what == What::LibtpmsOther).then(end_of_input);
    let end = End { since, seconds: options.seconds, commands: options.commands, input };
    let name = what.name();
    let trouble = Trouble::new(target.outside());
    let tools = match target.programs() {
        Programs::Concurrent(name_conf, keeps) => {
            Some(Tools::start(name_conf, keeps, rng.fork(), Watchdog::start(name, seed), trouble.clone()))
        }
        Programs::None | Programs::Between(_) => None,
    };
    let storm = Storm::over_this_thread();
    let mut driver =
        Driver::new(target, FIRST_INDEX + options.number, rng, Watchdog::start(name, seed), storm, trouble);
    driver.open_log();
    run_until(&mut driver, &end, WARM);
    let warm = at_rest(&mut driver, tools.as_ref(), Resources::now);
    let sent = driver.tally.sent;
    run_until(&mut driver, &end, 1.0);
    if driver.tally.sent == sent && !driver.tally.is_bad() {
        driver.tally.failures.push("no command was sent between the two measurements of leaks".to_owned());
    }
    let leaks = at_rest(&mut driver, tools.as_ref(), || warm.growth());
    driver.tally.leaks.extend(leaks);
    match tools {
        Some(tools) => driver.tally.runs = tools.finish(),
        None => driver.lend_to_all(),
    }
    report(what, seed, since.elapsed(), driver)
}

/// Runs until this part is over, or until a failure.
fn run_until<P: Target>(driver: &mut Driver<P>, end: &End, part: f64) {
    while !driver.tally.is_bad() && end.part(driver.tally.sent) < part {
        driver.step();
    }
}

/// Does something while no context is open and no other program runs.
fn at_rest<P: Target, T>(driver: &mut Driver<P>, tools: Option<&Tools>, work: impl FnOnce() -> T) -> T {
    driver.rest();
    let _paused = tools.map(Tools::pause);
    let stays = driver.target.rest();
    driver.tally.leaks.extend(stays);
    work()
}

fn report<P: Target>(what: What, seed: u64, took: Duration, mut driver: Driver<P>) -> ExitCode {
    driver.kill_workers();
    let Driver { mut target, mut tally, watchdog, .. } = driver;
    let ended = watchdog.watch(format_args!("the end of the other programs"), || {
        let ended = target.finish();
        drop(target);
        ended
    });
    let mut rows = Vec::new();
    for ended in ended {
        match ended {
            Ok(row) => rows.push(row),
            Err(why) => tally.failures.push(why),
        }
    }
    tally.leaks.extend(resources::children());
    tally.balance();
    let name = what.name();
    println!("| {name} | {tally} | {:.0} | {seed} |", took.as_secs_f64());
    rows.iter().for_each(|row| println!("{row}"));
    tss2_kit::program::clean_up();
    tally.bad().take(FAILURES).for_each(|line| eprintln!("soak: {name} with seed {seed}: {line}"));
    match tally.is_bad() {
        false => ExitCode::SUCCESS,
        true => {
            last_words();
            ExitCode::FAILURE
        }
    }
}

/// The most failures that are printed.
const FAILURES: usize = 20;

/// Prints the last lines that the modules logged, which contain the reason.
fn last_words() {
    let log = std::env::var_os("TSS2_LOGFILE").and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].iter().for_each(|line| eprintln!("soak: {line}"));
}
