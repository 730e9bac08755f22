// SPDX-License-Identifier: BSD-2-Clause
//! The manual pages: Markdown in `src/*/man` and `dist/man`, roff where they are installed. [`convert`] completes the
//! head of a page and inserts the parts that several pages share, from `dist/man/parts`.

use crate::layout::NAME;
use crate::project::{Project, names_in};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Text that several pages share. A line `@name@` of a page stands for the file `name.md` in this directory.
const PARTS: &str = "dist/man/parts";
/// The name of the manual, at the top of every page.
const MANUAL: &str = "TPM 2.0 TCTI modules";

/// Returns whether pages can be converted on this machine.
pub(crate) fn has_converter(project: &Project) -> Result<bool> {
    let shell = project.shell()?;
    Ok(cmd!(shell, "go-md2man -help").quiet().ignore_stderr().ignore_stdout().ignore_status().run().is_ok())
}

/// Lists the pages by their paths in the repository.
pub(crate) fn pages(project: &Project) -> Result<Vec<PathBuf>> {
    let src = names_in(&project.root.join("src"))?.into_iter().map(|dir| Path::new("src").join(dir).join("man"));
    let mut pages = Vec::new();
    for dir in src.chain([PathBuf::from("dist/man")]).filter(|dir| project.root.join(dir).is_dir()) {
        let names = names_in(&project.root.join(&dir))?.into_iter().filter(|name| name.ends_with(".md"));
        pages.extend(names.map(|name| dir.join(name)));
    }
    Ok(pages)
}

/// Returns where a page is installed, below share/man: `man7/tss2-tcti-foo.7`.
pub(crate) fn path(page: &Path) -> PathBuf {
    Path::new(&directory(section(page))).join(name(page))
}

/// Lists the symbolic links to a page: where each is installed, below share/man, and what it holds. A page has one for
/// each name in its section NAME that is not its own. A function is looked for in section 3, so its link is there, also
/// when the page of the module describes it; a function with a page of its own needs no link.
pub(crate) fn links(project: &Project, page: &Path) -> Result<Vec<(PathBuf, String)>> {
    let all: Vec<String> = pages(project)?.iter().map(|page| name(page)).collect();
    let own_section = section(page);
    let links = other_names(&read(project, page)?, &name(page)).into_iter().filter_map(|other| {
        let section = if other.contains('_') { "3" } else { own_section };
        let link = format!("{other}.{section}");
        let target = match section == own_section {
            true => name(page),
            false => Path::new("..").join(path(page)).display().to_string(),
        };
        (!all.contains(&link)).then(|| (Path::new(&directory(section)).join(link), target))
    });
    Ok(links.collect())
}

/// Converts a page to roff.
pub(crate) fn convert(project: &Project, page: &Path) -> Result<String> {
    let text = complete(project, page)?;
    let shell = project.shell()?;
    let roff = cmd!(shell, "go-md2man").stdin(text).quiet().read()?;
    // Version 2.0 puts a paragraph behind each heading, where mandoc warns that it does nothing.
    let mut after_heading = false;
    let wanted = |line: &&str| {
        let superfluous = after_heading && *line == ".PP";
        after_heading = line.starts_with(".SH");
        !superfluous
    };
    Ok(roff.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect())
}

/// Returns the Markdown of a page with its head completed and the shared parts inserted. The first line of the file has
/// name and section only: date and version are those of the release, from the manifest of the workspace.
fn complete(project: &Project, page: &Path) -> Result<String> {
    let text = read(project, page)?;
    let (head, body) = text.split_once('\n').with_context(|| format!("{} is empty", page.display()))?;
    let (date, version) = (project.release_date()?, project.workspace_package("version")?);
    let mut complete = format!("{head} \"{date}\" \"{NAME} {version}\" \"{MANUAL}\"\n");
    for line in body.lines() {
        match part(line) {
            Some(name) => complete += read(project, &Path::new(PARTS).join(format!("{name}.md")))?.trim_end(),
            None => complete += line,
        }
        complete.push('\n');
    }
    Ok(complete)
}

