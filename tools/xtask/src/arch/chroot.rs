// SPDX-License-Identifier: BSD-2-Clause
//! The chroot in `target/debian`: Debian 13 with its Rust compiler, cross compilers and emulators. For each architecture it
//! contains a directory with packages of that architecture, which are unpacked, not installed.

use super::machine::{MACHINES, Machine};
use crate::debian::{Contents, Debian, IN_NAMESPACES};
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use xshell::cmd;

/// The release of Debian in the chroot.
const TRIXIE: &str = "trixie";

/// Directory of the sources of Rust's standard library, from the package rust-src.
const RUST_SOURCES: &str = "usr/lib/rustlib/src/rust";

/// The packages for all architectures, in addition to the toolchain of each.
const PACKAGES: [&str; 12] = [
    "cargo",
    "debian-archive-keyring",
    "libc6-dev",
    "libtpms0",
    "libtss2-dev",
    "libusb-1.0-0-dev",
    "openssl",
    "pkgconf",
    "qemu-user",
    "rustc",
    // The TPM for tpm2-tools.
    "swtpm",
    "tpm2-tools",
];

/// The packages of each architecture that its programs are linked against and run with.
const ARCHITECTURE_PACKAGES: &str = "libc6 libc6-dev libgcc-s1 libtss2-dev libusb-1.0-0-dev libtpms0 tpm2-tools";
const UNPACK: &str = include_str!("unpack.sh");

/// Mounts the directories and runs a script in the chroot.
const ENTER: &str = r#"
root=$1 project=$2 build=$3 script=$4
shift 4
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$project" "$root/project"
mount --bind "$build" "$root/build"
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@" sh -euc "$script"
"#;

/// The chroot and the directories that it shares with the host.
pub(crate) struct Chroot {
    root: PathBuf,
    /// The source tree, mounted at `/project`.
    project: PathBuf,
    /// The build directory, mounted at `/build`.
    build: PathBuf,
    logs: PathBuf,
}

impl Chroot {
    /// Creates the chroot unless it exists.
    pub(crate) fn prepare(project: &Project) -> Result<Chroot> {
        let dir = project.target.join("arch");
        fs::create_dir_all(&dir)?;
        let toolchains = MACHINES.iter().flat_map(|machine| machine.toolchain).copied();
        let packages: Vec<&str> = PACKAGES.into_iter().chain(toolchains).collect();
        let contents = Contents { name: "cross", packages: &packages, optional: &[], downloads: "" };
        let root = Debian::of(project, TRIXIE, contents)?.prepare(project)?;
        let build = dir.join("build");
        for dir in [root.join("project"), root.join("build"), root.join("arch"), build.clone()] {
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let chroot = Chroot { root, project: project.root.clone(), build, logs: dir };
        chroot.vendor(project)?;
        Ok(chroot)
    }

    /// Vendors the crates, for builds without a network by Debian's cargo.
    fn vendor(&self, project: &Project) -> Result<()> {
        // Include the crates that Rust's standard library depends on, for the machine that builds it from source.
        let standard = self.root.join(RUST_SOURCES).join("library");
        let mut locks = fs::read_to_string(project.root.join("Cargo.lock"))?;
        locks += &fs::read_to_string(standard.join("Cargo.lock"))
            .context("cannot read the lock file of Rust's standard library")?;
        // `cargo vendor` rewrites all crates, so run it only if a lock file has changed.
        let vendored = self.build.join("locks");
        if fs::read_to_string(&vendored).is_ok_and(|old| old == locks) {
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

    /// Unpacks the packages of the architecture unless they are there, and returns the name of the suite that they are from.
    pub(crate) fn unpack(&self, machine: &Machine) -> Result<String> {
        if machine.emulator.is_none() {
            return Ok(TRIXIE.to_owned());
        }
        let dir = machine.sysroot();
        let suite = self.root.join(dir.trim_start_matches('/')).join("suite");
        if !suite.exists() {
            println!("{}: unpacking its packages", machine.name);
            let environment = [("ARCH", machine.name), ("DIR", &dir), ("PACKAGES", ARCHITECTURE_PACKAGES)];
            self.run(machine, UNPACK, &environment.map(|(key, value)| format!("{key}={value}")))?;
        }
        Ok(fs::read_to_string(&suite)?.trim().to_owned())
    }

    /// Returns the log file of a machine.
    pub(crate) fn log(&self, machine: &Machine) -> PathBuf {
        self.logs.join(format!("{}.log", machine.name))
    }

    /// Runs a script in the chroot, returns its output and appends it to the log.
    pub(crate) fn run(&self, machine: &Machine, script: &str, environment: &[String]) -> Result<String> {
        let path = self.log(machine);
        let output = self.build.join(format!("{}.output", machine.name));
        let file = File::create(&output)?;
        let [program, arguments @ ..] = IN_NAMESPACES;
        let mut command = Command::new(program);
        command.args(arguments).args(["sh", "-euc", ENTER, "arch"]);
        command.args([&self.root, &self.project, &self.build]).arg(script).args(environment);
        let status = command.stdout(file.try_clone()?).stderr(file).status().context("cannot run setpriv")?;
        let printed = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
        let mut log = OpenOptions::new().create(true).append(true).open(&path)?;
        log.write_all(printed.as_bytes())?;
        if !status.success() {
            let lines: Vec<&str> = printed.lines().collect();
            let panics = lines.windows(2).filter(|pair| pair.iter().take(1).any(|line| line.contains(" panicked at ")));
            let panics: Vec<String> = panics.map(|pair| pair.join("\n")).collect();
            let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
            bail!("{status}; see {}:\n{}\nIt ends with:\n{last}", path.display(), panics.join("\n"));
        }
        Ok(printed)
    }
}
