// SPDX-License-Identifier: BSD-2-Clause
//! The kinds of servers, and how each is configured and started: [`Kind`].

use super::site::Site;
use std::process::Command;

/// A kind of server, and how many worker processes it has.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The process that is started loads the key, forks the master and exits.
    Nginx(usize),
    /// The same as nginx.
    Apache(Mpm, usize),
    /// One worker, whose master (`-W`) loaded the key.
    Haproxy,
    /// One worker, whose parent (`-D`) loaded the key and has exited.
    HaproxyDaemon,
}

/// How a child of Apache serves requests.
#[derive(Clone, Copy, Debug)]
pub enum Mpm {
    /// In its only thread.
    Prefork,
    /// In one thread, while another one accepts connections.
    Worker,
    /// In one thread, while another one accepts connections to be served later.
    Event,
}

impl Kind {
    /// Returns the number of worker processes.
    pub fn workers(self) -> usize {
        match self {
            Kind::Nginx(workers) | Kind::Apache(_, workers) => workers,
            Kind::Haproxy | Kind::HaproxyDaemon => 1,
        }
    }

    /// Returns its configuration, with placeholders for the values of the site. A worker serves with one thread:
    /// tpm2-openssl has one context for all threads, and does not lock it everywhere.
    pub(super) fn configuration(self) -> String {
        let workers = self.workers();
        match self {
            Kind::Nginx(_) => include_str!("nginx.conf").replace("@workers@", &workers.to_string()),
            Kind::Apache(mpm, _) => {
                let (mpm, more) = match mpm {
                    Mpm::Prefork => ("prefork", format!("MinSpareServers {workers}")),
                    Mpm::Worker => ("worker", threads(workers)),
                    Mpm::Event => ("event", threads(workers)),
                };
                let processes = format!("StartServers {workers}\nMaxRequestWorkers {workers}\n{more}");
                include_str!("apache.conf").replace("@mpm@", mpm).replace("@processes@", &processes)
            }
            Kind::Haproxy | Kind::HaproxyDaemon => include_str!("haproxy.cfg").to_owned(),
        }
    }

    pub(super) fn command(self, site: &Site) -> Command {
        let (program, arguments) = match self {
            Kind::Nginx(_) => ("nginx", "-c"),
            Kind::Apache(..) => ("apache2", "-f"),
            Kind::Haproxy => ("haproxy", "-W -f"),
            Kind::HaproxyDaemon => ("haproxy", "-D -f"),
        };
        let mut command = site.server(program);
        command.args(arguments.split(' ')).arg(site.file("configuration"));
        command
    }
}

/// One serving thread in each child, and a fixed number of children.
fn threads(children: usize) -> String {
    format!("ThreadsPerChild 1\nServerLimit {children}\nMinSpareThreads {children}\nMaxSpareThreads {children}")
}