/// Returns the name of the part that a line stands for.
fn part(line: &str) -> Option<&str> {
    let name = line.strip_prefix('@')?.strip_suffix('@')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (!name.is_empty() && is_name).then_some(name)
}

/// Lists the names in the section NAME of a page, without the one that its file has.
fn other_names(text: &str, own: &str) -> Vec<String> {
    let names = text.split("# NAME").nth(1).and_then(|rest| rest.split(" - ").next()).unwrap_or_default();
    let names =
        names.split(',').map(str::trim).filter(|name| !name.is_empty() && !own.starts_with(&format!("{name}.")));
    names.map(str::to_owned).collect()
}

/// Returns the name of the installed page: `tss2-tcti-foo.7`.
fn name(page: &Path) -> String {
    page.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Returns the section of a page: "7" for `tss2-tcti-foo.7.md`.
fn section(page: &Path) -> &str {
    page.file_stem().and_then(|name| Path::new(name).extension()).and_then(|section| section.to_str()).unwrap_or("7")
}

fn directory(section: &str) -> String {
    format!("man{section}")
}

fn read(project: &Project, path: &Path) -> Result<String> {
    fs::read_to_string(project.root.join(path)).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_complete_head_and_all_its_parts() {
        let project = Project::find().unwrap();
        let version = project.workspace_package("version").unwrap();
        for page in pages(&project).unwrap() {
            let text = complete(&project, &page).unwrap();
            let head = text.lines().next().unwrap();
            let (name, section) = (page.file_stem().unwrap().to_str().unwrap(), section(&page));
            let own = format!("% {} {section} \"20", name.strip_suffix(&format!(".{section}")).unwrap());
            assert!(head.to_lowercase().starts_with(&own.to_lowercase()), "{head}");
            assert!(head.ends_with(&format!("\"{NAME} {version}\" \"{MANUAL}\"")), "{head}");
            assert!(!text.lines().any(|line| line.starts_with('@')), "{}", page.display());
        }
    }

    #[test]
    fn every_part_is_used() {
        let project = Project::find().unwrap();
        let texts: Vec<String> = pages(&project).unwrap().iter().map(|page| read(&project, page).unwrap()).collect();
        for file in names_in(&project.root.join(PARTS)).unwrap() {
            let marker = format!("@{}@", file.strip_suffix(".md").unwrap());
            assert!(texts.iter().any(|text| text.lines().any(|line| line == marker)), "no page has {marker}");
        }
    }

    #[test]
    fn only_a_whole_line_stands_for_a_part() {
        assert_eq!(part("@environment@"), Some("environment"));
        assert_eq!(part("@init-errors@"), Some("init-errors"));
        for line in ["", "@", "@@", "a @environment@", "@environment@ b", "user@host"] {
            assert_eq!(part(line), None, "{line}");
        }
    }

    #[test]
    fn the_section_name_lists_the_other_names() {
        let text = "% X 7\n\n# NAME\n\ntss2-tcti-foo, Tss2_Tcti_Foo_Init,\nfoo - a module\n\n# SYNOPSIS\n\na, b - c\n";
        assert_eq!(other_names(text, "tss2-tcti-foo.7"), ["Tss2_Tcti_Foo_Init", "foo"]);
        assert_eq!(other_names("# NAME\n\nfoo - a module\n", "foo.7"), [""; 0]);
    }

    #[test]
    fn a_function_in_the_page_of_its_module_has_a_link_in_section_3() {
        let project = Project::find().unwrap();
        let link = (PathBuf::from("man3/Tss2_Tcti_Null_Init.3"), "../man7/tss2-tcti-null.7".to_owned());
        assert_eq!(links(&project, Path::new("src/null/man/tss2-tcti-null.7.md")).unwrap(), [link]);
    }

    #[test]
    fn a_function_in_the_page_of_another_function_has_a_link_next_to_it() {
        let project = Project::find().unwrap();
        let link = (PathBuf::from("man3/Tss2_TctiLdr_FreeInfo.3"), "Tss2_TctiLdr_GetInfo.3".to_owned());
        assert_eq!(links(&project, Path::new("src/tctildr/man/Tss2_TctiLdr_GetInfo.3.md")).unwrap(), [link]);
    }
}
