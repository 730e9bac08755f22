// SPDX-License-Identifier: BSD-2-Clause
//! The architectures, and what each is called by whom: [`MACHINES`].

/// One architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Debian's name, or that of the C library.
    pub(crate) name: &'static str,
    /// The Rust compiler's name for it.
    pub(crate) target: &'static str,
    /// The C compiler, which links, too.
    pub(crate) gcc: &'static str,
    /// Debian's directory of libraries.
    pub(crate) multiarch: &'static str,
    /// QEMU's name; `None` for the machine that needs no emulator.
    pub(crate) emulator: Option<&'static str>,
    /// The other C library; nothing of Debian's but its compiler is made for it, not even Rust's own library.
    pub(crate) is_musl: bool,
    /// What is special about it.
    pub(crate) kind: &'static str,
}

/// In the order in which they are tested: first those that differ most from the machine that everything is written on.
pub(crate) const MACHINES: [Machine; 8] = [
    Machine {
        name: "i386",
        target: "i686-unknown-linux-gnu",
        gcc: "i686-linux-gnu-gcc",
        multiarch: "i386-linux-gnu",
        emulator: Some("i386"),
        is_musl: false,
        kind: "32 bits, 64-bit numbers aligned to 4 bytes",
    },
    Machine {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        gcc: "arm-linux-gnueabihf-gcc",
        multiarch: "arm-linux-gnueabihf",
        emulator: Some("arm"),
        is_musl: false,
        kind: "32 bits, 64-bit numbers aligned to 8 bytes",
    },
    Machine {
        name: "arm64",
        target: "aarch64-unknown-linux-gnu",
        gcc: "aarch64-linux-gnu-gcc",
        multiarch: "aarch64-linux-gnu",
        emulator: Some("aarch64"),
        is_musl: false,
        kind: "64 bits",
    },
    Machine {
        name: "s390x",
        target: "s390x-unknown-linux-gnu",
        gcc: "s390x-linux-gnu-gcc",
        multiarch: "s390x-linux-gnu",
        emulator: Some("s390x"),
        is_musl: false,
        kind: "64 bits, big-endian",
    },
    Machine {
        name: "riscv64",
        target: "riscv64gc-unknown-linux-gnu",
        gcc: "riscv64-linux-gnu-gcc",
        multiarch: "riscv64-linux-gnu",
        emulator: Some("riscv64"),
        is_musl: false,
        kind: "64 bits",
    },
    Machine {
        name: "ppc64el",
        target: "powerpc64le-unknown-linux-gnu",
        gcc: "powerpc64le-linux-gnu-gcc",
        multiarch: "powerpc64le-linux-gnu",
        emulator: Some("ppc64le"),
        is_musl: false,
        kind: "64 bits",
    },
    Machine {
        name: "amd64",
        target: "x86_64-unknown-linux-gnu",
        gcc: "x86_64-linux-gnu-gcc",
        multiarch: "x86_64-linux-gnu",
        emulator: None,
        is_musl: false,
        kind: "64 bits",
    },
    Machine {
        name: "musl",
        target: "x86_64-unknown-linux-musl",
        gcc: "musl-gcc",
        // For libusb, whose names are looked for when its module is linked.
        multiarch: "x86_64-linux-gnu",
        emulator: None,
        is_musl: true,
        kind: "amd64 with another C library",
    },
];

impl Machine {
    /// By its name.
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
