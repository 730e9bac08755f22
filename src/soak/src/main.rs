// SPDX-License-Identifier: BSD-2-Clause
//! `soak`: random load with random faults on one kind of TPM, for a time or for a number of commands. Prints a row of
//! counts, and fails when an answer was wrong, something leaked, or a context did not work again.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "what it cannot do ends it")]

mod descriptors;
mod driver;
mod place;
mod places;
mod proxy;
mod resources;
mod storm;
mod sys;
mod tally;
mod tcti;
mod tools;
mod watchdog;
mod wire;

use clap::{Parser, ValueEnum};
use driver::Driver;
use fastrand::Rng;
use place::Place;
use places::device::Device;
use places::libtpms::Libtpms;
use places::network::Network;
use places::stick::Simulated;
use places::usb::Usb;
use resources::Resources;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use storm::Storm;
use tools::Tools;
use watchdog::Watchdog;

/// NV index of the first context, where no hierarchy has one of its own.
const FIRST_INDEX: u32 = 0x0150_0100;

/// What is put under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Swtpm,
    Mssim,
    Libtpms,
    /// One of the processes beside `libtpms`, until its input ends.
    LibtpmsBeside,
    /// The bus of the stick, in this process.
    Stick,
    /// The stick behind the kernel's USB stack; in the virtual machine.
    Usb,
    /// /dev/tpmrm0; in the virtual machine.
    Device,
}

#[derive(Parser)]
struct Options {
    what: Option<What>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Until so many commands were sent, however long that takes.
    #[arg(long)]
    commands: Option<u64>,
    /// What all decisions follow from; without one it is random, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The state file of `libtpms-beside`.
    #[arg(long)]
    shared: Option<PathBuf>,
    /// Prints the head of the table of all rows.
    #[arg(long)]
    head: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.head {
        println!("{}", tally::HEAD);
    }
    let Some(what) = options.what else { return ExitCode::SUCCESS };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    if what != What::LibtpmsBeside {
        eprintln!("soak: {what:?} with seed {seed}");
    }
    sys::prepare_signals();
    storm::shelter();
    match what {
        What::Swtpm => run(what, &options, seed, Network::swtpm()),
        What::Mssim => run(what, &options, seed, Network::mssim()),
        What::Libtpms => run(what, &options, seed, Libtpms::new(Rng::with_seed(!seed))),
        What::LibtpmsBeside => run(what, &options, seed, Libtpms::beside(options.shared.clone().unwrap_or_default())),
        What::Stick => run(what, &options, seed, Simulated::plug_in()),
        What::Usb => run(what, &options, seed, Usb::plug_in()),
        What::Device => run(what, &options, seed, Device::default()),
    }
}

/// When it is over.
struct End {
    since: Instant,
    seconds: u64,
    commands: Option<u64>,
    input: Option<Arc<AtomicBool>>,
}

impl End {
    /// The part of the whole that is behind us.
    fn part(&self, sent: u64) -> f64 {
        match (&self.input, self.commands) {
            (Some(input), _) if input.load(Ordering::Relaxed) => 1.0,
            (Some(_), _) => (sent as f64 / 10_000.0).min(0.9),
            (None, Some(commands)) => sent as f64 / commands as f64,
            (None, None) => self.since.elapsed().as_secs_f64() / self.seconds as f64,
        }
    }
}

/// Becomes true when standard input ends.
fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        set.store(true, Ordering::Relaxed);
    });
    ended
}

/// After this part of it everything has been allocated that stays.
const WARM: f64 = 0.3;

fn run(what: What, options: &Options, seed: u64, place: impl Place) -> ExitCode {
    let since = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let input = (what == What::LibtpmsBeside).then(end_of_input);
    let end = End { since, seconds: options.seconds, commands: options.commands, input };
    let watchdog = Watchdog::start(seed);
    let tools = place.for_tools().map(|name_conf| Tools::start(name_conf, rng.fork()));
    let storm = Storm::over_this_thread();
    // Processes that share a TPM have a few indices, for which there is room.
    let first_index = FIRST_INDEX + if what == What::LibtpmsBeside { rng.u32(1..16) } else { 0 };
    let mut driver = Driver::new(place, first_index, rng, watchdog, storm);
    let mut warm = None;
    while driver.tally.bad().next().is_none() {
        let part = end.part(driver.tally.sent);
        if part >= 1.0 {
            break;
        }
        if part > WARM && warm.is_none() {
            warm = Some(at_rest(&mut driver, tools.as_ref(), Resources::now));
        }
        driver.step();
    }
    driver.settle();
    if let Some(warm) = warm {
        let leaks = at_rest(&mut driver, tools.as_ref(), || warm.growth());
        driver.tally.leaks.extend(leaks);
    }
    driver.rest();
    match tools.map(Tools::finish) {
        None => {}
        Some(Ok(runs)) => driver.tally.tools = runs,
        Some(Err(why)) => driver.tally.wrong.push(why),
    }
    report(what, seed, since.elapsed(), driver)
}

/// Does something while no context is open and nothing else works.
fn at_rest<P: Place, T>(driver: &mut Driver<P>, tools: Option<&Tools>, work: impl FnOnce() -> T) -> T {
    driver.rest();
    let _paused = tools.map(Tools::pause);
    driver.place.pause();
    work()
}

fn report<P: Place>(what: What, seed: u64, took: Duration, mut driver: Driver<P>) -> ExitCode {
    let rows = driver.place.finish();
    let Driver { place, mut tally, .. } = driver;
    drop(place);
    tally.leaks.extend(resources::children());
    tally.balance();
    let name = format!("{what:?}").to_lowercase();
    println!("| {name} | {tally} | {:.0} | {seed} |", took.as_secs_f64());
    rows.iter().for_each(|row| println!("{row}"));
    tally.bad().for_each(|line| eprintln!("soak: {name} with seed {seed}: {line}"));
    match tally.bad().next() {
        None => ExitCode::SUCCESS,
        Some(_) => {
            last_words();
            ExitCode::FAILURE
        }
    }
}

/// Prints what the modules logged last: the reason is among it.
fn last_words() {
    let log = std::env::var_os("TSS2_LOGFILE").and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].iter().for_each(|line| eprintln!("soak: {line}"));
}
