// SPDX-License-Identifier: BSD-2-Clause
//! The architectures, and what each is called by whom: [`MACHINES`].

/// One architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Debian's name.
    pub(crate) name: &'static str,
    /// The compiler's name for it with Linux and the GNU C library.
    pub(crate) target: &'static str,
    /// What the names of GCC's programs begin with.
    pub(crate) gnu: &'static str,
    /// Debian's directory of libraries.
    pub(crate) multiarch: &'static str,
    /// QEMU's name; `None` for the machine that needs no emulator.
    pub(crate) emulator: Option<&'static str>,
    /// What is special about it.
    pub(crate) kind: &'static str,
}

/// In the order in which they are tested: first those that differ most from the machine that everything is written on.
pub(crate) const MACHINES: [Machine; 7] = [
    Machine {
        name: "i386",
        target: "i686-unknown-linux-gnu",
        gnu: "i686-linux-gnu",
        multiarch: "i386-linux-gnu",
        emulator: Some("i386"),
        kind: "32 bits, 64-bit numbers aligned to 4 bytes",
    },
    Machine {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        gnu: "arm-linux-gnueabihf",
        multiarch: "arm-linux-gnueabihf",
        emulator: Some("arm"),
        kind: "32 bits, 64-bit numbers aligned to 8 bytes",
    },
    Machine {
        name: "arm64",
        target: "aarch64-unknown-linux-gnu",
        gnu: "aarch64-linux-gnu",
        multiarch: "aarch64-linux-gnu",
        emulator: Some("aarch64"),
        kind: "64 bits",
    },
    Machine {
        name: "s390x",
        target: "s390x-unknown-linux-gnu",
        gnu: "s390x-linux-gnu",
        multiarch: "s390x-linux-gnu",
        emulator: Some("s390x"),
        kind: "64 bits, big-endian",
    },
    Machine {
        name: "riscv64",
        target: "riscv64gc-unknown-linux-gnu",
        gnu: "riscv64-linux-gnu",
        multiarch: "riscv64-linux-gnu",
        emulator: Some("riscv64"),
        kind: "64 bits",
    },
    Machine {
        name: "ppc64el",
        target: "powerpc64le-unknown-linux-gnu",
        gnu: "powerpc64le-linux-gnu",
        multiarch: "powerpc64le-linux-gnu",
        emulator: Some("ppc64le"),
        kind: "64 bits",
    },
    Machine {
        name: "amd64",
        target: "x86_64-unknown-linux-gnu",
        gnu: "x86_64-linux-gnu",
        multiarch: "x86_64-linux-gnu",
        emulator: None,
        kind: "64 bits",
    },
];

impl Machine {
    /// By Debian's name.
    pub(crate) fn named(name: &str) -> Option<Machine> {
        MACHINES.into_iter().find(|machine| machine.name == name)
    }

    /// The directory inside with the machine's own packages; empty for the root.
    pub(crate) fn sysroot(&self) -> String {
        self.emulator.map_or_else(String::new, |_| format!("/arch/{}", self.name))
    }

    /// What runs a program of the machine: words to put before it.
    pub(crate) fn runner(&self) -> String {
        self.emulator.map_or_else(String::new, |name| format!("qemu-{name} -L {}", self.sysroot()))
    }

    /// An environment variable of cargo for what is compiled for the machine.
    pub(crate) fn of_cargo(&self, key: &str) -> String {
        format!("CARGO_TARGET_{}_{key}", self.target.to_uppercase().replace('-', "_"))
    }
}
