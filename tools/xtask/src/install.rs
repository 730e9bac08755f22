// SPDX-License-Identifier: BSD-2-Clause
//! Installs and uninstalls: builds the libraries and writes the files that `layout.rs` lists, or removes them. The stage is
//! an installation in `target/stage`.

use crate::layout::{Content, File, NAME, Options};
use crate::project::Project;
use crate::{compile, layout, manual};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Builds, installs into `target/stage` and returns its path.
pub(crate) fn stage(project: &Project) -> Result<PathBuf> {
    let stage = project.stage();
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    }
    install(project, &Options::at(&stage))?;
    Ok(stage)
}

/// Builds the libraries and installs all files. Skips the manual pages if go-md2man is not installed.
pub(crate) fn install(project: &Project, options: &Options) -> Result<()> {
    let libraries: Vec<String> = project.libraries()?.iter().map(|library| library.name()).collect();
    let built = compile::release(project, libraries.iter().map(String::as_str))?;
    let has_manual = manual::has_converter(project)?;
    if !has_manual {
        println!("skipped the manual pages: go-md2man is not installed");
    }
    // Keep the files of an earlier installation in the list, so that uninstall removes them as well.
    let mut installed = read_list(options)?.unwrap_or_default();
    for File { to, content } in layout::files(project, options)? {
        let is_page = matches!(content, Content::Manual(_) | Content::ManualLink(_));
        if !is_page || has_manual {
            installed.insert(to.clone());
        }
        let to = options.dest(&to);
        match content {
            Content::Library(name) => copy(&built.join(name), &to, 0o755)?,
            Content::Copy(from) => copy(&project.root.join(from), &to, 0o644)?,
            Content::Script(from) => copy(&project.root.join(from), &to, 0o755)?,
            Content::Text(text) => write(&to, text.as_bytes(), 0o644)?,
            Content::Manual(page) if has_manual => write(&to, manual::convert(project, &page)?.as_bytes(), 0o644)?,
            Content::ManualLink(target) if has_manual => link(&target, &to)?,
            Content::Manual(_) | Content::ManualLink(_) => {}
            Content::Link(target) => link(&target, &to)?,
        }
    }
    let list: String = installed.iter().map(|path| format!("{}\n", path.display())).collect();
    write(&options.list(), list.as_bytes(), 0o644)?;
    println!("installed {} libraries in {}", libraries.len(), options.dest(&options.libdir()).display());
    Ok(())
}

/// Reads the list of installed files; `None` if there is no list in this prefix.
fn read_list(options: &Options) -> Result<Option<BTreeSet<PathBuf>>> {
    let list = options.list();
    match fs::read_to_string(&list) {
        Ok(text) => Ok(Some(text.lines().map(PathBuf::from).collect())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", list.display())),
    }
}

/// Removes the files that `install` has written, according to its list. Then removes empty directories: with DESTDIR all
/// directories that contained one of our files, otherwise only those that belong to this project or to tss2.
pub(crate) fn uninstall(options: &Options) -> Result<()> {
    let list = options.list();
    let Some(installed) = read_list(options)? else {
        bail!("nothing of ours is installed in {}: {} does not exist", options.prefix.display(), list.display());
    };
    let files = installed.iter().map(|path| options.dest(path)).chain([list]);
    let mut removed = 0;
    for path in files {
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
        let is_ours = |dir: &Path| match options.has_destdir() {
            true => dir != options.destdir,
            false => dir.file_name().is_some_and(|name| name == NAME || name == "tss2"),
        };
        // Stops at the first directory that is not empty or does not exist.
        let mut dirs = path.ancestors().skip(1);
        while dirs.next().is_some_and(|dir| is_ours(dir) && fs::remove_dir(dir).is_ok()) {}
    }
    println!("removed {removed} files from {}", options.dest(&options.prefix).display());
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

/// Writes a temporary file and renames it, so that a library in use is replaced rather than overwritten.
fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let parent = to.parent().context("a path without a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let put = fs::write(new, bytes)
        .and_then(|()| fs::set_permissions(new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(new, to));
    put.with_context(|| format!("cannot write {}", to.display()))
}

/// Creates a temporary link and renames it, so that a program started at the same time finds the old link or the new one.
fn link(target: &str, name: &Path) -> Result<()> {
    let parent = name.parent().context("no directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let mut new = name.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let _ = fs::remove_file(new); // left by an interrupted installation
    let put = symlink(target, new).and_then(|()| fs::rename(new, name));
    put.with_context(|| format!("cannot create the link {}", name.display()))
}
