// SPDX-License-Identifier: BSD-2-Clause
//! TLS handshakes with a server, by curl: [`Client`]. Each is a complete one on a new connection. curl verifies the
//! certificate, so that a signature with another key, or over other data, is a failure.

use super::site::Site;
use crate::{output, stage};
use std::mem;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Seconds after which a handshake counts as hung.
const TIMEOUT: &str = "30";

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    certificate: String,
    url: String,
}

/// The results of handshakes.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many succeeded.
    pub succeeded: usize,
    /// curl's message for each that failed.
    pub failed: Vec<String>,
}

impl Client {
    pub(super) fn of(site: &Site) -> Client {
        Client {
            certificate: site.file("certificate.pem").display().to_string(),
            url: format!("https://127.0.0.1:{}/", site.port()),
        }
    }

    /// Performs `count` handshakes, `at_once` of them in parallel.
    pub fn handshakes(&self, count: usize, at_once: usize) -> Tally {
        let mut curl = stage::distribution_command("curl");
        // With HTTP 1.1, curl sometimes reuses a connection that the server has closed.
        curl.args("--silent --http1.0 --no-alpn --no-sessionid --max-time".split(' ')).args([TIMEOUT, "--cacert"]);
        curl.args([&self.certificate, "--write-out", "%{response_code} %{errormsg}\n"]);
        if at_once > 1 {
            curl.args(["--parallel", "--parallel-immediate", "--parallel-max", &at_once.to_string()]);
        }
        (0..count).for_each(|_| self.add_url(&mut curl));
        let output = output::run(&mut curl);
        let mut tally = Tally::default();
        for line in output::stdout(&output).lines() {
            match line.trim() {
                "204" => tally.succeeded += 1,
                error => tally.failed.push(error.to_owned()),
            }
        }
        assert_eq!(tally.succeeded + tally.failed.len(), count, "{}", output::show(&output));
        tally
    }

    fn add_url(&self, curl: &mut Command) {
        curl.args(["--output", "/dev/null", &self.url]);
    }

    /// Performs handshakes that all have to succeed.
    pub fn all_succeed(&self, count: usize, at_once: usize) {
        let tally = self.handshakes(count, at_once);
        assert!(
            tally.failed.is_empty(),
            "{} of {count}, {at_once} at once, failed: {:#?}",
            tally.failed.len(),
            tally.failed
        );
    }
}

/// Handshakes in a loop, until [`Load::finish`].
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the loop, with `at_once` handshakes in parallel.
    pub fn start(client: Client, at_once: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stopped, sum) = (Arc::clone(&stop), Arc::clone(&tally));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let more = client.handshakes(8 * at_once, at_once);
                sum.lock().unwrap().add(more);
            }
        });
        Load { stop, tally, thread: Some(thread) }
    }

    /// Returns how many have failed so far. The most recent ones are not counted yet.
    pub fn failed(&self) -> usize {
        self.tally.lock().unwrap().failed.len()
    }

    /// Ends the loop. Returns the results of all handshakes.
    pub fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        mem::take(&mut *self.tally.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    /// Adds the results of other handshakes.
    pub fn add(&mut self, mut other: Tally) {
        self.succeeded += other.succeeded;
        self.failed.append(&mut other.failed);
    }

    /// Returns the failures that the death of a worker does not explain.
    pub fn not_by_death(&self) -> Vec<&String> {
        const DEATHS: [&str; 7] = [
            "Connection reset by peer",
            "Empty reply",
            "Recv failure",
            "Send failure: Broken pipe",
            "SSL_ERROR_SYSCALL",
            "Transport endpoint is not connected",
            "unexpected eof",
        ];
        self.failed.iter().filter(|line| !DEATHS.iter().any(|death| line.contains(death))).collect()
    }
}
