// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and the simulators' server behind proxies: faults of the connection, servers that are killed and come back.

use super::open;
use crate::descriptors::Exhausted;
use crate::place::{Abilities, BROKEN, Moment, NO_DESCRIPTORS, Place, Programs, Reach, Strike};
use crate::proxy::{Framing, Proxy};
use crate::tcti::Tcti;
use crate::wire::Wire;
use fastrand::Rng;
use std::thread;
use std::time::{Duration, Instant};
use tcti_core::Result;
use tempfile::TempDir;
use tss2_e2e::mssim::{Mssim, MssimServer};
use tss2_e2e::server::{At, Emulator, Program, Socket, Swtpm, SwtpmSocket, Tpm};

/// One context's way to its server.
struct Way {
    server: usize,
    data: Proxy,
    control: Proxy,
    name_conf: String,
}

/// Servers and ways to them.
pub(crate) struct Network<P> {
    servers: Vec<Emulator<P>>,
    /// Whom it hits when one is killed.
    reach: Reach,
    dead: Vec<bool>,
    ways: Vec<Way>,
    exhausted: Option<Exhausted>,
    abilities: Abilities,
    /// On which server other programs are, and what opens it.
    programs: (usize, String),
    _dir: TempDir,
}

/// How long a connection may pass through after both ends have closed it.
const SETTLE: Duration = Duration::from_secs(10);

impl Network<SwtpmSocket> {
    /// Two contexts take turns on a swtpm on TCP, which tools use, too; a third one keeps its connection to another
    /// swtpm, on a Unix socket.
    pub(crate) fn swtpm() -> Self {
        let servers = [Socket::Tcp, Socket::Unix].map(Swtpm::start);
        let abilities = Abilities { signals: true, cancel: false, locality: true, poll: true };
        let ways = [(0, ""), (0, ""), (1, ",keep=true")];
        Network::over(servers.into(), Reach::Server, &ways, Framing::Raw, abilities, 0)
    }
}

impl Network<MssimServer> {
    /// A simulator serves one session at a time, so each context has its own, and the tools theirs. The server of
    /// ours keeps its TPM in memory, as it were.
    pub(crate) fn mssim() -> Self {
        let servers = [Socket::Tcp, Socket::Unix, Socket::Unix].map(|socket| Mssim::start(socket, 0));
        let abilities = Abilities { signals: true, cancel: true, locality: true, poll: true };
        let ways = [(0, ""), (1, "")];
        Network::over(servers.into(), Reach::Memory, &ways, Framing::Enveloped, abilities, 2)
    }
}

impl<P: Program> Network<P> {
    fn over(
        servers: Vec<Emulator<P>>,
        reach: Reach,
        ways: &[(usize, &str)],
        framing: Framing,
        abilities: Abilities,
        programs: usize,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let way = |(number, (server, more)): (usize, &(usize, &str))| {
            let at = channels(servers[*server].at());
            let path = dir.path().join(format!("way-{number}"));
            let here = match &at {
                [At::Port(_), _] => [At::Port(0), At::Port(0)],
                [At::Path(_), _] => [At::Path(path.clone()), At::Path(path.with_extension("ctrl"))],
            };
            let data = Proxy::start(&here[0], &at[0], framing);
            let control = Proxy::start(&here[1], &at[1], Framing::Word);
            let conf = match (data.port(), control.port()) {
                (Some(data), Some(control)) => format!("host=127.0.0.1,port={data},ctrl_port={control}"),
                _ => format!("path={}", path.display()),
            };
            Way { server: *server, data, control, name_conf: format!("{}:{conf}{more}", P::MODULE) }
        };
        let ways = ways.iter().enumerate().map(way).collect();
        let dead = servers.iter().map(|_| false).collect();
        let programs = (programs, servers[programs].name_conf());
        Network { servers, reach, dead, ways, exhausted: None, abilities, programs, _dir: dir }
    }
}

fn channels(at: &At) -> [At; 2] {
    match at {
        At::Port(port) => [At::Port(*port), At::Port(port + 1)],
        At::Path(path) => [At::Path(path.clone()), At::Path(format!("{}.ctrl", path.display()).into())],
    }
}

impl<P: Program> Place for Network<P> {
    fn slots(&self) -> usize {
        self.ways.len()
    }

    fn server(&self, slot: usize) -> usize {
        self.ways[slot].server
    }

    fn open(&mut self, slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        open(&self.ways[slot].name_conf)
    }

    fn strike(&mut self, slot: usize, moment: Moment, calm: bool, rng: &mut Rng) -> Option<Strike> {
        let way = &self.ways[slot];
        let kill = rng.u8(..50) == 0;
        if kill && calm {
            self.servers[way.server].kill();
            self.dead[way.server] = true;
            let (reach, beside) = (self.reach, way.server == self.programs.0);
            return Some(Strike { fault: "a killed server", codes: BROKEN, reach, beside, endless: false });
        }
        if rng.u8(..30) == 0 && moment != Moment::Due && calm {
            self.exhausted = Exhausted::now();
            return Some(Strike {
                fault: "no more descriptors",
                codes: NO_DESCRIPTORS,
                reach: Reach::Process,
                beside: true,
                endless: true,
            });
        }
        let (proxy, wire) = match (moment, rng.bool()) {
            (Moment::Control, _) | (Moment::Open, true) => (&way.control, Wire::draw_control(rng)),
            (Moment::Command | Moment::Due, _) | (Moment::Open, false) => {
                (&way.data, Wire::draw(way.data.framing(), rng))
            }
        };
        let (fault, codes) = (wire.name(), wire.codes());
        proxy.arm(wire);
        Some(Strike { fault, codes, reach: Reach::One, beside: false, endless: false })
    }

    fn heal(&mut self, slot: usize) -> bool {
        self.exhausted = None;
        let way = &self.ways[slot];
        let was_dead = std::mem::take(&mut self.dead[way.server]);
        if was_dead {
            self.servers[way.server].restart();
        }
        [way.data.disarm(), way.control.disarm(), was_dead].contains(&true)
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn programs(&self) -> Programs {
        Programs::Beside(self.programs.1.clone())
    }

    fn rest(&mut self) -> Vec<String> {
        let since = Instant::now();
        let proxies = || self.ways.iter().flat_map(|way| [("data", &way.data), ("control", &way.control)]);
        while proxies().any(|(_, proxy)| proxy.is_open()) && since.elapsed() < SETTLE {
            thread::sleep(Duration::from_millis(1)); // how often to look
        }
        let open = proxies().filter(|(_, proxy)| proxy.is_open());
        open.map(|(channel, _)| format!("a {channel} connection, {SETTLE:?} after all contexts were closed")).collect()
    }
}
