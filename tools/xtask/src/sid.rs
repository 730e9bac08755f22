// SPDX-License-Identifier: BSD-2-Clause
//! The newest C modules that Debian has, those of its suite sid: packages that apt-get downloads with lists of its own and
//! that are unpacked below `target/bench/c-sid`, never installed. They may ask for a newer libc than this machine's, so sid's
//! comes along: the script `run` starts a program on it. [`Sid::prepare`] does all this once; remove the directory for newer ones.

use crate::mirror;
use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Their other names (`…0t64`) are those of packages that provide these.
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

/// Whose libraries are looked for before all others, and whose only where `LD_LIBRARY_PATH` has them.
const OF_LIBC: [&str; 3] = ["libc6", "libgcc-s1", "gcc-"];

/// The modules, unpacked.
pub(crate) struct Sid {
    dir: PathBuf,
    /// Of the package, such as `4.2.0-2`.
    pub(crate) version: String,
}

impl Sid {
    /// Unpacks them unless they are there; `None` where this machine's apt has no mirror of Debian.
    pub(crate) fn prepare(project: &Project) -> Result<Option<Sid>> {
        let dir = project.target.join("bench/c-sid");
        // Written last.
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

    /// The same, where they are not needed: says why they are not there.
    pub(crate) fn if_to_be_had(project: &Project) -> Option<Sid> {
        let reason = match Sid::prepare(project) {
            Ok(Some(sid)) => return Some(sid),
            Ok(None) => "apt has no mirror of Debian here".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("compared with the C modules of the distribution alone, not with those of Debian sid: {reason}");
        None
    }

    /// The directory of the modules, and of nothing else but what they need besides libc.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// Starts a program, named by its path, on sid's libc.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The version of tpm2-tss.
    pub(crate) fn upstream(&self) -> &str {
        self.version.split('-').next().unwrap_or_default()
    }
}

/// Downloads the packages and what they depend on; apt-get checks their signature and knows nothing of this machine's packages.
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

/// Unpacks them and makes `lib`, `libc` and `run`; gives the version of the modules.
fn unpack(shell: &Shell, dir: &Path, packages: &[PathBuf]) -> Result<String> {
    let mut version = String::new();
    for package in packages {
        let field = |name: &str| cmd!(shell, "dpkg-deb --field {package} {name}").quiet().read();
        let name = field("Package")?;
        if name.starts_with("libtss2-tcti-") {
            version = field("Version")?;
        }
        let of_libc = OF_LIBC.iter().any(|start| name.starts_with(start));
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

fn linker(dir: &Path) -> Result<String> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("ld-linux") {
            return Ok(name);
        }
    }
    anyhow::bail!("sid's libc has no dynamic linker")
}

/// The option takes the place of `LD_LIBRARY_PATH`, and programs that are started then do not inherit it.
fn script(linker: &str) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "#!/bin/sh\n# Starts a program, named by its path, on the libc of Debian sid.")?;
    writeln!(text, "here=${{0%/*}}")?;
    writeln!(text, "path=$here/libc${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}")?;
    writeln!(text, "exec \"$here/libc/{linker}\" --library-path \"$path\" \"$@\"")?;
    Ok(text)
}
