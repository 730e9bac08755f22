// SPDX-License-Identifier: BSD-2-Clause
//! Handshakes with an nginx whose key is in a TPM: its workers sign with the connection that their master opened. One server
//! has our modules, one those of the distribution; they have their turns.

use crate::cell;
use crate::measure::alternate;
use crate::servers::Parts;
use anyhow::{Context, Result};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};
use tss2_kit::web::{Client, Kind, Libraries, Server, Site};

/// Workers, and handshakes at once.
const LOADS: [(usize, usize); 2] = [(1, 1), (4, 8)];

/// Prints the table: so many turns of each server, and so many handshakes in each.
pub(crate) fn print(parts: &Parts, turns: usize, count: usize) -> Result<()> {
    let version = &parts.theirs.first().context("no C libraries")?.version;
    let c = format!("C {version}");
    println!(
        "{}",
        cell::head(&["TPM", "workers", "at once", "ours", "failed", &c, "failed", "ratio of times"].map(str::to_owned))
    );
    for (name, is_device) in [("device /dev/tpmrm0", true), ("swtpm TCP", false)] {
        for (workers, at_once) in LOADS {
            // A new one: what a server leaves stays in it, and there is room for three keys.
            let swtpm = (!is_device).then(|| Swtpm::start(SocketKind::Tcp));
            let tcti = swtpm.as_ref().map_or("device:/dev/tpmrm0".to_owned(), TestTpm::name_conf);
            let start = |libraries| Server::start(Kind::Nginx(workers), Site::new(libraries, &tcti));
            let servers = [Libraries::Ours, Libraries::Distribution].map(start);
            let mut subjects: Vec<Subject> = servers.iter().map(|server| Subject::of(server.client())).collect();
            let times = alternate(turns, subjects.len(), |number| {
                let taken = subjects.get_mut(number).and_then(|subject| subject.turn(count, at_once));
                Ok::<_, Infallible>(taken.into_iter().collect())
            })?;
            let cells = subjects.iter().zip(&times).flat_map(|(subject, times)| {
                [format!("{:.1}", 1e6 / times.median()), format!("{} of {}", subject.failed, turns * count)]
            });
            let [ours, theirs] = &times[..] else { continue };
            // Who fails is done early.
            let all_right = subjects.iter().all(|subject| subject.failed == 0);
            let front = [name.to_owned(), workers.to_string(), at_once.to_string()];
            let ratio = cell::ratio(all_right.then(|| ours.ratio(theirs)));
            println!("{}", cell::row(&front.into_iter().chain(cells).chain([ratio]).collect::<Vec<_>>()));
        }
    }
    Ok(())
}

/// One server.
struct Subject {
    client: Client,
    failed: usize,
}

impl Subject {
    fn of(client: Client) -> Subject {
        // The first handshake of a worker is not what is measured.
        client.handshakes(8, 2);
        Subject { client, failed: 0 }
    }

    /// The time of a handshake, many at once sharing theirs; nothing when none was right.
    fn turn(&mut self, count: usize, at_once: usize) -> Option<Duration> {
        let start = Instant::now();
        let tally = self.client.handshakes(count, at_once);
        self.failed += tally.failed.len();
        let taken = start.elapsed();
        (tally.succeeded > 0).then(|| taken.div_f64(tally.succeeded as f64))
    }
}
