// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask install` and `uninstall`: files go to the given directories, and uninstalling removes all of ours and
//! nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::MD2MAN;
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("install::uninstall_leaves_an_empty_directory", &[], uninstall_leaves_nothing);
    suite.test("install::uninstall_keeps_files_of_others", &[], uninstall_leaves_others);
    suite.test("install::options_choose_the_directories", &[], directories);
    suite.test("install::the_stage_has_the_same_files", &[MD2MAN], stage_is_an_installation);
}

fn xtask(command: &str, destdir: &Path, options: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(stage::repository()).args(["xtask", command, "--destdir"]).arg(destdir).args(options);
    output::succeed(&mut cargo);
}

/// Returns every file and symbolic link below a directory, relative to it.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for path in fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn uninstall_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--prefix", "/usr", "--libdir", "/usr/lib/here", "--base-headers"]] {
        xtask("install", dir.path(), options);
        assert!(files(dir.path()).len() > 50);
        xtask("uninstall", dir.path(), options);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{:?}", files(dir.path()));
    }
}

fn uninstall_leaves_others() {
    let dir = tempfile::tempdir().unwrap();
    let others = ["usr/local/include/tss2/tss2_esys.h", "usr/local/lib/libtss2-esys.so.0", "usr/local/bin/tpm2"];
    for other in others {
        fs::create_dir_all(dir.path().join(other).parent().unwrap()).unwrap();
        fs::write(dir.path().join(other), "").unwrap();
    }
    xtask("install", dir.path(), &[]);
    xtask("uninstall", dir.path(), &[]);
    assert_eq!(files(dir.path()), others.map(str::to_owned).into());
    // A file with the name of one of ours, in a directory into which nothing was installed.
    let loader = dir.path().join("usr/local/lib/libtss2-tctildr.so.0");
    fs::write(&loader, "in C").unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    let uninstall = cargo.current_dir(stage::repository()).args(["xtask", "uninstall", "--destdir"]).arg(dir.path());
    let output = output::run(uninstall);
    assert!(!output.status.success() && output::stderr(&output).contains("nothing of ours is installed"));
    assert_eq!(fs::read(&loader).unwrap(), b"in C");
}

fn directories() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--prefix", "/p", "--libdir", "/l", "--includedir", "/i", "--udevdir", "/u", "--sysconfdir", "/s"];
    xtask("install", dir.path(), &options);
    let found = files(dir.path());
    let has = |path: &str| assert!(found.contains(path), "no {path}: {found:?}");
    has("l/libtss2-tctildr.so.0.0.0");
    has("l/pkgconfig/tss2-tctildr.pc");
    has("i/tss2/tss2_tctildr.h");
    has("u/rules.d/60-tss2-tcti.rules");
    has("p/lib/sysusers.d/tss2-tcti.conf");
    has("p/share/initramfs-tools/hooks/tss2-tcti");
    has("p/lib/dracut/modules.d/91tss2-tcti/module-setup.sh");
    has("p/share/doc/tss2-tcti-rs/LICENSE");
    assert!(!found.iter().any(|path| path.starts_with("s/")), "{found:?}");
    let pc = fs::read_to_string(dir.path().join("l/pkgconfig/tss2-tctildr.pc")).unwrap();
    assert!(pc.starts_with("prefix=/p\nlibdir=/l\nincludedir=/i\n"), "{pc}");
}

fn stage_is_an_installation() {
    let dir = tempfile::tempdir().unwrap();
    xtask("install", dir.path(), &["--prefix", "/", "--base-headers"]);
    assert_eq!(files(dir.path()), files(&stage::root()));
}
