// SPDX-License-Identifier: BSD-2-Clause
//! The steps that run for each architecture. They are implemented in `steps.sh`; [`run`] calls them and summarises their
//! output.

use super::chroot::Chroot;
use super::machine::Machine;
use crate::project::Project;
use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use std::collections::BTreeSet;

const STEPS: &str = include_str!("steps.sh");
/// Printed by `core::testing` before the reason why a test cannot run under an emulator.
const LACKS: &str = "not tested, because the emulator lacks it: ";
/// Minimum number of checks in `c-tests/conformance.c` for a module with a TPM.
const CHECKS: u32 = 150;

/// The modules that the conformance tests run on.
const CONFORMANCE: [&str; 4] = ["tss2-tcti-null", "tss2-tcti-swtpm", "tss2-tctildr", "tss2-tcti-libtpms"];

/// Packages with unit tests, in addition to those in `src`.
const SIMULATORS: [&str; 2] = ["sim-tis", "sim-tpm2go"];

/// One step, which is a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Builds the libraries and the unit tests.
    Libraries,
    /// Runs the unit tests.
    UnitTests,
    /// Compares the layout of our C declarations with libtss2-dev.
    Layout,
    /// Runs the conformance tests on the modules that need no hardware.
    Conformance,
    /// Runs tpm2-tools on pcap and swtpm.
    ToolsOnSwtpm,
    /// Runs tpm2-tools on libtpms.
    ToolsOnLibtpms,
}

impl Step {
    const ALL: [Step; 6] =
        [Step::Libraries, Step::UnitTests, Step::Layout, Step::Conformance, Step::ToolsOnSwtpm, Step::ToolsOnLibtpms];

    fn title(self) -> &'static str {
        match self {
            Step::Libraries => "libraries",
            Step::UnitTests => "unit tests",
            Step::Layout => "layout",
            Step::Conformance => "conformance",
            Step::ToolsOnSwtpm => "tpm2-tools, pcap and swtpm",
            Step::ToolsOnLibtpms => "tpm2-tools, libtpms",
        }
    }

    /// Returns the lines of shell that run the step, with the functions of `steps.sh`.
    fn script(self, machine: &Machine) -> String {
        match self {
            Step::Libraries => machine.preparation().into_iter().chain(["libraries"]).collect::<Vec<_>>().join("\n"),
            Step::UnitTests => "unit_tests".to_owned(),
            Step::Layout => "layout".to_owned(),
            Step::Conformance => {
                let tested = CONFORMANCE.into_iter().filter(|module| !machine.untested.contains(module));
                ["conformance"].into_iter().chain(tested).collect::<Vec<_>>().join(" ")
            }
            Step::ToolsOnSwtpm => "tools pcap:swtpm:path= swtpm".to_owned(),
            Step::ToolsOnLibtpms => "tools libtpms: state".to_owned(),
        }
    }

    /// Summarises the output of a step that succeeded. Fails if the output shows that something did not run.
    fn summary(self, printed: &str) -> Result<String> {
        match self {
            Step::Libraries => Ok("built without warnings".to_owned()),
            Step::UnitTests => unit_tests(printed),
            Step::Layout => Ok("same as in libtss2-dev of the architecture".to_owned()),
            Step::Conformance => conformance(printed),
            Step::ToolsOnSwtpm | Step::ToolsOnLibtpms => tools(printed),
        }
    }
}

/// Returns the titles of the steps.
pub(crate) fn titles() -> impl Iterator<Item = &'static str> {
    Step::ALL.into_iter().map(Step::title)
}

/// Runs all steps that a machine supports, and returns the summary of each. If the build fails, no other step runs.
pub(crate) fn run(project: &Project, chroot: &Chroot, machine: &Machine) -> Result<Vec<Result<String>>> {
    let environment = environment(project, machine)?;
    let mut results = Vec::new();
    for step in Step::ALL {
        if results.first().is_some_and(Result::is_err) {
            results.push(Err(anyhow!("not run, because the build failed")));
            continue;
        }
        if let Some((_, package)) = machine.skipped.iter().find(|(skipped, _)| *skipped == step) {
            results.push(Ok(format!("not run: Debian has no {package} for {}", machine.name)));
            continue;
        }
        let script = format!("{STEPS}\n{}\n", step.script(machine));
        let result = chroot.run(machine, &script, &environment).and_then(|printed| step.summary(&printed));
        match &result {
            Ok(summary) => println!("{}: {}: {summary}", machine.name, step.title()),
            Err(error) => println!("{}: {}: FAILED: {error:#}", machine.name, step.title()),
        }
        results.push(result);
    }
    Ok(results)
}

