// SPDX-License-Identifier: BSD-2-Clause
//! Servers whose key is in a TPM and whose workers are forked: nginx, Apache and haproxy with tpm2-openssl, see
//! [`tss2_e2e::web`]. The workers are nobody and may not open the device by themselves: they go on with the connection
//! that they inherit, and take turns.

mod killed;
mod reload;
pub(crate) mod stack;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use tss2_e2e::need::{Need, SWTPM};
use tss2_e2e::server::{Around, Socket, Swtpm, Tpm};
use tss2_e2e::suite::Suite;
use tss2_e2e::web::{Kind, Libraries, NEEDS, Server, Site, is_alive, wait_until};

/// Handshakes at once.
const AT_ONCE: usize = 8;

pub(crate) fn tests(suite: &mut Suite) {
    let mut test = |sentence: &str, chip: Chip, kind: Kind, body: fn(Chip, Kind)| {
        let needs: Vec<Need> = [&NEEDS[..], &[SWTPM, kind.need()]].concat();
        suite.test(format!("servers::{sentence}_on_{}", chip.name()), &needs, move || { let t = std::time::Instant::now(); body(chip, kind); println!("TIME {:.1}", t.elapsed().as_secs_f32()); });
    };
    for chip in [Chip::Device, Chip::Swtpm, Chip::SwtpmKept] {
        test("every_worker_of_nginx_serves", chip, Kind::Nginx(4), every_worker_serves);
        test("nginx_serves_on_when_workers_are_killed", chip, Kind::Nginx(4), killed::under_load);
    }
    for chip in [Chip::Device, Chip::Swtpm] {
        test("every_child_of_apache_serves", chip, Kind::Prefork(4), every_worker_serves);
        test("no_new_worker_of_nginx_fails_when_it_reloads", chip, Kind::Nginx(2), reload::under_load);
    }
    test("one_worker_of_nginx_serves", Chip::Device, Kind::Nginx(1), every_worker_serves);
    test("workers_of_nginx_serve_when_their_master_has_died", Chip::Device, Kind::Nginx(4), without_master);
    test("every_child_of_apache_with_threads_serves", Chip::Device, Kind::Event(3), every_worker_serves);
    test("no_new_child_of_apache_fails_when_it_reloads", Chip::Device, Kind::Prefork(2), reload::under_load);
    test("apache_serves_on_when_children_are_killed", Chip::Device, Kind::Prefork(4), killed::under_load);
    test("haproxy_serves", Chip::Device, Kind::Haproxy, every_worker_serves);
    test("haproxy_serves_when_its_parent_has_ended", Chip::Device, Kind::HaproxyDaemon, every_worker_serves);
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
            Chip::SwtpmKept => "a_kept_connection_to_tpm",
        }
    }

    /// Starts a server of this kind with a new key in this TPM.
    fn server(self, kind: Kind) -> Serving {
        let swtpm = || Swtpm::start(Socket::Tcp);
        let tpm: Option<Box<dyn Tpm>> = match self {
            Chip::Device => None,
            Chip::Swtpm => Some(Box::new(swtpm())),
            Chip::SwtpmKept => Some(Box::new(Around("", swtpm(), ",keep=true"))),
        };
        let tcti = tpm.as_ref().map_or("device:/dev/tpmrm0".to_owned(), |tpm| tpm.name_conf());
        let libraries = if std::env::var_os("TSS2_C").is_some() { Libraries::Distribution } else { Libraries::Ours };
        Serving { server: Server::start(kind, Site::new(libraries, &tcti)), _tpm: tpm }
    }
}

/// A server and the TPM that it needs, which ends last.
struct Serving {
    server: Server,
    _tpm: Option<Box<dyn Tpm>>,
}

/// One handshake after the other and several at once, until each worker has served.
fn every_worker_serves(chip: Chip, kind: Kind) {
    const ROUNDS: usize = 20;
    if chip == Chip::Device {
        let mode = fs::metadata("/dev/tpmrm0").unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "workers could open it");
    }
    let Serving { server, _tpm } = &chip.server(kind);
    every_worker(server, ROUNDS);
}

fn every_worker(server: &Server, rounds: usize) {
    let client = server.client();
    client.all_right(6, 1);
    for _ in 0..rounds {
        client.all_right(AT_ONCE, AT_ONCE);
        let served = server.served();
        let notes_them = !served.is_empty();
        if !notes_them || server.workers().iter().all(|worker| served.contains_key(worker)) {
            return;
        }
    }
    panic!("of {:?} these have served: {:?}", server.workers(), server.served());
}

fn without_master(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &chip.server(kind);
    let workers = server.workers();
    server.kill_master();
    wait_until("the end of the master", || !is_alive(server.master()));
    server.client().all_right(6, 1);
    server.client().all_right(2 * AT_ONCE, AT_ONCE);
    assert!(workers.into_iter().all(is_alive));
}
