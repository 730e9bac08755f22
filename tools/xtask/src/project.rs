// SPDX-License-Identifier: BSD-2-Clause
//! Locates files in the source tree. By convention, a directory `src/foo` that contains `module` is the library
//! `libtss2-tcti-foo.so.0`, and `src/tctildr` is `libtss2-tctildr.so.0`. No file lists the modules.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The source tree.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    /// Cargo's target directory, as configured by its settings and the environment.
    pub(crate) target: PathBuf,
}

/// One shared library.
pub(crate) struct Library {
    /// Name of the directory in `src`, such as `foo`.
    pub(crate) dir: String,
}

impl Project {
    /// Returns the source tree that this program was built from.
    pub(crate) fn find() -> Result<Project> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.ancestors().nth(2).context("xtask is not at tools/xtask")?;
        let mut project = Project { root: root.to_owned(), target: PathBuf::new() };
        let metadata = project.metadata(&["--no-deps", "--offline"])?;
        let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
        project.target = target.context("cargo metadata reports no target directory")?.into();
        Ok(project)
    }

    /// Returns the output of `cargo metadata` with these arguments.
    pub(crate) fn metadata(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let shell = self.shell()?;
        let metadata =
            cmd!(shell, "cargo metadata --format-version 1 {arguments...}").quiet().ignore_stderr().read()?;
        Ok(serde_json::from_str(&metadata)?)
    }

    /// Returns the names of the cargo packages in `src`.
    pub(crate) fn product_packages(&self) -> Result<Vec<String>> {
        let metadata = self.metadata(&["--no-deps", "--offline"])?;
        let packages = metadata.get("packages").and_then(serde_json::Value::as_array);
        let src = self.root.join("src");
        let name = |package: &serde_json::Value| {
            let manifest = Path::new(package.get("manifest_path")?.as_str()?);
            manifest.starts_with(&src).then(|| Some(package.get("name")?.as_str()?.to_owned()))?
        };
        Ok(packages.context("cargo metadata lists no packages")?.iter().filter_map(name).collect())
    }

    /// Returns a shell whose working directory is the root of the tree.
    pub(crate) fn shell(&self) -> Result<Shell> {
        let shell = Shell::new()?;
        shell.change_dir(&self.root);
        Ok(shell)
    }

    /// Returns the directory that `cargo xtask stage` installs into.
    pub(crate) fn stage(&self) -> PathBuf {
        self.target.join("stage")
    }

    /// Returns the shared libraries in alphabetical order.
    pub(crate) fn libraries(&self) -> Result<Vec<Library>> {
        let src = self.root.join("src");
        let is_library = |dir: &String| src.join(dir).join("module").is_dir();
        let dirs = names_in(&src)?;
        Ok(dirs.into_iter().filter(is_library).map(|dir| Library { dir }).collect())
    }

    /// Returns the tpm2-tss release whose TCTI interface the libraries match, from the workspace manifest.
    pub(crate) fn api_version(&self) -> Result<String> {
        let version = look_up(&manifest(&self.root)?, &["workspace", "metadata", "tss2", "api-version"]);
        version.context("Cargo.toml has no workspace.metadata.tss2.api-version")
    }

    /// Returns the date of the release, which the manual pages show, from the workspace manifest.
    pub(crate) fn release_date(&self) -> Result<String> {
        let date = look_up(&manifest(&self.root)?, &["workspace", "metadata", "tss2", "release-date"]);
        date.context("Cargo.toml has no workspace.metadata.tss2.release-date")
    }

    /// Returns a key of `workspace.package`, such as `version`.
    pub(crate) fn workspace_package(&self, key: &str) -> Result<String> {
        let value = look_up(&manifest(&self.root)?, &["workspace", "package", key]);
        value.with_context(|| format!("Cargo.toml has no workspace.package.{key}"))
    }

    /// Returns the files in `dir`, recursively, that git tracks or does not ignore; paths are relative to the root.
    pub(crate) fn files(&self, dir: &str) -> Result<Vec<PathBuf>> {
        let shell = self.shell()?;
        let listed = cmd!(shell, "git ls-files --cached --others --exclude-standard -- {dir}").quiet().read()?;
        Ok(listed.lines().map(PathBuf::from).filter(|path| self.root.join(path).is_file()).collect())
    }
}

impl Library {
    /// Returns the name of the package, .pc file and manual page: `tss2-tcti-foo`.
    pub(crate) fn name(&self) -> String {
        match self.dir.as_str() {
            "tctildr" => "tss2-tctildr".to_owned(),
            dir => format!("tss2-tcti-{dir}"),
        }
    }

    /// Returns the file name of the header: `tss2_tcti_foo.h`.
    pub(crate) fn header(&self) -> String {
        format!("{}.h", self.name().replace('-', "_"))
    }

    /// Returns the one-line description from the manifest.
    pub(crate) fn description(&self, project: &Project) -> Result<String> {
        let description = look_up(&self.manifest(project)?, &["package", "description"]);
        description.with_context(|| format!("{} has no description", self.name()))
    }

    /// Returns a key of `package.metadata.tss2` in the manifest, which the packages are built from.
    pub(crate) fn metadata(&self, project: &Project, key: &str) -> Result<Option<String>> {
        Ok(look_up(&self.manifest(project)?, &["package", "metadata", "tss2", key]))
    }

    fn manifest(&self, project: &Project) -> Result<toml::Table> {
        manifest(&project.root.join(self.module()))
    }

    /// Returns the directory of the cdylib crate, relative to the root.
    pub(crate) fn module(&self) -> PathBuf {
        Path::new("src").join(&self.dir).join("module")
    }

    /// Returns the source file with the exported C functions, relative to the root.
    pub(crate) fn face(&self) -> PathBuf {
        self.module().join("lib.rs")
    }

    /// Returns the source file with the types and constants for the header, relative to the root. Not every library has one.
    pub(crate) fn abi(&self) -> PathBuf {
        Path::new("src").join(&self.dir).join("abi.rs")
    }

    /// Returns the exported functions in alphabetical order: those listed in `module/exports.txt`, or by default
    /// `Tss2_Tcti_Foo_Init` and `Tss2_Tcti_Info`.
    pub(crate) fn exports(&self, project: &Project) -> Result<Vec<String>> {
        let path = project.root.join(self.module()).join("exports.txt");
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(text.lines().map(str::to_owned).collect());
        }
        let capitalised = self.dir.split('-').map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{}{rest}", first.to_uppercase())
        });
        let init = format!("Tss2_Tcti_{}_Init", capitalised.collect::<Vec<_>>().join("_"));
        let mut names = vec![init, "Tss2_Tcti_Info".to_owned()];
        names.sort();
        Ok(names)
    }
}

/// Parses the Cargo.toml in a directory.
fn manifest(dir: &Path) -> Result<toml::Table> {
    let path = dir.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("cannot parse {}", path.display()))
}

/// Returns the string at a path of keys.
fn look_up(table: &toml::Table, keys: &[&str]) -> Option<String> {
    let (last, tables) = keys.split_last()?;
    let table = tables.iter().try_fold(table, |table, key| table.get(*key)?.as_table())?;
    Some(table.get(*last)?.as_str()?.to_owned())
}

/// Returns the names of the entries of a directory in alphabetical order.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
