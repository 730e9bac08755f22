// SPDX-License-Identifier: BSD-2-Clause
//! Building the libraries and laying them out as the C world expects them. The stage is an installation below `target`.

use crate::headers;
use crate::project::{Library, Project, names_in};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Where things go.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the libraries will be used from.
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Libraries and, below it, pkgconfig [default: PREFIX/lib].
    #[arg(long)]
    libdir: Option<PathBuf>,
    /// Headers, below it tss2 [default: PREFIX/include].
    #[arg(long)]
    includedir: Option<PathBuf>,
    /// Where udev/rules.d and sysusers.d go; packages use /usr/lib [default: PREFIX/lib].
    #[arg(long)]
    systemdir: Option<PathBuf>,
    /// Put before every path, for packaging.
    #[arg(long, default_value = "")]
    destdir: PathBuf,
    /// Also install tss2_common.h and tss2_tcti.h, which libtss2-dev has too.
    #[arg(long)]
    base_headers: bool,
}

impl Options {
    fn libdir(&self) -> PathBuf {
        self.libdir.clone().unwrap_or_else(|| self.prefix.join("lib"))
    }

    fn systemdir(&self) -> PathBuf {
        self.systemdir.clone().unwrap_or_else(|| self.prefix.join("lib"))
    }

    fn includedir(&self) -> PathBuf {
        self.includedir.clone().unwrap_or_else(|| self.prefix.join("include"))
    }

    /// A path below DESTDIR.
    fn dest(&self, path: &Path) -> PathBuf {
        match self.destdir.as_os_str().is_empty() {
            true => path.to_owned(),
            false => self.destdir.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }
}

/// Builds and lays out `target/stage`; gives its path.
pub(crate) fn stage(project: &Project) -> Result<PathBuf> {
    let stage = project.stage()?;
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    let options = Options {
        prefix: stage.clone(),
        libdir: None,
        includedir: None,
        systemdir: None,
        destdir: PathBuf::new(),
        base_headers: true,
    };
    install(project, &options)?;
    Ok(stage)
}

/// Builds and installs.
pub(crate) fn install(project: &Project, options: &Options) -> Result<()> {
    let libraries = project.libraries()?;
    let shell = project.shell()?;
    let packages = libraries.iter().flat_map(|library| ["--package".to_owned(), library.name()]);
    cmd!(shell, "cargo build --quiet --release --locked {packages...}").quiet().run()?;
    let built = project.target()?.join("release");
    for library in &libraries {
        install_library(project, &built, library, options)?;
    }
    install_headers(project, options)?;
    install_manual(project, options)?;
    install_system_files(project, options)?;
    println!("installed {} libraries in {}", libraries.len(), options.dest(&options.libdir()).display());
    Ok(())
}

fn install_library(project: &Project, built: &Path, library: &Library, options: &Options) -> Result<()> {
    let name = library.name();
    let libdir = options.dest(&options.libdir());
    // Cargo allows no '-' in the name of a library.
    let built = built.join(format!("lib{}.so", name.replace('-', "_")));
    let real = format!("lib{name}.so.0.0.0");
    copy(&built, &libdir.join(&real), 0o755)?;
    link(&real, &libdir.join(format!("lib{name}.so.0")))?;
    link(&format!("lib{name}.so.0"), &libdir.join(format!("lib{name}.so")))?;

    let template = fs::read_to_string(project.root.join(format!("pkgconfig/{name}.pc.in")))
        .with_context(|| format!("pkgconfig/{name}.pc.in"))?;
    let pc = template
        .replace("@prefix@", &options.prefix.display().to_string())
        .replace("@libdir@", &options.libdir().display().to_string())
        .replace("@includedir@", &options.includedir().display().to_string())
        .replace("@version@", &project.api_version()?);
    if let Some(left) = pc.lines().find(|line| line.contains('@')) {
        bail!("pkgconfig/{name}.pc.in: nothing fills {left}");
    }
    write(&libdir.join(format!("pkgconfig/{name}.pc")), pc.as_bytes())
}

fn install_headers(project: &Project, options: &Options) -> Result<()> {
    for name in names_in(&project.root.join(headers::DIR))? {
        if options.base_headers || !headers::BASE.contains(&name.as_str()) {
            let to = options.dest(&options.includedir()).join("tss2").join(&name);
            copy(&project.root.join(headers::DIR).join(&name), &to, 0o644)?;
        }
    }
    Ok(())
}

/// Converts `man/NAME.SECTION.md`.
fn install_manual(project: &Project, options: &Options) -> Result<()> {
    let shell = project.shell()?;
    if cmd!(shell, "go-md2man -help").quiet().ignore_stderr().ignore_stdout().ignore_status().run().is_err() {
        println!("skipped the manual pages: go-md2man is not installed");
        return Ok(());
    }
    for page in names_in(&project.root.join("man"))? {
        let Some(name) = page.strip_suffix(".md") else { continue };
        let section = name.rsplit('.').next().unwrap_or_default();
        let roff = cmd!(shell, "go-md2man -in man/{page}").quiet().read()?;
        // Version 2.0 puts a paragraph behind each heading, where mandoc warns that it does nothing.
        let mut after_heading = false;
        let wanted = |line: &&str| {
            let superfluous = after_heading && *line == ".PP";
            after_heading = line.starts_with(".SH");
            !superfluous
        };
        let roff: String = roff.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect();
        write(&options.dest(&options.prefix).join(format!("share/man/man{section}/{name}")), roff.as_bytes())?;
    }
    Ok(())
}

/// udev rules, users and directories, laid out in `dist` as they are installed.
fn install_system_files(project: &Project, options: &Options) -> Result<()> {
    let system = options.systemdir();
    let places = [
        ("udev", system.join("udev/rules.d")),
        // Rules that somebody has to want: udev does not look here.
        ("udev-optional", options.prefix.join("share/tss2-tcti/udev")),
        ("sysusers.d", system.join("sysusers.d")),
    ];
    for (from, to) in places {
        let from = project.root.join("dist").join(from);
        for name in names_in(&from)? {
            copy(&from.join(&name), &options.dest(&to).join(&name), 0o644)?;
        }
    }
    Ok(())
}

/// Copies to a temporary name first, so that a library in use is replaced and not written into.
fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(|| format!("cannot chmod {}", to.display()))
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    let parent = to.parent().context("no directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let put = fs::write(&new, bytes).and_then(|()| fs::rename(&new, to));
    put.with_context(|| format!("cannot write {}", to.display()))
}

fn link(target: &str, name: &Path) -> Result<()> {
    if name.symlink_metadata().is_ok() {
        fs::remove_file(name)?;
    }
    symlink(target, name).with_context(|| format!("cannot link {}", name.display()))
}
