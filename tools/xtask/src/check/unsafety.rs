// SPDX-License-Identifier: BSD-2-Clause
//! Checks where unsafe code is: only in islands, that is in `src/ffi/` and in files named `sys.rs`. The exported functions of
//! a library may have `#[unsafe(no_mangle)]`, `unsafe extern "C" fn` and a body that is one call into an island. The
//! simulators' islands also export functions, for C tests. Clippy's lint `undocumented_unsafe_blocks` checks that each
//! block has a `SAFETY` comment.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Which unsafe code a file may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Any.
    Island,
    /// Exported functions that call into an island.
    Face,
    None,
}

/// The result of [`survey`].
pub(crate) struct Report {
    /// Islands that contain unsafe code, with the number of unsafe blocks.
    pub(crate) islands: Vec<(String, usize)>,
    pub(crate) violations: Vec<String>,
}

/// Parses every Rust file of the product, its tests and its tools.
pub(crate) fn survey(project: &Project) -> Result<Report> {
    let mut report = Report { islands: Vec::new(), violations: Vec::new() };
    let faces: Vec<_> = project.libraries()?.iter().map(|library| library.face()).collect();
    let mut files = Vec::new();
    for dir in ["src", "tests", "tools"] {
        files.extend(project.files(dir)?);
    }
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")) {
        let rights = match path {
            face if faces.contains(face) => Rights::Face,
            path if path.starts_with("src/ffi") || path.ends_with("sys.rs") => Rights::Island,
            _ => Rights::None,
        };
        let source = fs::read_to_string(project.root.join(path))?;
        let file = syn::parse_file(&source).with_context(|| format!("cannot parse {}", path.display()))?;
        let mut finder = Finder { path, rights, blocks: 0, violations: Vec::new() };
        finder.visit_file(&file);
        if finder.blocks > 0 && rights == Rights::Island {
            report.islands.push((path.display().to_string(), finder.blocks));
        }
        report.violations.append(&mut finder.violations);
    }
    Ok(report)
}

struct Finder<'a> {
    path: &'a Path,
    rights: Rights,
    blocks: usize,
    violations: Vec<String>,
}

impl Finder<'_> {
    /// Records unsafe code, and reports it unless the file may contain it.
    fn found(&mut self, what: &str, at: proc_macro2::Span, allowed: bool) {
        if self.rights == Rights::None || !allowed {
            self.violations.push(format!("{}:{}: {what} outside the islands", self.path.display(), at.start().line));
        }
    }

    /// Returns whether a block is exactly one call into an island.
    fn is_call_to_an_island(block: &syn::Block) -> bool {
        let [syn::Stmt::Expr(syn::Expr::Call(call), None)] = block.stmts.as_slice() else { return false };
        let syn::Expr::Path(function) = &*call.func else { return false };
        function.path.segments.first().is_some_and(|first| first.ident == "ffi" || first.ident == "sys")
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.blocks += 1;
        let allowed = self.rights == Rights::Island || Self::is_call_to_an_island(&block.block);
        self.found("an unsafe block", block.span(), allowed);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.unsafety.is_some() {
            self.found("an unsafe function", signature.span(), true);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.found("an unsafe impl", item.span(), self.rights == Rights::Island);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            let exports = self.rights == Rights::Face || self.path.starts_with("tests/sim");
            self.found("an unsafe attribute", attribute.span(), exports);
        }
        visit::visit_attribute(self, attribute);
    }
}
