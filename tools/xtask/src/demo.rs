// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask demo`: runs the distribution's tpm2-tools on our loader and our module for libtpms, prints what the TPM
//! reports, and verifies that the tools have loaded our libraries.

use crate::project::Project;
use crate::{install, needs};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// How often to check, every 2 ms, whether a tool has loaded its module.
const CHECKS: usize = 10_000;

/// Installs missing packages, builds the libraries and runs the tools.
pub(crate) fn run(project: &Project, no_install: bool) -> Result<()> {
    needs::install(project, needs::DEMO, no_install)?;
    println!("building the libraries");
    let stage = install::stage(project)?;
    let state = project.target.join("demo-tpm");
    let tools = Tools { lib: stage.join("lib"), tcti: format!("libtpms:{}", state.display()) };

    println!("\nrunning tpm2-tools with TPM2TOOLS_TCTI={}\n", tools.tcti);
    let properties = tools.output(&["tpm2_getcap", "properties-fixed"])?;
    let vendor: String =
        (1..=4).filter_map(|part| property(&properties, &format!("TPM2_PT_VENDOR_STRING_{part}"), "value")).collect();
    let firmware = ["TPM2_PT_FIRMWARE_VERSION_1", "TPM2_PT_FIRMWARE_VERSION_2"]
        .map(|name| property(&properties, name, "raw").unwrap_or_else(|| "unknown".to_owned()));
    println!("  manufacturer   {} {vendor}", known(&properties, "TPM2_PT_MANUFACTURER")?);
    println!("  firmware       {} {}", firmware[0], firmware[1]);
    println!(
        "  specification  TPM {}, level {}, revision {}",
        known(&properties, "TPM2_PT_FAMILY_INDICATOR")?,
        property(&properties, "TPM2_PT_LEVEL", "raw").unwrap_or_default(),
        known(&properties, "TPM2_PT_REVISION")?
    );
    println!("  random bytes   {}", tools.output(&["tpm2_getrandom", "--hex", "16"])?.trim());

    println!("\nTCTI libraries that tpm2_hash has loaded, from /proc/PID/maps:\n");
    for object in tools.shared_objects()? {
        println!("  {object}");
        ensure!(Path::new(&object).starts_with(&tools.lib), "{object} is not in the stage");
    }
    println!("\nTo use these libraries in any program, add {} to LD_LIBRARY_PATH; see README.md.", tools.lib.display());
    Ok(())
}

/// Runs tpm2-tools on our libraries.
struct Tools {
    lib: std::path::PathBuf,
    tcti: String,
}

impl Tools {
    fn command(&self, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
        let mut command = Command::new(program);
        command.args(arguments).env("LD_LIBRARY_PATH", &self.lib).env("TPM2TOOLS_TCTI", &self.tcti);
        command
    }

    fn output(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {}", words.join(" ")))?;
        ensure!(output.status.success(), "{} failed: {}", words.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns the TCTI libraries that a tool has loaded. Uses tpm2_hash, because it opens its TPM and then waits for its
    /// standard input.
    fn shared_objects(&self) -> Result<BTreeSet<String>> {
        let mut command = self.command(&["tpm2_hash", "--hex", "--hash-algorithm", "sha256"]);
        let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run tpm2_hash")?;
        let maps = format!("/proc/{}/maps", tool.id());
        let mut found = BTreeSet::new();
        for _ in 0..CHECKS {
            found = tcti_libraries(&fs::read_to_string(&maps).unwrap_or_default());
            if found.iter().any(|object| is_module(object)) {
                break;
            }
            thread::sleep(Duration::from_millis(2)); // polling interval
        }
        tool.stdin.take().context("no stdin")?.write_all(b"hello")?;
        let output = tool.wait_with_output()?;
        if !output.status.success() || found.len() < 2 {
            bail!("tpm2_hash exited with {} after loading {found:?}", output.status);
        }
        Ok(found)
    }
}

/// Returns the paths of TCTI libraries and the loader in the text of /proc/PID/maps.
fn tcti_libraries(maps: &str) -> BTreeSet<String> {
    let path = |line: &str| line.find('/').and_then(|at| line.get(at..)).map(str::to_owned);
    maps.lines().filter_map(path).filter(|path| path.contains("/libtss2-tcti")).collect()
}

/// Returns whether this is a module rather than the loader. Checks the file name only, because the directory may also
/// contain tss2-tcti.
fn is_module(path: &str) -> bool {
    Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("libtss2-tcti-"))
}

/// Returns the value of a property; fails if it is missing.
fn known(properties: &str, name: &str) -> Result<String> {
    property(properties, name, "value").with_context(|| format!("tpm2_getcap does not report {name}"))
}

/// Returns one field of a property. tpm2_getcap prints `NAME:`, then `  raw: ...` and `  value: ...`.
fn property(properties: &str, name: &str, field: &str) -> Option<String> {
    let mut lines = properties.lines().skip_while(|line| line.strip_suffix(':') != Some(name)).skip(1);
    let fields = lines.by_ref().take_while(|line| line.starts_with(' '));
    let value = fields.filter_map(|line| line.trim().split_once(": ")).find(|(key, _)| *key == field)?.1;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_fields_are_parsed() {
        let text = "TPM2_PT_A:\n  raw: 0x1\n  value: \"x\"\nTPM2_PT_B:\n  raw: 0x2\n";
        assert_eq!(property(text, "TPM2_PT_A", "value").as_deref(), Some("x"));
        assert_eq!(property(text, "TPM2_PT_B", "raw").as_deref(), Some("0x2"));
        assert_eq!(property(text, "TPM2_PT_B", "value"), None);
        assert_eq!(property(text, "TPM2_PT_C", "raw"), None);
    }

    #[test]
    fn a_module_is_recognised_by_its_file_name() {
        assert!(is_module("/home/me/tpm/lib/libtss2-tcti-libtpms.so.0.0.0"));
        assert!(!is_module("/home/me/tss2-tcti-rs/target/stage/lib/libtss2-tctildr.so.0.0.0"));
    }

    #[test]
    fn each_mapped_library_is_listed_once() {
        let maps = "7f r-xp 00 08:01 1 /a/lib/libtss2-tcti-x.so.0.0.0\n7f r--p 00 08:01 1 /a/lib/libtss2-tcti-x.so.0.0.0\n\
                    7f r--p 0 0:0 2 /usr/lib/libc.so.6\n7f rw-p 0 0:0 0 [heap]\n7f r--p 0 0:0 2 /a/lib/libtss2-tctildr.so.0.0.0\n";
        let found: Vec<_> = tcti_libraries(maps).into_iter().collect();
        assert_eq!(found, ["/a/lib/libtss2-tcti-x.so.0.0.0", "/a/lib/libtss2-tctildr.so.0.0.0"]);
    }
}
