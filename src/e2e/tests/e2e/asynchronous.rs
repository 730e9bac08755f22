// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's libtss2-esys and libtss2-fapi without a call that waits.

use std::fs;
use tss2_e2e::asynchronous::{self, BUILD, By};
use tss2_e2e::behind;
use tss2_e2e::every::{Case, EVERY};
use tss2_e2e::mssim::Mssim;
use tss2_e2e::need::{FAPI, LIBTPMS, SWTPM, VALGRIND};
use tss2_e2e::program::{self, Link};
use tss2_e2e::pty::PtyDevice;
use tss2_e2e::server::{Socket, Swtpm, Tpm};
use tss2_e2e::suite::Suite;
use tss2_e2e::{output, stage};

/// What may be waited for keys, and what that may take of the processor, in milliseconds.
const WAITED: u32 = 1000;
const PROCESSOR: f64 = 10.0;

/// Ways to a TPM besides [`EVERY`].
const MORE: [Case; 2] = [
    ("a_kept_connection", &[SWTPM], || Box::new(Around("", Swtpm::start(Socket::Tcp), ",keep=true"))),
    ("a_recorder", &[SWTPM], || Box::new(Around("pcap:", Swtpm::start(Socket::Unix), ""))),
];

pub(crate) fn tests(suite: &mut Suite) {
    let pollable = EVERY.into_iter().filter(|(name, ..)| *name != "libtpms");
    for (name, needs, start) in pollable.chain(MORE) {
        let needs = [needs, &BUILD].concat();
        suite.test(format!("asynchronous::esys_on_{name}"), &needs, move || {
            waits_without_work(&[start()]);
            asynchronous::run("", By::Program, 0, &[start().name_conf()]);
        });
    }
    let needs = [&BUILD[..], &[SWTPM, LIBTPMS]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop", &needs, || waits_without_work(&nine()));
    let needs = [&needs[..], &[VALGRIND]].concat();
    suite.test("asynchronous::nine_tpms_in_one_loop_under_valgrind", &needs, || {
        let valgrind = "valgrind -q --error-exitcode=99 --leak-check=full";
        asynchronous::run(valgrind, By::Loader, 0, &names(&nine()));
    });
    for profile in ["P_ECCP256SHA256", "P_RSA2048SHA256"] {
        let needs = [&BUILD[..], &[SWTPM], &FAPI].concat();
        suite.test(format!("asynchronous::fapi_with_profile_{profile}"), &needs, move || fapi(profile));
    }
}

/// A swtpm with something before or behind its `name:conf`.
struct Around(&'static str, Swtpm, &'static str);

impl Tpm for Around {
    fn name_conf(&self) -> String {
        format!("{}{}{}", self.0, self.1.name_conf(), self.2)
    }
}

fn names(tpms: &[Box<dyn Tpm>]) -> Vec<String> {
    tpms.iter().map(|tpm| tpm.name_conf()).collect()
}

fn nine() -> Vec<Box<dyn Tpm>> {
    let mut tpms: Vec<Box<dyn Tpm>> = MORE.iter().map(|(_, _, start)| start()).collect();
    for socket in [Socket::Tcp, Socket::Unix] {
        tpms.push(Box::new(Swtpm::start(socket)));
        tpms.push(Box::new(Mssim::start(socket, 0)));
    }
    tpms.extend([behind::command(), Box::new(PtyDevice::start()), Box::new(Swtpm::start(Socket::Unix))]);
    tpms
}

fn waits_without_work(tpms: &[Box<dyn Tpm>]) {
    let cost = asynchronous::run("", By::Loader, WAITED, &names(tpms));
    cost.assert_no_spin();
    assert!(cost.waited >= f64::from(WAITED) && cost.processor < PROCESSOR, "{} ms", cost.processor);
}

/// `Fapi_GetPollHandles` gives our handles before the first command and between two, when FAPI has to go on by itself.
fn fapi(profile: &str) {
    let (swtpm, dir) = (Swtpm::start(Socket::Unix), tempfile::tempdir().unwrap());
    let place = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    };
    let (user, system, log) = (place("user"), place("system"), place("log"));
    let configuration = format!(
        r#"{{"profile_name": "{profile}", "profile_dir": "/etc/tpm2-tss/fapi-profiles/", "user_dir": "{user}",
            "system_dir": "{system}", "log_dir": "{log}", "system_pcrs": [], "ek_cert_less": "yes", "tcti": "{}"}}"#,
        swtpm.name_conf()
    );
    let file = dir.path().join("fapi.json");
    fs::write(&file, configuration).unwrap();
    let program = program::build("fapi", Link::Staged("tss2-tctildr tss2-fapi"), &[]);
    let printed = output::succeed(stage::command(program).env("TSS2_FAPICONF", file));
    let steps: Option<u32> = printed.split_whitespace().nth(1).and_then(|steps| steps.parse().ok());
    assert!(steps.is_some_and(|steps| (50..500).contains(&steps)), "{printed}");
}
