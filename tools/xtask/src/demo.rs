// SPDX-License-Identifier: BSD-2-Clause
//! A first look: Debian's own tpm2-tools ask a TPM through our loader and our module, and say what they heard.

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

/// How often a tool is looked at until it has loaded its module, every 2 ms. On a busy machine both take longer.
const LOOKS: usize = 10_000;

/// Installs, builds, asks, tells.
pub(crate) fn run(project: &Project, no_install: bool) -> Result<()> {
    needs::install(project, needs::DEMO, no_install)?;
    println!("building the libraries");
    let stage = install::stage(project)?;
    let state = project.target.join("demo-tpm");
    let tools = Tools { lib: stage.join("lib"), tcti: format!("libtpms:{}", state.display()) };

    println!("\nasking a TPM, with TPM2TOOLS_TCTI={}\n", tools.tcti);
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

    println!("\nthese shared objects served it, by the map of the process:\n");
    for object in tools.shared_objects()? {
        println!("  {object}");
        ensure!(Path::new(&object).starts_with(&tools.lib), "{object} is not ours");
    }
    println!("\nThe same for any program: put {} into LD_LIBRARY_PATH; README.md says how.", tools.lib.display());
    Ok(())
}

/// tpm2-tools on our libraries.
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

    /// The TCTI libraries in a tool's memory. tpm2_hash opens its TPM, then waits for the text to hash: time to look.
    fn shared_objects(&self) -> Result<BTreeSet<String>> {
        let mut command = self.command(&["tpm2_hash", "--hex", "--hash-algorithm", "sha256"]);
        let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run tpm2_hash")?;
        let maps = format!("/proc/{}/maps", tool.id());
        let mut found = BTreeSet::new();
        for _ in 0..LOOKS {
            found = tcti_libraries(&fs::read_to_string(&maps).unwrap_or_default());
            if found.iter().any(|object| is_module(object)) {
                break;
            }
            thread::sleep(Duration::from_millis(2)); // only how often to look
        }
        tool.stdin.take().context("no stdin")?.write_all(b"hello")?;
        let output = tool.wait_with_output()?;
        if !output.status.success() || found.len() < 2 {
            bail!("tpm2_hash ended with {}, having loaded {found:?}", output.status);
        }
        Ok(found)
    }
}

/// The paths of TCTI libraries and the loader in a process's map.
fn tcti_libraries(maps: &str) -> BTreeSet<String> {
    let path = |line: &str| line.find('/').and_then(|at| line.get(at..)).map(str::to_owned);
    maps.lines().filter_map(path).filter(|path| path.contains("/libtss2-tcti")).collect()
}

/// Whether it is more than the loader. The directory may be called tss2-tcti-rs, as the project is.
fn is_module(path: &str) -> bool {
    Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("libtss2-tcti-"))
}

fn known(properties: &str, name: &str) -> Result<String> {
    property(properties, name, "value").with_context(|| format!("tpm2_getcap says nothing of {name}"))
}

/// One field of a property as tpm2_getcap prints it: `NAME:`, then `  raw: ...` and `  value: ...`.
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
    fn fields_of_properties_are_found() {
        let text = "TPM2_PT_A:\n  raw: 0x1\n  value: \"x\"\nTPM2_PT_B:\n  raw: 0x2\n";
        assert_eq!(property(text, "TPM2_PT_A", "value").as_deref(), Some("x"));
        assert_eq!(property(text, "TPM2_PT_B", "raw").as_deref(), Some("0x2"));
        assert_eq!(property(text, "TPM2_PT_B", "value"), None);
        assert_eq!(property(text, "TPM2_PT_C", "raw"), None);
    }

    #[test]
    fn a_module_is_known_by_its_own_name() {
        assert!(is_module("/home/me/tpm/lib/libtss2-tcti-libtpms.so.0.0.0"));
        assert!(!is_module("/home/me/tss2-tcti-rs/target/stage/lib/libtss2-tctildr.so.0.0.0"));
    }

    #[test]
    fn the_map_gives_each_library_once() {
        let maps = "7f r-xp 00 08:01 1 /a/lib/libtss2-tcti-x.so.0.0.0\n7f r--p 00 08:01 1 /a/lib/libtss2-tcti-x.so.0.0.0\n\
                    7f r--p 0 0:0 2 /usr/lib/libc.so.6\n7f rw-p 0 0:0 0 [heap]\n7f r--p 0 0:0 2 /a/lib/libtss2-tctildr.so.0.0.0\n";
        let found: Vec<_> = tcti_libraries(maps).into_iter().collect();
        assert_eq!(found, ["/a/lib/libtss2-tcti-x.so.0.0.0", "/a/lib/libtss2-tctildr.so.0.0.0"]);
    }
}
