// SPDX-License-Identifier: BSD-2-Clause
//! Where it happens: a Debian 13 below `target/debian` with its own Rust, cross compilers and emulators. Inside, each
//! architecture has a directory with packages of its own, which are unpacked and never installed.

use super::machine::Machine;
use crate::debian::{Debian, IN_NAME_SPACES, Purpose};
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use xshell::cmd;

/// Whose compiler it is.
const TRIXIE: &str = "trixie";

/// Where the package rust-src has the sources of Rust's own library.
const RUST_SOURCES: &str = "usr/lib/rustlib/src/rust";

/// What a program of the architecture is linked with and runs on.
const OF_MACHINE: &str = "libc6 libc6-dev libgcc-s1 libtss2-dev libusb-1.0-0-dev libtpms0 tpm2-tools";
const UNPACK: &str = include_str!("unpack.sh");

/// Gives a script the directories, then runs it there as if it were all there is.
const ENTER: &str = r#"
root=$1 project=$2 build=$3 script=$4
shift 4
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$project" "$root/project"
mount --bind "$build" "$root/build"
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@" sh -euc "$script"
"#;

/// The Debian, and what goes in and out.
pub(crate) struct Place {
    root: PathBuf,
    /// The sources, which are `/project` inside.
    project: PathBuf,
    /// What is built, `/build` inside.
    build: PathBuf,
    logs: PathBuf,
}

impl Place {
    /// Makes it, unless it is there.
    pub(crate) fn prepare(project: &Project) -> Result<Place> {
        let dir = project.target.join("arch");
        fs::create_dir_all(&dir)?;
        let root = Debian::of(project, TRIXIE, Purpose::Cross)?.prepare(project)?;
        let build = dir.join("build");
        for dir in [root.join("project"), root.join("build"), root.join("arch"), build.clone()] {
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let place = Place { root, project: project.root.clone(), build, logs: dir };
        place.vendor(project)?;
        Ok(place)
    }

    /// The crates, for builds without a network by a cargo that is older than this machine's.
    fn vendor(&self, project: &Project) -> Result<()> {
        // Those of Rust's own library, too, where it is compiled here.
        let standard = self.root.join(RUST_SOURCES).join("library");
        let mut locks = fs::read_to_string(project.root.join("Cargo.lock"))?;
        locks += &fs::read_to_string(standard.join("Cargo.lock")).context("no lock file of Rust's own library")?;
        // Cargo writes them all anew, however little changes.
        let vendored = self.build.join("locks");
        if fs::read_to_string(&vendored).is_ok_and(|of| of == locks) {
            return Ok(());
        }
        let shell = project.shell()?;
        let crates = self.build.join("crates");
        let standard = standard.join("Cargo.toml");
        let vendor = cmd!(shell, "cargo vendor --quiet --locked --sync {standard} {crates}");
        vendor.env("RUSTC_BOOTSTRAP", "1").quiet().ignore_stdout().ignore_stderr().run()?;
        let home = self.build.join("cargo");
        fs::create_dir_all(&home)?;
        let settings =
            "[source.crates-io]\nreplace-with = \"crates\"\n\n[source.crates]\ndirectory = \"/build/crates\"\n";
        fs::write(home.join("config.toml"), settings)?;
        fs::write(vendored, locks)?;
        Ok(())
    }

    /// Unpacks what the machine's programs need, unless it is there; gives Debian's name of the release that it is from.
    pub(crate) fn unpack(&self, machine: &Machine) -> Result<String> {
        if machine.emulator.is_none() {
            return Ok(TRIXIE.to_owned());
        }
        let dir = machine.sysroot();
        let suite = self.root.join(dir.trim_start_matches('/')).join("suite");
        if !suite.exists() {
            println!("{}: unpacking its packages", machine.name);
            let environment = [("ARCH", machine.name), ("DIR", &dir), ("PACKAGES", OF_MACHINE)];
            self.run(machine, UNPACK, &environment.map(|(key, value)| format!("{key}={value}")))?;
        }
        Ok(fs::read_to_string(&suite)?.trim().to_owned())
    }

    /// What was printed so far.
    pub(crate) fn log(&self, machine: &Machine) -> PathBuf {
        self.logs.join(format!("{}.log", machine.name))
    }

    /// Runs a script inside; gives what it printed, which goes to the log, too.
    pub(crate) fn run(&self, machine: &Machine, script: &str, environment: &[String]) -> Result<String> {
        let path = self.log(machine);
        let output = self.build.join(format!("{}.output", machine.name));
        let file = File::create(&output)?;
        let [program, arguments @ ..] = IN_NAME_SPACES;
        let mut command = Command::new(program);
        command.args(arguments).args(["sh", "-euc", ENTER, "arch"]);
        command.args([&self.root, &self.project, &self.build]).arg(script).args(environment);
        let status = command.stdout(file.try_clone()?).stderr(file).status().context("cannot run setpriv")?;
        let printed = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
        let mut log = OpenOptions::new().create(true).append(true).open(&path)?;
        log.write_all(printed.as_bytes())?;
        if !status.success() {
            let lines: Vec<&str> = printed.lines().collect();
            let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
            bail!("{status}, see {}, which ends with:\n{last}", path.display());
        }
        Ok(printed)
    }
}
