// SPDX-License-Identifier: BSD-2-Clause
//! Shakes hands with a server: curl, a new connection and a whole handshake each time. It holds the server to its
//! certificate, so that a signature of another key, or of something else, is a failure.

use super::site::Site;
use crate::{output, stage};
use std::mem;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Seconds after which a handshake counts as one that hangs.
const PATIENCE: &str = "30";

/// Reaches one server.
#[derive(Clone)]
pub struct Client {
    certificate: String,
    url: String,
}

/// How handshakes ended.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were right.
    pub right: usize,
    /// What curl says of each other one.
    pub wrong: Vec<String>,
}

impl Client {
    pub(super) fn of(site: &Site) -> Client {
        Client {
            certificate: site.file("certificate.pem").display().to_string(),
            url: format!("https://127.0.0.1:{}/", site.port()),
        }
    }

    /// So many handshakes, so many at a time.
    pub fn handshakes(&self, count: usize, at_once: usize) -> Tally {
        let mut curl = stage::distribution_command("curl");
        // With HTTP 1.1, curl now and then tries a connection that the server has closed.
        curl.args("--silent --http1.0 --no-alpn --no-sessionid --max-time".split(' ')).args([PATIENCE, "--cacert"]);
        curl.args([&self.certificate, "--write-out", "%{response_code} %{errormsg}\n"]);
        if at_once > 1 {
            curl.args(["--parallel", "--parallel-immediate", "--parallel-max", &at_once.to_string()]);
        }
        (0..count).for_each(|_| self.add_url(&mut curl));
        let output = output::run(&mut curl);
        let mut tally = Tally::default();
        for line in output::stdout(&output).lines() {
            match line.trim() {
                "204" => tally.right += 1,
                error => tally.wrong.push(error.to_owned()),
            }
        }
        assert_eq!(tally.right + tally.wrong.len(), count, "{}", output::show(&output));
        tally
    }

    fn add_url(&self, curl: &mut Command) {
        curl.args(["--output", "/dev/null", &self.url]);
    }

    /// As `handshakes`, where all have to be right.
    pub fn all_right(&self, count: usize, at_once: usize) {
        let tally = self.handshakes(count, at_once);
        assert!(
            tally.wrong.is_empty(),
            "{} of {count}, {at_once} at once, failed: {:#?}",
            tally.wrong.len(),
            tally.wrong
        );
    }
}

/// Handshakes without a pause, until `finish`.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// So many at a time.
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

    /// How many were not right so far. Those of the last moments are not among them yet.
    pub fn wrong(&self) -> usize {
        self.tally.lock().unwrap().wrong.len()
    }

    /// Ends it, and gives how they all ended.
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
    /// Adds another.
    pub fn add(&mut self, mut other: Tally) {
        self.right += other.right;
        self.wrong.append(&mut other.wrong);
    }

    /// The failures that the death of a worker does not explain.
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
        self.wrong.iter().filter(|line| !DEATHS.iter().any(|death| line.contains(death))).collect()
    }
}
