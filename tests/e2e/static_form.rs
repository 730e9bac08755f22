// SPDX-License-Identifier: BSD-2-Clause
//! Modules as static libraries, linked into a program that cannot load libraries, with the commands of
//! `docs/early-boot.md`.

use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::need::{BINUTILS, CC};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("static_form::modules_are_linked_into_a_static_program", &[CC, BINUTILS], linked);
}

fn linked() {
    let dir = tempfile::tempdir().unwrap();
    let [device, null] = ["device", "null"].map(archive);
    succeeds(link(dir.path(), "one", &["-DONE"], &[&device]));

    let mut both = link(dir.path(), "both", &[], &[&device, &null]);
    let refused = output::stderr(&output::run(&mut both.compile));
    for symbol in ["Tss2_Tcti_Info", "rust_eh_personality"] {
        assert!(refused.contains(&format!("multiple definition of `{symbol}'")), "{refused}");
    }
    let hidden = [("Device", device), ("Null", null)].map(|(name, archive)| hide(dir.path(), name, &archive));
    succeeds(link(dir.path(), "hidden", &[], &[&hidden[0], &hidden[1]]));
}

/// Builds a module as a static library, in a target directory of its own because the compiler flags differ.
fn archive(module: &str) -> PathBuf {
    let target = stage::root().with_file_name("static-form");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(stage::repository()).args(["rustc", "--quiet", "--locked", "--release", "--lib", "--package"]);
    cargo.arg(format!("tss2-tcti-{module}")).args(["--crate-type", "staticlib", "--target-dir"]).arg(&target);
    output::succeed(&mut cargo);
    target.join(format!("release/libtss2_tcti_{module}.a"))
}

/// Links an archive into an object with one global symbol.
fn hide(dir: &Path, name: &str, archive: &Path) -> PathBuf {
    let (object, symbol) = (dir.join(format!("{name}.o")), format!("Tss2_Tcti_{name}_Init"));
    output::succeed(Command::new("ld").args(["-r", "-u", &symbol]).arg(archive).arg("-o").arg(&object));
    output::succeed(Command::new("objcopy").arg(format!("--keep-global-symbol={symbol}")).arg(&object));
    object
}

struct Link {
    compile: Command,
    program: PathBuf,
}

fn link(dir: &Path, name: &str, options: &[&str], inputs: &[&Path]) -> Link {
    let program = dir.join(name);
    let mut compile = Command::new("cc");
    compile.arg("-static").args(options).arg("-I").arg(stage::include()).arg(stage::c_tests("static-form.c"));
    compile.args(inputs).arg("-o").arg(&program);
    Link { compile, program }
}

fn succeeds(mut link: Link) {
    output::succeed(&mut link.compile);
    assert_eq!(output::succeed(Command::new(link.program).env("TSS2_LOG", "all+none")), "passed\n");
}
