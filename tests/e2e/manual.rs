// SPDX-License-Identifier: BSD-2-Clause
//! The staged manual pages, as the two readers of manual pages see them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tss2_kit::need::{MAN, MANDOC, MD2MAN};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("manual::mandoc_warns_of_nothing", &[MD2MAN, MANDOC], mandoc_warns_of_nothing);
    suite.test("manual::man_warns_of_nothing", &[MD2MAN, MAN], man_warns_of_nothing);
    suite.test("manual::every_function_has_a_page", &[MD2MAN], every_function_has_a_page);
}

fn pages() -> Vec<PathBuf> {
    let dirs = ["man3", "man5", "man7"].map(|dir| stage::root().join("share/man").join(dir));
    let pages: Vec<PathBuf> =
        dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 20);
    pages
}

/// A link is the same file as its page, and mandoc warns if it is in another section.
fn mandoc_warns_of_nothing() {
    let files = pages().into_iter().filter(|page| !page.is_symlink());
    let mut mandoc = Command::new("mandoc");
    let output =
        output::run(mandoc.current_dir(stage::root().join("share/man")).args(["-Tlint", "-Wwarning"]).args(files));
    assert!(output.status.success(), "{}", output::show(&output));
}

fn man_warns_of_nothing() {
    for page in pages() {
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80");
        let output = output::run(man.current_dir(stage::root().join("share/man")));
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", page.display(), output::show(&output));
        assert!(output.stdout.len() > 200, "{}: {}", page.display(), output::show(&output));
    }
}

fn every_function_has_a_page() {
    for library in stage::libraries().into_keys() {
        for function in stage::exports(&library).iter().filter(|name| *name != "Tss2_Tcti_Info") {
            let page = stage::root().join(format!("share/man/man3/{function}.3"));
            let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(names(&text).iter().any(|name| name == function), "{} does not name {function}", page.display());
        }
    }
}

/// Returns the names in the section NAME of a page, in roff.
fn names(page: &str) -> Vec<String> {
    let section = page.split(".SH NAME\n").nth(1).and_then(|rest| rest.split(".SH").next()).unwrap_or_default();
    let names = section.replace('\\', "");
    names.split(" - ").next().unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect()
}
