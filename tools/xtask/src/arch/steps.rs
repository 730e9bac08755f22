// SPDX-License-Identifier: BSD-2-Clause
//! What is done for each architecture, by `steps.sh`, and what came of it: [`run`].

use super::machine::Machine;
use super::place::Place;
use crate::project::Project;
use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use std::collections::BTreeSet;

const STEPS: &str = include_str!("steps.sh");
/// What `core::testing` says of a test that an emulator cannot run.
const LACKS: &str = "not tested, because the emulator lacks it: ";
/// How many checks `c-tests/conformance.c` has at least for a module with a TPM.
const CHECKS: u32 = 150;

/// What is linked with a library, or tested with one, that Debian does not have for musl.
const OF_OTHER_LIBRARIES: [&str; 3] = ["tss2-tcti-libtpms", "tss2-tcti-spi-ltt2go", "sim-tpm2go"];

/// A step: a function of `steps.sh` with its arguments, what it is to a reader, and how it is summed up.
struct Step {
    title: &'static str,
    call: &'static str,
    sum_up: fn(&str) -> Result<String>,
    /// Not for musl, and why.
    has_no_musl: Option<&'static str>,
}

const ALL: [Step; 6] = [
    Step {
        title: "libraries",
        call: "libraries",
        sum_up: |_| Ok("built without a warning".to_owned()),
        has_no_musl: None,
    },
    Step { title: "unit tests", call: "unit_tests", sum_up: unit_tests, has_no_musl: None },
    Step {
        title: "layout",
        call: "layout",
        sum_up: |_| Ok("as in libtss2-dev of the architecture".to_owned()),
        has_no_musl: Some("libtss2-dev"),
    },
    Step { title: "conformance", call: "conformance", sum_up: conformance, has_no_musl: None },
    Step {
        title: "tpm2-tools, pcap and swtpm",
        call: "tools pcap:swtpm:path= swtpm",
        sum_up: tools,
        has_no_musl: Some("tpm2-tools"),
    },
    Step { title: "tpm2-tools, libtpms", call: "tools libtpms: state", sum_up: tools, has_no_musl: Some("libtpms") },
];

/// The titles of the steps.
pub(crate) fn titles() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|step| step.title)
}

/// Runs all of them; gives what came of each, in words.
pub(crate) fn run(project: &Project, place: &Place, machine: &Machine) -> Result<Vec<Result<String>>> {
    let environment = environment(project, machine)?;
    let mut results = Vec::new();
    for step in &ALL {
        if results.first().is_some_and(Result::is_err) {
            results.push(Err(anyhow!("not run, because nothing was built")));
            continue;
        }
        if let (true, Some(what)) = (machine.is_musl, step.has_no_musl) {
            results.push(Ok(format!("not run: Debian has no {what} for musl")));
            continue;
        }
        let script = format!("{STEPS}\n{}\n", step.call);
        let result = place.run(machine, &script, &environment).and_then(|printed| (step.sum_up)(&printed));
        match &result {
            Ok(words) => println!("{}: {}: {words}", machine.name, step.title),
            Err(error) => println!("{}: {}: FAILED: {error:#}", machine.name, step.title),
        }
        results.push(result);
    }
    Ok(results)
}

