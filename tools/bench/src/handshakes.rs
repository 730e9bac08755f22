// SPDX-License-Identifier: BSD-2-Clause
//! Measures TLS handshakes with nginx servers whose keys are in a TPM. The workers sign over the connection that their master
//! process has opened. One server uses our modules, one those of the distribution; they take turns.

use crate::cell;
use crate::measure::alternate;
use crate::servers::Selection;
use anyhow::{Context, Result};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};
use tss2_kit::web::{Client, Kind, Libraries, Server, Site};

/// Numbers of workers and of concurrent handshakes.
const LOADS: [(usize, usize); 2] = [(1, 1), (4, 8)];

/// Measures and prints the table, with `turns` turns of each server and `count` handshakes in each.
pub(crate) fn print(selection: &Selection, turns: usize, count: usize) -> Result<()> {
    let version = &selection.theirs.first().context("no C libraries")?.version;
    let c = format!("C {version}");
    println!(
        "{}",
        cell::head(&["TPM", "workers", "at once", "ours", "failed", &c, "failed", "ratio of times"].map(str::to_owned))
    );
    for (name, is_device) in [("device /dev/tpmrm0", true), ("swtpm TCP", false)] {
        for (workers, at_once) in LOADS {
            // Start a new TPM each time, because servers leave their keys loaded and there is room for three.
            let swtpm = (!is_device).then(|| Swtpm::start(SocketKind::Tcp));
            let tcti = swtpm.as_ref().map_or("device:/dev/tpmrm0".to_owned(), TestTpm::name_conf);
            let start = |libraries| Server::start(Kind::Nginx(workers), Site::new(libraries, &tcti));
            let servers = [Libraries::Ours, Libraries::Distribution].map(start);
            let mut servers: Vec<Measured> = servers.iter().map(|server| Measured::new(server.client())).collect();
            let times = alternate(turns, servers.len(), |number| {
                let taken = servers.get_mut(number).and_then(|server| server.turn(count, at_once));
                Ok::<_, Infallible>(taken.into_iter().collect())
            })?;
            let cells = servers.iter().zip(&times).flat_map(|(server, times)| {
                [format!("{:.1}", 1e6 / times.median()), format!("{} of {}", server.failed, turns * count)]
            });
            let [ours, theirs] = &times[..] else { continue };
            // Times are not comparable after failures, because a failed handshake is faster.
            let is_comparable = servers.iter().all(|server| server.failed == 0);
            let front = [name.to_owned(), workers.to_string(), at_once.to_string()];
            let ratio = cell::ratio(is_comparable.then(|| ours.ratio(theirs)));
            println!("{}", cell::row(&front.into_iter().chain(cells).chain([ratio]).collect::<Vec<_>>()));
        }
    }
    Ok(())
}

/// A server that is measured.
struct Measured {
    client: Client,
    /// Number of failed handshakes.
    failed: usize,
}

impl Measured {
    fn new(client: Client) -> Measured {
        // Do not measure the first handshake of each worker.
        client.handshakes(8, 2);
        Measured { client, failed: 0 }
    }

    /// Runs `count` handshakes and returns the elapsed time divided by the number of successful ones; `None` if all failed.
    fn turn(&mut self, count: usize, at_once: usize) -> Option<Duration> {
        let start = Instant::now();
        let tally = self.client.handshakes(count, at_once);
        self.failed += tally.failed.len();
        let taken = start.elapsed();
        (tally.succeeded > 0).then(|| taken.div_f64(tally.succeeded as f64))
    }
}
