// SPDX-License-Identifier: BSD-2-Clause
//! Servers whose key is in a TPM and whose workers are forked: nginx, Apache and haproxy with tpm2-openssl, see
//! [`tss2_kit::web`]. The workers are nobody and cannot open the device themselves: they use the connection that they
//! inherit, and take turns.

mod killed;
mod reload;
pub(crate) mod stack;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tss2_kit::need::{Need, OPENSSL, SWTPM, Unmet};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm, Wrapped};
use tss2_kit::suite::Suite;
use tss2_kit::waiting::wait_until;
use tss2_kit::web::{Kind, Libraries, Mpm, Server, Site};

/// The provider of tpm2-openssl.
const TPM2_PROVIDER: &str = "/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so";

/// The needs of every server.
const NEEDS: [Need; 5] =
    [Need::Program("curl", "curl"), Need::File(TPM2_PROVIDER, "tpm2-openssl"), OPENSSL, Need::Root, SWTPM];

/// A tpm2-openssl whose processes keep working when one of them is killed. Version 1.3 locks a semaphore that they
/// share around each command, with any TCTI; a process that is killed in between leaves it locked.
const NO_SEMAPHORE: Need = Need::Custom(|| match has_semaphore() {
    false => Ok(()),
    true => Err(Unmet::Inherent("needs a tpm2-openssl without a semaphore".to_owned())),
});

/// Handshakes in parallel.
const AT_ONCE: usize = 8;

pub(crate) fn tests(suite: &mut Suite) {
    let mut test_with = |more: &[Need], name: &str, chip: Chip, kind: Kind, body: fn(Chip, Kind)| {
        let program = match kind {
            Kind::Nginx(_) => Need::Program("nginx", "nginx"),
            Kind::Apache(..) => Need::Program("apache2", "apache2-bin"),
            Kind::Haproxy | Kind::HaproxyDaemon => Need::Program("haproxy", "haproxy"),
        };
        let needs: Vec<Need> = [&NEEDS[..], &[program], more].concat();
        suite.test(format!("servers::{name}_on_{}", chip.name()), &needs, move || body(chip, kind));
    };
    let kills = [NO_SEMAPHORE];
    for chip in [Chip::Device, Chip::Swtpm, Chip::SwtpmKept] {
        test_with(&[], "every_worker_of_nginx_serves", chip, Kind::Nginx(4), every_worker_serves);
        test_with(&[], "every_child_of_apache_serves", chip, Kind::Apache(Mpm::Prefork, 4), every_worker_serves);
        test_with(&[], "haproxy_serves", chip, Kind::Haproxy, serves);
        test_with(&kills, "nginx_keeps_serving_when_workers_are_killed", chip, Kind::Nginx(4), killed::under_load);
    }
    for chip in [Chip::Device, Chip::Swtpm] {
        test_with(&[], "no_new_worker_of_nginx_fails_when_it_reloads", chip, Kind::Nginx(2), reload::under_load);
    }
    test_with(&[], "one_worker_of_nginx_serves", Chip::Device, Kind::Nginx(1), serves);
    test_with(&[], "workers_of_nginx_serve_when_their_master_has_died", Chip::Device, Kind::Nginx(4), without_master);
    test_with(
        &[],
        "every_child_of_apache_with_threads_serves",
        Chip::Device,
        Kind::Apache(Mpm::Worker, 3),
        every_worker_serves,
    );
    test_with(&[], "apache_with_events_serves", Chip::Device, Kind::Apache(Mpm::Event, 3), serves);
    test_with(
        &[],
        "no_new_child_of_apache_fails_when_it_reloads",
        Chip::Device,
        Kind::Apache(Mpm::Prefork, 2),
        reload::under_load,
    );
    let apache = Kind::Apache(Mpm::Prefork, 4);
    test_with(&kills, "apache_keeps_serving_when_children_are_killed", Chip::Device, apache, killed::under_load);
    test_with(&[], "haproxy_serves_when_its_parent_has_ended", Chip::Device, Kind::HaproxyDaemon, serves);
    stack::tests(suite);
}

/// Whether the provider imports sem_wait(3).
fn has_semaphore() -> bool {
    const SYMBOL: &[u8] = b"\0sem_wait\0";
    fs::read(TPM2_PROVIDER).is_ok_and(|library| library.windows(SYMBOL.len()).any(|bytes| bytes == SYMBOL))
}

/// The TPM with the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chip {
    /// The kernel's, through its resource manager.
    Device,
    /// A swtpm, with a connection for each command.
    Swtpm,
    /// A swtpm, with one connection that all processes share.
    SwtpmKept,
}

impl Chip {
    fn name(self) -> &'static str {
        match self {
            Chip::Device => "tpmrm0",
            Chip::Swtpm => "swtpm",
            Chip::SwtpmKept => "a_kept_connection_to_swtpm",
        }
    }

    /// Starts the TPM, unless it is the kernel's.
    fn start(self) -> Option<Box<dyn TestTpm>> {
        let swtpm = || Swtpm::start(SocketKind::Tcp);
        match self {
            Chip::Device => None,
            Chip::Swtpm => Some(Box::new(swtpm())),
            Chip::SwtpmKept => Some(Box::new(Wrapped("", swtpm(), ",keep=true"))),
        }
    }

    /// Starts a server of this kind with a new key in this TPM.
    fn server(self, kind: Kind) -> Serving {
        let tpm = self.start();
        Serving { server: Server::start(kind, Site::new(Libraries::Ours, &name_conf(tpm.as_deref()))), _tpm: tpm }
    }
}

/// Returns the name and configuration of a TPM that was started, or of the kernel's.
fn name_conf(started: Option<&dyn TestTpm>) -> String {
    started.map_or("device:/dev/tpmrm0".to_owned(), TestTpm::name_conf)
}

/// A server and its TPM, which ends after the server.
struct Serving {
    server: Server,
    _tpm: Option<Box<dyn TestTpm>>,
}

/// Performs handshakes one after the other, and several in parallel.
fn serves(chip: Chip, kind: Kind) {
    all_succeed(&chip.server(kind).server);
}

fn all_succeed(server: &Server) {
    server.client().all_succeed(6, 1);
    server.client().all_succeed(2 * AT_ONCE, AT_ONCE);
}

/// Workers that have served a request are suspended, until each worker has.
fn every_worker_serves(chip: Chip, kind: Kind) {
    if chip == Chip::Device {
        let mode = fs::metadata("/dev/tpmrm0").unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "workers could open it");
    }
    let Serving { server, _tpm } = &chip.server(kind);
    all_succeed(server);
    wait_until("a request of each worker", || {
        let is_new = |worker: &Pid| !server.served().contains_key(worker);
        let (new, served): (Vec<Pid>, Vec<Pid>) = server.workers().into_iter().partition(is_new);
        served.into_iter().for_each(|worker| kill(worker, Signal::SIGSTOP).unwrap());
        if !new.is_empty() {
            server.client().all_succeed(new.len(), 1);
        }
        new.is_empty()
    });
}

/// The process that opened the connection and loaded the key exited long ago; now its child, the master, is killed.
fn without_master(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &mut chip.server(kind);
    server.kill_master();
    all_succeed(server);
    assert_eq!(server.workers().len(), kind.workers());
}
