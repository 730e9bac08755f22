// SPDX-License-Identifier: BSD-2-Clause
//! The two archives that source packages begin with: the commit, and the crates it is built from. The same commit
//! gives the same archives.

use crate::everywhere;
use crate::layout::NAME;
use crate::project::Project;
use crate::vendor;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// What is packaged.
pub(crate) struct Release {
    /// Of the workspace.
    pub(crate) version: String,
    /// The commit's, in seconds since 1970.
    pub(crate) time: String,
}

/// The archives, and what is in them.
pub(crate) struct Archives {
    pub(crate) sources: PathBuf,
    pub(crate) crates: PathBuf,
}

impl Release {
    /// The commit that is checked out.
    pub(crate) fn of(project: &Project) -> Result<Release> {
        let shell = project.shell()?;
        let time = cmd!(shell, "git log -1 --format=%ct").quiet().read()?;
        let version = project.workspace_package("version")?;
        if everywhere::has_changes(&shell)? {
            bail!("the packages are those of a commit; commit or stash what `git status` shows");
        }
        Ok(Release { version, time })
    }

    /// `tss2-tcti-rs-0.1.0`.
    pub(crate) fn directory(&self) -> String {
        format!("{NAME}-{}", self.version)
    }
}

/// Writes the archives, with the names that Debian has for them, to `dir`.
pub(crate) fn write(project: &Project, release: &Release, dir: &Path) -> Result<Archives> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir)?;
    let stem = format!("{NAME}_{}", release.version);
    let archives = Archives {
        sources: dir.join(format!("{stem}.orig.tar.gz")),
        crates: dir.join(format!("{stem}.orig-{}.tar.gz", vendor::DIR)),
    };
    let shell = project.shell()?;
    let (sources, prefix) = (&archives.sources, release.directory() + "/");
    cmd!(shell, "git archive --format=tar.gz --prefix={prefix} --output={sources} HEAD").quiet().run()?;

    let vendored = dir.join(vendor::DIR);
    vendor::vendor(project, &vendored)?;
    let (crates, time) = (&archives.crates, format!("@{}", release.time));
    let tar = cmd!(shell, "tar --directory {dir} --create --file {crates}")
        .args(["--use-compress-program", "gzip --no-name"]);
    let tar = tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rw,go=rX"]);
    tar.arg("--mtime").arg(time).arg(vendor::DIR).quiet().run()?;
    fs::remove_dir_all(vendored)?;
    Ok(archives)
}
