// SPDX-License-Identifier: BSD-2-Clause
//! Unsafe code stands on islands: `src/ffi/` and files named `sys.rs`. A C face has what an export needs and no
//! more: `#[unsafe(no_mangle)]`, `unsafe extern "C" fn`, and a body that is one call to an island. The islands of the
//! simulators export, too, for C tests. That each block has its sentence is clippy's part
//! (`undocumented_unsafe_blocks`).

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What a file may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Island,
    Face,
    None,
}

/// What was found.
pub(crate) struct Report {
    /// Files with unsafe code that may have it, and how many blocks.
    pub(crate) islands: Vec<(String, usize)>,
    pub(crate) violations: Vec<String>,
}

/// Reads every Rust file of the product, its tests and its tools.
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
    fn found(&mut self, what: &str, at: proc_macro2::Span, allowed: bool) {
        if self.rights == Rights::None || !allowed {
            self.violations.push(format!("{}:{}: {what} outside the islands", self.path.display(), at.start().line));
        }
    }

    /// Whether a block of a face is one call into an island.
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
