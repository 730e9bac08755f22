// SPDX-License-Identifier: BSD-2-Clause
//! The newest C modules in Debian, from its suite sid. apt-get downloads the packages with separate package lists, and they are
//! unpacked in `target/bench/c-sid`, not installed. They may need a newer libc than this system's, so sid's libc is unpacked
//! too; the script `run` starts a program on it. [`Sid::prepare`] does this once; remove the directory to update.

use super::mirror;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The packages. Those with names that end in `0t64` provide these names.
const PACKAGES: &[&str] = &[
    "libtss2-tcti-cmd0",
    "libtss2-tcti-device0",
    "libtss2-tcti-libtpms0",
    "libtss2-tcti-mssim0",
    "libtss2-tcti-null0",
    "libtss2-tcti-pcap0",
    "libtss2-tcti-spi-helper0",
    "libtss2-tcti-spi-ltt2go0",
    "libtss2-tcti-spidev0",
    "libtss2-tcti-swtpm0",
    "libtss2-tctildr0",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Name prefixes of the packages that belong to libc. Their libraries are unpacked in a separate directory, which the script
/// `run` searches first; those of other packages are found only through `LD_LIBRARY_PATH`.
const LIBC_PACKAGES: [&str; 3] = ["libc6", "libgcc-s1", "gcc-"];

/// The unpacked modules.
pub(crate) struct Sid {
    dir: PathBuf,
    /// Version of the packages, such as `4.2.0-2`.
    pub(crate) version: String,
}

impl Sid {
    /// Downloads and unpacks the modules unless they are there. Returns `None` if this system's apt has no mirror of Debian.
    pub(crate) fn prepare(project: &Project) -> Result<Option<Sid>> {
        let dir = project.target.join("bench/c-sid");
        // Written last, so it marks a complete directory.
        let version = dir.join("version");
        if !version.exists() {
            let shell = project.shell()?;
            let Some(mirror) = mirror::any(&shell)? else { return Ok(None) };
            println!("unpacking the C modules of Debian sid in {}", dir.display());
            if dir.exists() {
                fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            }
            fs::create_dir_all(&dir)?;
            let packages = download(&shell, &dir.join("apt"), &mirror)?;
            let found = unpack(&shell, &dir, &packages)?;
            fs::write(&version, found)?;
        }
        let version = fs::read_to_string(&version)?;
        Ok(Some(Sid { dir, version }))
    }

    /// Like [`Sid::prepare`], but prints the reason instead of failing.
    pub(crate) fn if_available(project: &Project) -> Option<Sid> {
        let reason = match Sid::prepare(project) {
            Ok(Some(sid)) => return Some(sid),
            Ok(None) => "apt has no mirror of Debian".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("comparing with the C modules of the distribution only, not with those of Debian sid: {reason}");
        None
    }

    /// Returns the directory that contains the modules and their dependencies except libc.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// Returns the script that runs a program, given by its path, on sid's libc.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Returns the version of tpm2-tss, such as `4.2.0`.
    pub(crate) fn upstream(&self) -> &str {
        self.version.split('-').next().unwrap_or_default()
    }
}

/// Downloads the packages and their dependencies. apt-get verifies signatures, and ignores the packages installed on this system.
fn download(shell: &Shell, dir: &Path, mirror: &str) -> Result<Vec<PathBuf>> {
    let (lists, cache, sources) = (dir.join("lists"), dir.join("cache"), dir.join("sources.list"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} sid main\n"))?;
    let nothing = PathBuf::from("/dev/null");
    let settings = [
        ("Dir::Etc::SourceList", &sources),
        ("Dir::Etc::SourceParts", &nothing),
        ("Dir::Etc::Preferences", &nothing),
        ("Dir::Etc::PreferencesParts", &nothing),
        ("Dir::State::Lists", &lists),
        ("Dir::State::Status", &nothing),
        ("Dir::Cache", &cache),
    ];
    let mut settings_as_options: Vec<String> =
        ["-o", "APT::Sandbox::User=root", "-o", "APT::Default-Release=sid"].map(str::to_owned).into();
    for (name, path) in settings {
        settings_as_options.extend(["-o".to_owned(), format!("{name}={}", path.display())]);
    }
    let options = &settings_as_options;
    cmd!(shell, "apt-get {options...} --quiet update").quiet().ignore_stdout().run()?;
    let install = ["--quiet", "--yes", "--no-install-recommends", "--download-only", "install"];
    cmd!(shell, "apt-get {options...} {install...} {PACKAGES...}").quiet().ignore_stdout().run()?;
    let mut packages = Vec::new();
    for entry in fs::read_dir(cache.join("archives"))? {
        packages.push(entry?.path());
    }
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    Ok(packages)
}

/// Unpacks the packages, creates `lib`, `libc` and `run`, and returns the version of the modules.
fn unpack(shell: &Shell, dir: &Path, packages: &[PathBuf]) -> Result<String> {
    let mut version = String::new();
    for package in packages {
        let field = |name: &str| cmd!(shell, "dpkg-deb --field {package} {name}").quiet().read();
        let name = field("Package")?;
        if name.starts_with("libtss2-tcti-") {
            version = field("Version")?;
        }
        let of_libc = LIBC_PACKAGES.iter().any(|start| name.starts_with(start));
        let root = dir.join(if of_libc { "root-libc" } else { "root" });
        cmd!(shell, "dpkg-deb --extract {package} {root}").quiet().run()?;
    }
    ensure!(!version.is_empty(), "apt-get downloaded none of the C modules");
    let multiarch = cmd!(shell, "cc -print-multiarch").quiet().read()?;
    for (name, root) in [("lib", "root"), ("libc", "root-libc")] {
        symlink(Path::new(root).join("usr/lib").join(&multiarch), dir.join(name))?;
    }
    let run = dir.join("run");
    fs::write(&run, script(&linker(&dir.join("libc"))?)?)?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    Ok(version)
}

/// Returns the file name of the dynamic linker in a directory.
fn linker(dir: &Path) -> Result<String> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("ld-linux") {
            return Ok(name);
        }
    }
    bail!("sid's libc has no dynamic linker")
}

/// Returns the text of `run`. It passes `--library-path` instead of setting `LD_LIBRARY_PATH`, which child processes would
/// inherit.
fn script(linker: &str) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "#!/bin/sh\n# Runs a program, given by its path, on the libc of Debian sid.")?;
    writeln!(text, "here=${{0%/*}}")?;
    writeln!(text, "path=$here/libc${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}")?;
    writeln!(text, "exec \"$here/libc/{linker}\" --library-path \"$path\" \"$@\"")?;
    Ok(text)
}