/// Returns the environment variables for `steps.sh` and cargo.
fn environment(project: &Project, machine: &Machine) -> Result<Vec<String>> {
    let libraries: Vec<String> = project.libraries()?.iter().map(|library| library.name()).collect();
    let product = project.product_packages()?;
    let units = product.iter().map(String::as_str).chain(SIMULATORS);
    let units = units.filter(|package| !machine.untested.contains(package));
    let units: Vec<String> = units.map(|name| format!("--package {name}")).collect();
    let (sysroot, runner) = (machine.sysroot(), machine.runner());
    let mut environment = vec![
        format!("NAME={}", machine.name),
        format!("TARGET={}", machine.target),
        format!("GCC={}", machine.gcc),
        format!("SYSROOT={sysroot}"),
        format!("RUNNER={runner}"),
        format!("UNITS={}", units.join(" ")),
        format!("LIBRARIES={}", libraries.join(" ")),
        format!("CARGO_OPTIONS={}", machine.cargo_options()),
        "CARGO_HOME=/build/cargo".to_owned(),
        "CARGO_TARGET_DIR=/build/target".to_owned(),
        // Fewer cases than by default, because emulation is slow.
        "PROPTEST_CASES=32".to_owned(),
        // Debugging information would double the build time.
        "CARGO_PROFILE_DEV_DEBUG=0".to_owned(),
        format!("{}={}", machine.cargo_variable("LINKER"), machine.gcc),
        format!("{}=-D warnings {}", machine.cargo_variable("RUSTFLAGS"), machine.rustflags()),
        "PKG_CONFIG_ALLOW_CROSS=1".to_owned(),
        format!("PKG_CONFIG_LIBDIR={sysroot}/usr/lib/{}/pkgconfig", machine.multiarch),
        format!("PKG_CONFIG_SYSROOT_DIR={sysroot}/"),
    ];
    environment.extend(machine.environment().iter().map(|variable| (*variable).to_owned()));
    if machine.emulator.is_some() {
        environment.push(format!("{}={runner}", machine.cargo_variable("RUNNER")));
        environment.push(format!("TSS2_EMULATOR={runner}"));
    }
    Ok(environment)
}

/// Adds up the tests that passed, and lists what the emulator could not run.
fn unit_tests(printed: &str) -> Result<String> {
    let passed: u32 = numbers(printed, r"(?m)^test result: ok\. (\d+) passed")?.iter().sum();
    ensure!(passed > 0, "no test ran");
    let lacks: BTreeSet<&str> = printed.lines().filter_map(|line| line.strip_prefix(LACKS)).collect();
    let mut summary = format!("{passed} passed");
    if !lacks.is_empty() {
        let lacks: Vec<&str> = lacks.into_iter().collect();
        summary += &format!(", but qemu-user lacks {}", lacks.join("; "));
    }
    Ok(summary)
}

fn conformance(printed: &str) -> Result<String> {
    let passed = numbers(printed, r"(?m)^(\d+) passed, 0 failed$")?;
    let modules = printed.lines().filter(|line| line.starts_with("conformance of ")).count();
    // The module null has no TPM, so it has fewer checks.
    let with_tpm = passed.iter().filter(|checks| **checks >= CHECKS).count();
    ensure!(passed.len() == modules && with_tpm + 1 == modules, "{passed:?} checks of {modules} modules passed");
    Ok(format!("{} checks of {modules} modules passed", passed.iter().sum::<u32>()))
}

fn tools(printed: &str) -> Result<String> {
    let steps = numbers(printed, r"(?m)^(\d+) steps$")?;
    ensure!(steps.len() == 1, "the script did not finish");
    Ok(format!("{} steps", steps.iter().sum::<u32>()))
}

/// Returns the numbers captured by all matches of a pattern.
fn numbers(printed: &str, pattern: &str) -> Result<Vec<u32>> {
    let found = Regex::new(pattern)?;
    Ok(found.captures_iter(printed).filter_map(|found| found.get(1)?.as_str().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limitation_of_the_emulator_is_listed_once() {
        let printed =
            format!("test result: ok. 3 passed; 0 failed\n{LACKS}a\n{LACKS}a\ntest result: ok. 2 passed; 0 x\n");
        assert_eq!(unit_tests(&printed).unwrap(), "5 passed, but qemu-user lacks a");
        assert!(unit_tests("").is_err());
    }

    #[test]
    fn a_module_without_checks_is_a_failure() {
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

    #[test]
    fn musl_prepares_its_unwinder_and_skips_libtpms() {
        let [amd64, musl] = ["amd64", "musl"].map(|name| Machine::named(name).unwrap());
        assert_eq!(Step::Libraries.script(&amd64), "libraries");
        assert_eq!(Step::Libraries.script(&musl), "unwinder\nlibraries");
        assert!(Step::Conformance.script(&amd64).ends_with(" tss2-tctildr tss2-tcti-libtpms"));
        assert!(Step::Conformance.script(&musl).ends_with(" tss2-tctildr"));
    }
}
