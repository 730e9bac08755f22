// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and the simulators' server behind proxies: faults of the connection, and servers that are killed and
//! restarted.

use super::open;
use crate::descriptors::Exhausted;
use crate::proxy::Proxy;
use crate::target::{
    Abilities, BROKEN, Keeps, Moment, NO_DESCRIPTORS, Now, Programs, Reach, Refusals, Strike, TAKEN, Target,
};
use fastrand::Rng;
use std::thread;
use std::time::{Duration, Instant};
use tcti_core::Result;
use tcti_core::Tcti;
use tempfile::TempDir;
use tss2_faults::Framing;
use tss2_kit::mssim::{Mssim, MssimProgram};
use tss2_kit::server::{Address, Emulator, EmulatorProgram, SocketKind, Swtpm, SwtpmProgram, TestTpm};

/// The route of one context to its server.
struct Route {
    server: usize,
    data: Proxy,
    control: Proxy,
    name_conf: String,
    /// Whether the context keeps its connection.
    keeps: bool,
}

/// Servers, and routes to them.
pub(crate) struct Network<P> {
    servers: Vec<Emulator<P>>,
    /// Which contexts are affected when a server is killed.
    reach: Reach,
    dead: Vec<bool>,
    routes: Vec<Route>,
    exhausted: Option<Exhausted>,
    abilities: Abilities,
    /// The server of the other programs, and the `name:conf` that opens it.
    programs: (usize, String),
    _dir: TempDir,
}

const ABILITIES: Abilities = Abilities {
    forks: true,
    refusals: Refusals::Tpm,
    largest: TAKEN,
    signals: true,
    cancel: false,
    locality: true,
    poll: true,
};

/// How long a connection may last after both ends have closed it.
const SETTLE: Duration = Duration::from_secs(10);

impl Network<SwtpmProgram> {
    /// Two contexts take turns on a swtpm on TCP, which tools use, too. A third one keeps its connection to another
    /// swtpm, on a Unix socket.
    pub(crate) fn swtpm() -> Self {
        let servers = [SocketKind::Tcp, SocketKind::Unix].map(Swtpm::start);
        let routes = [(0, ""), (0, ""), (1, ",keep=true")];
        Network::over(servers.into(), Reach::Server, &routes, Framing::Raw, ABILITIES, 0)
    }
}

impl Network<MssimProgram> {
    /// A simulator serves one session at a time, so each context has its own, and so have the tools. The simulator
    /// loses its TPM when it is killed.
    pub(crate) fn mssim() -> Self {
        let servers = [SocketKind::Tcp, SocketKind::Unix, SocketKind::Unix].map(|socket| Mssim::start(socket, 0));
        let abilities = Abilities { cancel: true, ..ABILITIES };
        let routes = [(0, ""), (1, "")];
        Network::over(servers.into(), Reach::Memory, &routes, Framing::Enveloped, abilities, 2)
    }
}

impl<P: EmulatorProgram> Network<P> {
    fn over(
        servers: Vec<Emulator<P>>,
        reach: Reach,
        routes: &[(usize, &str)],
        framing: Framing,
        abilities: Abilities,
        programs: usize,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let route = |(number, (server, more)): (usize, &(usize, &str))| {
            let path = dir.path().join(format!("route-{number}"));
            let channel = |number: u16, suffix: &str, framing| match servers[*server].at() {
                Address::Port(port) => Proxy::start("0", &(port + number).to_string(), framing),
                Address::Path(at) => {
                    let [here, there] = [&path, at].map(|path| format!("{}{suffix}", path.display()));
                    Proxy::start(&here, &there, framing)
                }
            };
            let (data, control) = (channel(0, "", framing), channel(1, ".ctrl", Framing::Word));
            let conf = match (data.port(), control.port()) {
                (Some(data), Some(control)) => format!("host=127.0.0.1,port={data},ctrl_port={control}"),
                _ => format!("path={}", path.display()),
            };
            let keeps = framing == Framing::Enveloped || !more.is_empty();
            Route { server: *server, data, control, name_conf: format!("{}:{conf}{more}", P::MODULE), keeps }
        };
        let routes = routes.iter().enumerate().map(route).collect();
        let dead = servers.iter().map(|_| false).collect();
        let programs = (programs, servers[programs].name_conf());
        Network { servers, reach, dead, routes, exhausted: None, abilities, programs, _dir: dir }
    }
}

impl<P: EmulatorProgram> Target for Network<P> {
    fn slots(&self) -> usize {
        self.routes.len()
    }

    fn server(&self, slot: usize) -> usize {
        self.routes[slot].server
    }

    fn open(&mut self, slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        open(&self.routes[slot].name_conf)
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Tpm
    }

    fn is_exclusive(&self, slot: usize) -> bool {
        self.routes[slot].keeps
    }

    fn strike(&mut self, slot: usize, now: Now, rng: &mut Rng) -> Option<Strike> {
        let route = &mut self.routes[slot];
        let kill = rng.u8(..50) == 0;
        if kill && now.calm {
            self.servers[route.server].kill();
            self.dead[route.server] = true;
            let (reach, reaches_programs) = (self.reach, route.server == self.programs.0);
            return Some(Strike {
                reach,
                reaches_programs,
                unloads: true,
                ..Strike::of_one("a killed server", BROKEN)
            });
        }
        if rng.u8(..30) == 0 && now.moment != Moment::Due && now.calm {
            self.exhausted = Exhausted::now();
            return Some(Strike::of_process("no free descriptors", NO_DESCRIPTORS));
        }
        let drawn = match (now.moment, rng.bool()) {
            (Moment::Control, _) | (Moment::Open, true) => route.control.arm(rng),
            (Moment::Command | Moment::Due, _) | (Moment::Open, false) => route.data.arm(rng),
        };
        Some(Strike::of_one(drawn.name, drawn.codes))
    }

    fn heal(&mut self, slot: usize) -> bool {
        self.exhausted = None;
        let route = &mut self.routes[slot];
        let was_dead = std::mem::take(&mut self.dead[route.server]);
        if was_dead {
            self.servers[route.server].restart();
        }
        [route.data.disarm(), route.control.disarm(), was_dead].contains(&true)
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn programs(&self) -> Programs {
        Programs::Concurrent(self.programs.1.clone(), Keeps::Nowhere)
    }

    fn rest(&mut self) -> Vec<String> {
        let since = Instant::now();
        loop {
            let proxies =
                self.routes.iter_mut().flat_map(|route| [("data", &mut route.data), ("control", &mut route.control)]);
            let open: Vec<&str> = proxies.filter_map(|(channel, proxy)| proxy.is_open().then_some(channel)).collect();
            if open.is_empty() || since.elapsed() > SETTLE {
                let stays =
                    |channel| format!("a {channel} connection is open {SETTLE:?} after all contexts were closed");
                return open.into_iter().map(stays).collect();
            }
            thread::sleep(Duration::from_millis(1)); // how often to look
        }
    }
}
