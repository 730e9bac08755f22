// SPDX-License-Identifier: BSD-2-Clause
//! Build script of every library that C programs load: sets the SONAME, which is derived from the package name, and the linker
//! options.

fn main() {
    println!("cargo::rerun-if-changed=../../ffi/link.rs");
    let name = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,lib{name}.so.0");
    // Relocated data is read-only before the library runs, the stack is not executable, and code is not relocated. For most
    // targets the compiler sets the first three, too.
    for keyword in ["relro", "now", "noexecstack", "text"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,{keyword}");
    }
    // The log crate and the panic hook hold pointers into the library: dlclose must not unmap it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Link the unwinder from GCC's static archive: otherwise each process would have to find, map and bind libgcc_s.so.1,
    // which C programs do not need. No panic leaves a library, so each can have its own unwinder. On other architectures the
    // archive needs further parts of GCC, which is untested.
    let is =
        |name: &str, wanted: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).is_ok_and(|value| value == wanted);
    if is("ARCH", "x86_64") && is("ENV", "gnu") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
