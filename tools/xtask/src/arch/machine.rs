// SPDX-License-Identifier: BSD-2-Clause
//! The architectures under test: [`MACHINES`], with the names that each tool uses for them and how code is built for them.

use super::steps::Step;

/// One architecture.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    /// Debian's name; for musl the name of the C library.
    pub(crate) name: &'static str,
    /// Rust's target triple.
    pub(crate) target: &'static str,
    /// The C compiler, which also links Rust programs.
    pub(crate) gcc: &'static str,
    /// The Debian packages that contain the C compiler and what else building needs.
    pub(crate) toolchain: &'static [&'static str],
    /// Debian's multiarch directory of libraries.
    pub(crate) multiarch: &'static str,
    /// QEMU's name of the architecture; `None` if its programs run natively.
    pub(crate) emulator: Option<&'static str>,
    libc: Libc,
    /// Steps that cannot run, each with the package that Debian does not have for this machine.
    pub(crate) skipped: &'static [(Step, &'static str)],
    /// Packages of the workspace that cannot be linked or tested for lack of a C library such as libusb.
    pub(crate) untested: &'static [&'static str],
    /// Its properties in a few words, for the table.
    pub(crate) kind: &'static str,
}

/// The C library of a machine.
#[derive(Clone, Copy)]
enum Libc {
    Glibc,
    /// Debian only has a C compiler for it. Rust's standard library is built from source.
    Musl,
}

/// The values that most architectures have in common.
const DEBIAN_PORT: Machine = Machine {
    name: "",
    target: "",
    gcc: "",
    toolchain: &[],
    multiarch: "",
    emulator: None,
    libc: Libc::Glibc,
    skipped: &[],
    untested: &[],
    kind: "64 bits",
};

/// The architectures in the order of the tests: those that differ most from the development machine come first.
pub(crate) const MACHINES: [Machine; 8] = [
    Machine {
        name: "i386",
        target: "i686-unknown-linux-gnu",
        gcc: "i686-linux-gnu-gcc",
        toolchain: &["gcc-i686-linux-gnu"],
        multiarch: "i386-linux-gnu",
        emulator: Some("i386"),
        kind: "32 bits, 64-bit integers aligned to 4 bytes",
        ..DEBIAN_PORT
    },
    Machine {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        gcc: "arm-linux-gnueabihf-gcc",
        toolchain: &["gcc-arm-linux-gnueabihf"],
        multiarch: "arm-linux-gnueabihf",
        emulator: Some("arm"),
        kind: "32 bits, 64-bit integers aligned to 8 bytes",
        ..DEBIAN_PORT
    },
    Machine {
        name: "arm64",
        target: "aarch64-unknown-linux-gnu",
        gcc: "aarch64-linux-gnu-gcc",
        toolchain: &["gcc-aarch64-linux-gnu"],
        multiarch: "aarch64-linux-gnu",
        emulator: Some("aarch64"),
        ..DEBIAN_PORT
    },
    Machine {
        name: "s390x",
        target: "s390x-unknown-linux-gnu",
        gcc: "s390x-linux-gnu-gcc",
        toolchain: &["gcc-s390x-linux-gnu"],
        multiarch: "s390x-linux-gnu",
        emulator: Some("s390x"),
        kind: "64 bits, big-endian",
        ..DEBIAN_PORT
    },
    Machine {
        name: "riscv64",
        target: "riscv64gc-unknown-linux-gnu",
        gcc: "riscv64-linux-gnu-gcc",
        toolchain: &["gcc-riscv64-linux-gnu"],
        multiarch: "riscv64-linux-gnu",
        emulator: Some("riscv64"),
        ..DEBIAN_PORT
    },
    Machine {
        name: "ppc64el",
        target: "powerpc64le-unknown-linux-gnu",
        gcc: "powerpc64le-linux-gnu-gcc",
        toolchain: &["gcc-powerpc64le-linux-gnu"],
        multiarch: "powerpc64le-linux-gnu",
        emulator: Some("ppc64le"),
        ..DEBIAN_PORT
    },
    Machine {
        name: "amd64",
        target: "x86_64-unknown-linux-gnu",
        gcc: "x86_64-linux-gnu-gcc",
        toolchain: &["gcc"],
        multiarch: "x86_64-linux-gnu",
        ..DEBIAN_PORT
    },
    Machine {
        name: "musl",
        target: "x86_64-unknown-linux-musl",
        gcc: "musl-gcc",
        // libunwind replaces GCC's unwinder, which requires glibc.
        toolchain: &["libunwind-19-dev", "musl-tools", "rust-src"],
        // For libusb of amd64: linking spi-ltt2go only needs the names of its functions.
        multiarch: "x86_64-linux-gnu",
        libc: Libc::Musl,
        skipped: &[
            (Step::Layout, "libtss2-dev"),
            (Step::ToolsOnSwtpm, "tpm2-tools"),
            (Step::ToolsOnLibtpms, "libtpms"),
        ],
        untested: &["sim-tpm2go", "tcti-libtpms", "tcti-spi-ltt2go", "tss2-tcti-libtpms", "tss2-tcti-spi-ltt2go"],
        kind: "amd64 with another C library",
        ..DEBIAN_PORT
    },
];

impl Machine {
    /// Returns the machine with this name.
    pub(crate) fn named(name: &str) -> Option<Machine> {
        MACHINES.into_iter().find(|machine| machine.name == name)
    }

    /// Returns the directory in the chroot that contains the machine's own packages; empty for the root directory.
    pub(crate) fn sysroot(&self) -> String {
        self.emulator.map_or_else(String::new, |_| format!("/arch/{}", self.name))
    }

    /// Returns the command that runs a program of the machine, to be followed by the program; empty if it runs natively.
    pub(crate) fn runner(&self) -> String {
        self.emulator.map_or_else(String::new, |name| format!("qemu-{name} -L {}", self.sysroot()))
    }

    /// Returns the flags for rustc.
    pub(crate) fn rustflags(&self) -> String {
        match self.libc {
            Libc::Glibc => format!("-C link-arg=--sysroot={}/", self.sysroot()),
            Libc::Musl => "-C target-feature=-crt-static -C link-self-contained=no -L native=/build/musl".to_owned(),
        }
    }

    /// Returns additional options for cargo.
    pub(crate) fn cargo_options(&self) -> &'static str {
        match self.libc {
            Libc::Glibc => "",
            Libc::Musl => "-Zbuild-std=std,panic_unwind,test -Zbuild-std-features=",
        }
    }

    /// Returns additional environment variables for all steps.
    pub(crate) fn environment(&self) -> &'static [&'static str] {
        match self.libc {
            Libc::Glibc => &[],
            // Allows the packaged compiler to build its own standard library, which uses unstable features.
            Libc::Musl => &["RUSTC_BOOTSTRAP=1"],
        }
    }

    /// Returns the function of `steps.sh` to call before anything is built, if there is one.
    pub(crate) fn preparation(&self) -> Option<&'static str> {
        match self.libc {
            Libc::Glibc => None,
            Libc::Musl => Some("unwinder"),
        }
    }

    /// Returns the name of cargo's environment variable for a setting of this target.
    pub(crate) fn cargo_variable(&self, key: &str) -> String {
        format!("CARGO_TARGET_{}_{key}", self.target.to_uppercase().replace('-', "_"))
    }
}
