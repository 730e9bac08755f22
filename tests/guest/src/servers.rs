// SPDX-License-Identifier: BSD-2-Clause
//! Servers whose key is in a TPM and whose workers are forked: nginx, Apache and haproxy with tpm2-openssl, see
//! [`tss2_kit::web`]. The workers are nobody and may not open the device by themselves: they go on with the connection
//! that they inherit, and take turns.

mod killed;
mod reload;
pub(crate) mod stack;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tss2_kit::need::{Need, OPENSSL, SWTPM, TPM2_PROVIDER};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm, Wrapped};
use tss2_kit::suite::Suite;
use tss2_kit::waiting::wait_until;
use tss2_kit::web::{Kind, Libraries, Mpm, Server, Site};

/// What every server needs.
const NEEDS: [Need; 5] =
    [Need::Program("curl", "curl"), Need::File(TPM2_PROVIDER, "tpm2-openssl"), OPENSSL, Need::Root, SWTPM];

/// Handshakes at once.
const AT_ONCE: usize = 8;

pub(crate) fn tests(suite: &mut Suite) {
    let mut test = |sentence: &str, chip: Chip, kind: Kind, body: fn(Chip, Kind)| {
        let program = match kind {
            Kind::Nginx(_) => Need::Program("nginx", "nginx"),
            Kind::Apache(..) => Need::Program("apache2", "apache2-bin"),
            Kind::Haproxy | Kind::HaproxyDaemon => Need::Program("haproxy", "haproxy"),
        };
        let more: &[Need] = if sentence.contains("killed") { &[program, Need::NoSemaphore] } else { &[program] };
        let needs: Vec<Need> = [&NEEDS[..], more].concat();
        suite.test(format!("servers::{sentence}_on_{}", chip.name()), &needs, move || body(chip, kind));
    };
    for chip in [Chip::Device, Chip::Swtpm, Chip::SwtpmKept] {
        test("every_worker_of_nginx_serves", chip, Kind::Nginx(4), every_worker_serves);
        test("every_child_of_apache_serves", chip, Kind::Apache(Mpm::Prefork, 4), every_worker_serves);
        test("haproxy_serves", chip, Kind::Haproxy, serves);
        test("nginx_serves_on_when_workers_are_killed", chip, Kind::Nginx(4), killed::under_load);
    }
    for chip in [Chip::Device, Chip::Swtpm] {
        test("no_new_worker_of_nginx_fails_when_it_reloads", chip, Kind::Nginx(2), reload::under_load);
    }
    test("one_worker_of_nginx_serves", Chip::Device, Kind::Nginx(1), serves);
    test("workers_of_nginx_serve_when_their_master_has_died", Chip::Device, Kind::Nginx(4), without_master);
    test("every_child_of_apache_with_threads_serves", Chip::Device, Kind::Apache(Mpm::Worker, 3), every_worker_serves);
    test("apache_with_events_serves", Chip::Device, Kind::Apache(Mpm::Event, 3), serves);
    test(
        "no_new_child_of_apache_fails_when_it_reloads",
        Chip::Device,
        Kind::Apache(Mpm::Prefork, 2),
        reload::under_load,
    );
    test("apache_serves_on_when_children_are_killed", Chip::Device, Kind::Apache(Mpm::Prefork, 4), killed::under_load);
    test("haproxy_serves_when_its_parent_has_ended", Chip::Device, Kind::HaproxyDaemon, serves);
    stack::tests(suite);
}

/// Which TPM has the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chip {
    /// The kernel's, by its resource manager.
    Device,
    /// A swtpm, a connection for each command.
    Swtpm,
    /// A swtpm whose one connection all share.
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

    /// The TPM, where it has to be started.
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

/// The name and configuration of a TPM that was started, or of the kernel's.
fn name_conf(started: Option<&dyn TestTpm>) -> String {
    started.map_or("device:/dev/tpmrm0".to_owned(), TestTpm::name_conf)
}

/// A server and the TPM that it needs, which ends last.
struct Serving {
    server: Server,
    _tpm: Option<Box<dyn TestTpm>>,
}

/// One handshake after the other, and several at once.
fn serves(chip: Chip, kind: Kind) {
    all_succeed(&chip.server(kind).server);
}

fn all_succeed(server: &Server) {
    server.client().all_succeed(6, 1);
    server.client().all_succeed(2 * AT_ONCE, AT_ONCE);
}

/// Those workers that have served rest, until each has.
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

/// The process that opened the connection and loaded the key has ended long before; now its child does.
fn without_master(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &mut chip.server(kind);
    server.kill_master();
    all_succeed(server);
    assert_eq!(server.workers().len(), kind.workers());
}
