// SPDX-License-Identifier: BSD-2-Clause
//! Build script of every library that C loads. The package name is the library's name: it gives the SONAME.

fn main() {
    println!("cargo::rerun-if-changed=../../ffi/link.rs");
    let name = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,lib{name}.so.0");
    // The compiler asks for the first three as well, for most machines. What is relocated is read-only before any code
    // of ours runs, the stack is no code, and code is never written to.
    for keyword in ["relro", "now", "noexecstack", "text"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,{keyword}");
    }
    // The log crate and the panic hook hold pointers into the library: dlclose must not unmap it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // The unwinder from GCC's archive: libgcc_s.so.1 would be one more library to find, map and bind in each process, and
    // C programs have no other use for it. No panic leaves a library, so each can have its own. Elsewhere than on x86-64
    // the archive needs more of GCC, and nobody has tried it.
    let is =
        |name: &str, wanted: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).is_ok_and(|value| value == wanted);
    if is("ARCH", "x86_64") && is("ENV", "gnu") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
