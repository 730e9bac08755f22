// SPDX-License-Identifier: BSD-2-Clause
//! Which server, and how it is configured and started: [`Kind`].

use super::site::Site;
use std::process::Command;

/// Which server, and with how many processes that serve.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// What was started loads the key, and ends once it has forked the master.
    Nginx(usize),
    /// As nginx.
    Apache(Mpm, usize),
    /// One process, whose master (`-W`) loaded the key.
    Haproxy,
    /// One process, whose parent (`-D`) loaded the key and has ended.
    HaproxyDaemon,
}

/// How a child of Apache serves.
#[derive(Clone, Copy, Debug)]
pub enum Mpm {
    /// By itself.
    Prefork,
    /// In a thread, while another one accepts.
    Worker,
    /// In a thread, while another one accepts what it will serve later.
    Event,
}

impl Kind {
    /// How many processes serve.
    pub fn workers(self) -> usize {
        match self {
            Kind::Nginx(workers) | Kind::Apache(_, workers) => workers,
            Kind::Haproxy | Kind::HaproxyDaemon => 1,
        }
    }

    /// Its configuration, with places for what the site knows. Processes have one thread to serve with: tpm2-openssl has
    /// one context for all, and does not lock it everywhere.
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

/// One in each child, and no child more or less.
fn threads(children: usize) -> String {
    format!("ThreadsPerChild 1\nServerLimit {children}\nMinSpareThreads {children}\nMaxSpareThreads {children}")
}
