// SPDX-License-Identifier: BSD-2-Clause
//! No name service is asked for the default host, for numeric addresses, or for the owner of a file that cannot be
//! opened: it would load libraries into the program, and may ask servers.

use nix::libc::SIGABRT;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SETPRIV};
use tss2_kit::server::free_port;
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

pub(crate) fn tests(suite: &mut Suite) {
    let build = [CC, PKG_CONFIG];
    let as_nobody = [CC, PKG_CONFIG, LIBTPMS, SETPRIV, Need::Root];
    suite.test("name_service::localhost_and_numeric_addresses_need_none", &build, addresses);
    suite.test("name_service::the_owner_of_a_file_needs_none", &as_nobody, owners);
    suite.test("name_service::the_defaults_need_none", &build, || {
        survives(&open(&mut stage::distribution_command("env"), None));
    });
    suite.test("name_service::other_names_are_resolved", &build, other_names);
}

/// Opens a TCTI in a program that asking the name service ends; `wrapper` runs the program that follows its arguments.
fn open(wrapper: &mut Command, name_conf: Option<&str>) -> Output {
    let dir = program::readable_dir();
    let library = dir.path().join("name-service.so");
    program::shared("name-service", &library, &[]);
    let variables = [("LD_PRELOAD", library), ("LD_LIBRARY_PATH", stage::lib())];
    wrapper.arg("env").args(variables.map(|(name, value)| format!("{name}={}", value.display())));
    output::run(wrapper.arg(program::link_tctildr()).args(name_conf))
}

/// Checks that the program was not ended.
fn survives(output: &Output) {
    assert_eq!(output.status.signal(), None, "{}", output::show(output));
}

fn addresses() {
    let port = free_port();
    for host in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "::1", "[::1]", "fe80::1%lo", "[fe80::1%1]"] {
        for module in ["swtpm", "mssim"] {
            let name_conf = format!("{module}:host={host},port={port},ctrl_port={port},timeout=1000");
            let output = open(&mut stage::distribution_command("env"), Some(&name_conf));
            survives(&output);
            assert!(output::stderr(&output).contains("cannot connect to"), "{host}: {}", output::show(&output));
        }
    }
}

/// Opens a file of root as nobody.
fn owners() {
    let dir = program::readable_dir();
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for (module, owner) in [("device", "owner root:root"), ("libtpms", "uid 0"), ("spidev", "owner root:root")] {
        let mut nobody = stage::distribution_command("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = open(&mut nobody, Some(&format!("{module}:{}", path.display())));
        survives(&output);
        assert!(output::stderr(&output).contains(owner), "{module}: {}", output::show(&output));
    }
}

/// Other names do need it; that the program ends proves that the other tests could fail.
fn other_names() {
    let output = open(&mut stage::distribution_command("env"), Some("swtpm:host=host.invalid"));
    assert_eq!(output.status.signal(), Some(SIGABRT), "{}", output::show(&output));
    assert!(output::stderr(&output).contains("getaddrinfo called"), "{}", output::show(&output));
}
