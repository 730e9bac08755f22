// SPDX-License-Identifier: BSD-2-Clause
//! The two archives that source packages are made from: the sources of the commit and the vendored crates. [`write()`] produces
//! the same bytes each time for the same commit.

use super::vendor;
use crate::everywhere;
use crate::layout::NAME;
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// The commit to package.
pub(crate) struct Release {
    /// The version of the workspace.
    pub(crate) version: String,
    /// The commit's time in seconds since 1970.
    pub(crate) time: String,
}

/// The paths of the archives.
pub(crate) struct Archives {
    pub(crate) sources: PathBuf,
    pub(crate) crates: PathBuf,
}

impl Release {
    /// Returns the commit that is checked out; fails if there are uncommitted changes.
    pub(crate) fn of(project: &Project) -> Result<Release> {
        let shell = project.shell()?;
        let time = cmd!(shell, "git log -1 --format=%ct").quiet().read()?;
        let version = project.workspace_package("version")?;
        if everywhere::has_changes(&shell)? {
            bail!("packages are built from a commit; commit or stash the changes that `git status` shows");
        }
        Ok(Release { version, time })
    }

    /// Returns the name of the directory in the archive: `tss2-tcti-rs-0.1.0`.
    pub(crate) fn directory(&self) -> String {
        format!("{NAME}-{}", self.version)
    }
}

/// Writes the archives to `dir`, under the names that Debian requires. Removes what was there.
pub(crate) fn write(project: &Project, release: &Release, dir: &Path) -> Result<Archives> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
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
