// SPDX-License-Identifier: BSD-2-Clause
//! Where each file of an installation goes, as the C world expects it.

use crate::project::{Library, Project, names_in};
use crate::{headers, manual};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the project's directory in share/doc.
pub(crate) const NAME: &str = "tss2-tcti-rs";
/// The template of every .pc file.
const PC_TEMPLATE: &str = "pkgconfig/tss2-tcti.pc.in";
/// Documents that are installed in share/doc, with the guides of [`GUIDES`].
const DOCUMENTS: [&str; 3] = ["CHANGELOG.md", "LICENSE", "README.md"];
/// Directory of the guides that README.md links to.
const GUIDES: &str = "docs";

/// The directories of an installation.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory that the libraries are used from.
    #[arg(long, default_value = "/usr/local")]
    pub(crate) prefix: PathBuf,
    /// Directory of the libraries and of pkgconfig [default: PREFIX/lib].
    #[arg(long)]
    libdir: Option<PathBuf>,
    /// Directory of tss2, which has the headers [default: PREFIX/include].
    #[arg(long)]
    includedir: Option<PathBuf>,
    /// Directory of rules.d; packages use /usr/lib/udev [default: PREFIX/lib/udev].
    #[arg(long)]
    udevdir: Option<PathBuf>,
    /// Accepted because package builds pass it; no file is installed there.
    #[arg(long, default_value = "/etc")]
    sysconfdir: PathBuf,
    /// Prepended to every path, for packaging.
    #[arg(long, default_value = "")]
    pub(crate) destdir: PathBuf,
    /// Also install tss2_common.h and tss2_tcti.h, which libtss2-dev contains too.
    #[arg(long)]
    base_headers: bool,
}

/// A file to install.
pub(crate) struct File {
    /// The path, without DESTDIR.
    pub(crate) to: PathBuf,
    pub(crate) content: Content,
}

/// The source of an installed file.
pub(crate) enum Content {
    /// A library, by the file name that cargo gives it.
    Library(String),
    /// A file of the repository, by its path.
    Copy(PathBuf),
    /// An executable file of the repository, by its path.
    Script(PathBuf),
    Text(String),
    /// A manual page in Markdown, by its path in the repository.
    Manual(PathBuf),
    /// A symbolic link to such a page.
    ManualLink(String),
    /// A symbolic link.
    Link(String),
}

impl Options {
    /// An installation at `prefix` that is complete in itself.
    pub(crate) fn at(prefix: &Path) -> Options {
        Options {
            prefix: prefix.to_owned(),
            libdir: None,
            includedir: None,
            udevdir: None,
            sysconfdir: prefix.join("etc"),
            destdir: PathBuf::new(),
            base_headers: true,
        }
    }

    pub(crate) fn libdir(&self) -> PathBuf {
        self.libdir.clone().unwrap_or_else(|| self.prefix.join("lib"))
    }

    fn includedir(&self) -> PathBuf {
        self.includedir.clone().unwrap_or_else(|| self.prefix.join("include"))
    }

    fn udevdir(&self) -> PathBuf {
        self.udevdir.clone().unwrap_or_else(|| self.prefix.join("lib/udev"))
    }

    /// Whether it is not the system itself.
    pub(crate) fn has_destdir(&self) -> bool {
        !self.destdir.as_os_str().is_empty() && self.destdir != Path::new("/")
    }

    /// A path below DESTDIR.
    pub(crate) fn dest(&self, path: &Path) -> PathBuf {
        match self.has_destdir() {
            true => self.destdir.join(path.strip_prefix("/").unwrap_or(path)),
            false => path.to_owned(),
        }
    }

    /// The list of what was installed: a path per line, without DESTDIR.
    pub(crate) fn list(&self) -> PathBuf {
        self.dest(&self.prefix.join("share/doc").join(NAME).join("installed"))
    }
}

/// Every file of an installation.
pub(crate) fn files(project: &Project, options: &Options) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for library in project.libraries()? {
        files.extend(of_library(project, &library, options)?);
    }
    for name in names_in(&project.root.join(headers::DIR))? {
        if options.base_headers || !headers::BASE.contains(&name.as_str()) {
            let to = options.includedir().join("tss2").join(&name);
            files.push(File { to, content: Content::Copy(Path::new(headers::DIR).join(name)) });
        }
    }
    let man = options.prefix.join("share/man");
    for page in manual::pages(project)? {
        for (link, target) in manual::links(project, &page)? {
            files.push(File { to: man.join(link), content: Content::ManualLink(target) });
        }
        files.push(File { to: man.join(manual::path(&page)), content: Content::Manual(page) });
    }
    // The files of `dist` for the system.
    let lib = options.prefix.join("lib");
    let system = [
        ("udev", options.udevdir().join("rules.d")),
        // Optional rules: udev does not read this directory.
        ("udev-optional", options.prefix.join("share/tss2-tcti/udev")),
        ("sysusers.d", lib.join("sysusers.d")),
        ("initramfs/hooks", options.prefix.join("share/initramfs-tools/hooks")),
        // In the order of dracut's own tpm2-tss, which copies the libraries of tpm2-tss.
        ("initramfs/dracut", lib.join("dracut/modules.d/91tss2-tcti")),
    ];
    for (from, to) in system {
        let script = from.starts_with("initramfs");
        let from = Path::new("dist").join(from);
        for name in names_in(&project.root.join(&from))? {
            let (to, from) = (to.join(&name), from.join(name));
            files.push(File { to, content: if script { Content::Script(from) } else { Content::Copy(from) } });
        }
    }
    let doc = options.prefix.join("share/doc").join(NAME);
    files.extend(DOCUMENTS.map(|name| File { to: doc.join(name), content: Content::Copy(name.into()) }));
    for name in names_in(&project.root.join(GUIDES))? {
        let guide = Path::new(GUIDES).join(name);
        files.push(File { to: doc.join(&guide), content: Content::Copy(guide) });
    }
    Ok(files)
}

/// Three names and the .pc file.
fn of_library(project: &Project, library: &Library, options: &Options) -> Result<Vec<File>> {
    let name = library.name();
    let at = |suffix: &str| options.libdir().join(format!("lib{name}.so{suffix}"));
    // Cargo allows no '-' in the name of a library.
    let built = format!("lib{}.so", name.replace('-', "_"));
    let link = |to: &str, suffix: &str| File { to: at(suffix), content: Content::Link(format!("lib{name}.so{to}")) };

    let template = fs::read_to_string(project.root.join(PC_TEMPLATE)).context(PC_TEMPLATE)?;
    let pc = template
        .replace("@name@", &name)
        .replace("@description@", &library.description(project)?)
        .replace("@prefix@", &options.prefix.display().to_string())
        .replace("@libdir@", &options.libdir().display().to_string())
        .replace("@includedir@", &options.includedir().display().to_string())
        .replace("@version@", &project.api_version()?);
    if let Some(left) = pc.lines().find(|line| line.contains('@')) {
        bail!("{PC_TEMPLATE}: nothing fills {left}");
    }
    Ok(vec![
        File { to: at(".0.0.0"), content: Content::Library(built) },
        link(".0.0.0", ".0"),
        link(".0", ""),
        File { to: options.libdir().join(format!("pkgconfig/{name}.pc")), content: Content::Text(pc) },
    ])
}