fn environment(project: &Project, machine: &Machine) -> Result<Vec<String>> {
    let libraries: Vec<String> = project.libraries()?.iter().map(|library| library.name()).collect();
    let others = ["tcti-core", "tcti-loader", "tcti-tis", "sim-tis", "sim-tpm2go"];
    let lacks = |package: &&str| machine.is_musl && OF_OTHER_LIBRARIES.contains(package);
    let packages = |names: &[&str]| names.iter().map(|name| format!("--package {name}")).collect::<Vec<_>>().join(" ");
    let libraries: Vec<&str> = libraries.iter().map(String::as_str).collect();
    let units: Vec<&str> = others.iter().chain(&libraries).copied().filter(|package| !lacks(package)).collect();
    let (sysroot, runner) = (machine.sysroot(), machine.runner());
    let pkgconfig = format!("{sysroot}/usr/lib/{}/pkgconfig", machine.multiarch);
    let flags = if machine.is_musl {
        "-C target-feature=-crt-static -C link-self-contained=no -L native=/build/musl".to_owned()
    } else {
        format!("-C link-arg=--sysroot={sysroot}/")
    };
    let mut environment = vec![
        format!("NAME={}", machine.name),
        format!("TARGET={}", machine.target),
        format!("GCC={}", machine.gcc),
        format!("SYSROOT={sysroot}"),
        format!("RUNNER={runner}"),
        format!("UNITS={}", packages(&units)),
        format!("LIBRARIES={}", libraries.join(" ")),
        "CARGO_HOME=/build/cargo".to_owned(),
        "CARGO_TARGET_DIR=/build/target".to_owned(),
        // An emulator is slow.
        "PROPTEST_CASES=32".to_owned(),
        // Half the time goes into what only a debugger reads.
        "CARGO_PROFILE_DEV_DEBUG=0".to_owned(),
        format!("{}={}", machine.of_cargo("LINKER"), machine.gcc),
        format!("{}=-D warnings {}", machine.of_cargo("RUSTFLAGS"), flags),
        "PKG_CONFIG_ALLOW_CROSS=1".to_owned(),
        format!("PKG_CONFIG_LIBDIR={pkgconfig}"),
        format!("PKG_CONFIG_SYSROOT_DIR={sysroot}/"),
    ];
    let std = if machine.is_musl { "-Zbuild-std=std,panic_unwind,test -Zbuild-std-features=" } else { "" };
    environment.push(format!("STD={std}"));
    if machine.is_musl {
        // Its sources are compiled by the compiler that they belong to.
        environment.push("RUSTC_BOOTSTRAP=1".to_owned());
    }
    if machine.emulator.is_some() {
        environment.push(format!("{}={runner}", machine.of_cargo("RUNNER")));
        environment.push(format!("TSS2_EMULATOR={runner}"));
    }
    Ok(environment)
}

/// Adds up what each test program says, and lists what an emulator left out.
fn unit_tests(printed: &str) -> Result<String> {
    let passed: u32 = numbers(printed, r"(?m)^test result: ok\. (\d+) passed")?.iter().sum();
    ensure!(passed > 0, "no test was run");
    let lacks: BTreeSet<&str> = printed.lines().filter_map(|line| line.strip_prefix(LACKS)).collect();
    let mut words = format!("{passed} passed");
    if !lacks.is_empty() {
        let lacks: Vec<&str> = lacks.into_iter().collect();
        words += &format!(", but qemu-user lacks {}", lacks.join("; "));
    }
    Ok(words)
}

fn conformance(printed: &str) -> Result<String> {
    let passed = numbers(printed, r"(?m)^(\d+) passed, 0 failed$")?;
    let modules = printed.lines().filter(|line| line.starts_with("conformance of ")).count();
    // The module without a TPM has fewer.
    let with_tpm = passed.iter().filter(|checks| **checks >= CHECKS).count();
    ensure!(passed.len() == modules && with_tpm + 1 == modules, "{passed:?} checks of {modules} modules passed");
    Ok(format!("{} checks of {modules} modules passed", passed.iter().sum::<u32>()))
}

fn tools(printed: &str) -> Result<String> {
    let steps = numbers(printed, r"(?m)^(\d+) steps$")?;
    ensure!(steps.len() == 1, "the script did not come to its end");
    Ok(format!("{} steps", steps.iter().sum::<u32>()))
}

fn numbers(printed: &str, pattern: &str) -> Result<Vec<u32>> {
    let found = Regex::new(pattern)?;
    Ok(found.captures_iter(printed).filter_map(|found| found.get(1)?.as_str().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_emulator_lacks_is_listed_once() {
        let printed =
            format!("test result: ok. 3 passed; 0 failed\n{LACKS}a\n{LACKS}a\ntest result: ok. 2 passed; 0 x\n");
        assert_eq!(unit_tests(&printed).unwrap(), "5 passed, but qemu-user lacks a");
        assert!(unit_tests("").is_err());
    }

    #[test]
    fn a_module_that_was_not_checked_is_no_success() {
        let null = "conformance of null:\n40 passed, 0 failed\n";
        let swtpm = "conformance of swtpm:\n";
        assert_eq!(
            conformance(&format!("{null}{swtpm}160 passed, 0 failed\n")).unwrap(),
            "200 checks of 2 modules passed"
        );
        for rest in ["", "149 passed, 0 failed\n", "160 passed, 1 failed\n"] {
            assert!(conformance(&format!("{null}{swtpm}{rest}")).is_err(), "{rest}");
        }
    }
}
