// SPDX-License-Identifier: BSD-2-Clause
//! What a test needs beside the staged tree. Something missing makes the test ignored, with its reason in the list of
//! tests; where `CI` is set it makes the test fail, if it could be installed.

use crate::{behind, sid};
use nix::unistd::geteuid;
use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// One thing that a test needs.
#[derive(Clone, Copy)]
pub enum Need {
    /// A program in the search path, and the Debian package it comes in.
    Program(&'static str, &'static str),
    /// A library that the dynamic linker finds, and its Debian package.
    Library(&'static str, &'static str),
    /// A file, and its Debian package.
    File(&'static str, &'static str),
    /// The release of tpm2-tss that the distribution has.
    Release(&'static str),
    /// A tpm2_send that hands on commands of ten bytes, the shortest there are, to the module in C at least.
    ShortCommands,
    /// A tpm2-openssl whose processes go on when one of them is killed. That of 1.3 locks a semaphore that they share
    /// around each command, whatever the TCTI, and a process that dies then leaves it locked.
    NoSemaphore,
    /// The modules of Debian sid, of this release of tpm2-tss.
    Sid(&'static str),
    /// To run as root.
    Root,
    /// To mount a file system, in a name space of its own.
    Mount,
    /// A machine on which no TPM answers unless it is named.
    NoTpm,
    /// A machine without a LetsTrust-TPM2Go.
    NoStick,
}

/// The emulator.
pub const SWTPM: Need = Need::Program("swtpm", "swtpm");
/// libtpms, which the module of that name opens.
pub const LIBTPMS: Need = Need::Library("libtpms.so.0", "libtpms0");
/// The tools.
pub const TPM2_TOOLS: Need = Need::Program("tpm2", "tpm2-tools");
/// OpenSSL's program.
pub const OPENSSL: Need = Need::Program("openssl", "openssl");
/// OpenSSL's provider for TPMs.
pub const TPM2_PROVIDER: &str = "/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so";
/// The memory checker.
pub const VALGRIND: Need = Need::Program("valgrind", "valgrind");
/// A C compiler.
pub const CC: Need = Need::Program("cc", "gcc");
/// A C++ compiler.
pub const CXX: Need = Need::Program("c++", "g++");
/// nm and readelf.
pub const BINUTILS: Need = Need::Program("readelf", "binutils");
/// The checker of manual pages.
pub const MANDOC: Need = Need::Program("mandoc", "mandoc");
/// The reader of manual pages.
pub const MAN: Need = Need::Program("man", "man-db");
/// What converts the manual pages when they are staged.
pub const MD2MAN: Need = Need::Program("go-md2man", "go-md2man");
/// pkg-config.
pub const PKG_CONFIG: Need = Need::Program("pkg-config", "pkg-config");
/// setpriv and mount.
pub const SETPRIV: Need = Need::Program("setpriv", "util-linux");
/// The distribution's headers.
pub const TSS2_HEADERS: Need = Need::File("/usr/include/tss2/tss2_esys.h", "libtss2-dev");
/// The distribution's libtss2-esys.
pub const ESYS: Need = Need::Library("libtss2-esys.so.0", "libtss2-esys-3.0.2-0");
/// The distribution's libtss2-fapi, and its profiles.
pub const FAPI: [Need; 2] = [
    Need::Library("libtss2-fapi.so.1", "libtss2-fapi1"),
    Need::File("/etc/tpm2-tss/fapi-profiles/P_ECCP256SHA256.json", "libtss2-fapi1"),
];
/// The release that `c-tests/allowed-differences.txt` is about.
pub const RELEASE: Need = Need::Release("3.2.1");
/// The newest release that it is about.
pub const SID: Need = Need::Sid("4.2.0");
/// The distribution's module for the kernel's devices.
pub const C_DEVICE: Need = Need::Library("libtss2-tcti-device.so.0", "libtss2-tcti-device0");
/// The distribution's module for swtpm.
pub const C_SWTPM: Need = Need::Library("libtss2-tcti-swtpm.so.0", "libtss2-tcti-swtpm0");
/// The distribution's module for the simulators.
pub const C_MSSIM: Need = Need::Library("libtss2-tcti-mssim.so.0", "libtss2-tcti-mssim0");
/// The distribution's module for commands.
pub const C_CMD: Need = Need::Library("libtss2-tcti-cmd.so.0", "libtss2-tcti-cmd0");
/// An ssh server, and its client.
pub const SSHD: Need = Need::File("/usr/sbin/sshd", "openssh-server");
/// The client.
pub const SSH: Need = Need::Program("ssh", "openssh-client");
/// The distribution's loader.
pub const C_TCTILDR: Need = Need::Library("libtss2-tctildr.so.0", "libtss2-tctildr0");

impl Need {
    /// Why it is not there; `None` when it is.
    pub fn missing(self) -> Option<String> {
        let package = match self {
            Need::Program(name, package) => program(name).is_none().then_some(package),
            Need::Library(name, package) => distribution_library(name).is_none().then_some(package),
            Need::File(path, package) => (!Path::new(path).exists()).then_some(package),
            Need::Release(version) => return (release() != version).then(|| format!("needs tpm2-tss {version}")),
            Need::ShortCommands => {
                let lacks = "needs a tpm2_send that reads commands of ten bytes";
                return (!behind::hands_on_short_commands()).then(|| lacks.to_owned());
            }
            Need::NoSemaphore => {
                let lacks = "needs a tpm2-openssl without a semaphore";
                return has_semaphore().then(|| lacks.to_owned());
            }
            Need::Sid(version) => return lacks_sid(version),
            Need::Root => return (!geteuid().is_root()).then(|| "needs root".to_owned()),
            Need::Mount => return (!may_mount()).then(|| "needs the right to mount".to_owned()),
            Need::NoStick => return has_stick().then(|| "needs a machine without a LetsTrust-TPM2Go".to_owned()),
            Need::NoTpm => return tpm().map(|tpm| format!("needs a machine without {tpm}")),
        };
        package.map(|package| format!("needs package {package}"))
    }

    /// Whether it is as it is in a release of a distribution, so that nothing can be done about it.
    pub fn is_given(self) -> bool {
        match self {
            Need::Release(_) => !release().is_empty(),
            Need::Sid(_) => sid::release().is_some(),
            Need::ShortCommands | Need::NoSemaphore => true,
            _ => false,
        }
    }
}

/// Whether a missing thing is a failure.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn lacks_sid(version: &str) -> Option<String> {
    match sid::release() {
        Some(found) => (found != version).then(|| format!("needs tpm2-tss {version}, and Debian sid has {found}")),
        None => Some("needs the C modules of Debian sid: cargo xtask test e2e, where apt has a mirror".to_owned()),
    }
}

fn release() -> String {
    let version = Command::new("pkg-config").args(["--modversion", "tss2-tctildr"]).output();
    version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// By what the provider imports.
fn has_semaphore() -> bool {
    const SYMBOL: &[u8] = b"\0sem_wait\0";
    fs::read(TPM2_PROVIDER).is_ok_and(|library| library.windows(SYMBOL.len()).any(|bytes| bytes == SYMBOL))
}

fn may_mount() -> bool {
    let mut unshare = Command::new("unshare");
    let script = "d=$(mktemp -d) && mount -t tmpfs none $d; status=$?; umount $d; rmdir $d; exit $status";
    unshare.args(["--mount", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

/// What the defaults would find here.
fn tpm() -> Option<&'static str> {
    let device =
        ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"].into_iter().find(|path| Path::new(path).exists());
    device.or_else(|| TcpStream::connect(("localhost", 2321)).is_ok().then_some("a simulator on port 2321"))
}

fn has_stick() -> bool {
    let devices = fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
    devices.into_iter().any(|device| {
        let id = |name| fs::read_to_string(device.path().join(name)).unwrap_or_default();
        (id("idVendor").trim(), id("idProduct").trim()) == ("365d", "1337")
    })
}

/// A program in the search path.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A library of the distribution, wherever its dynamic linker finds it.
pub fn distribution_library(soname: &str) -> Option<PathBuf> {
    static CACHE: LazyLock<String> = LazyLock::new(|| {
        let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|path| Path::new(path).exists());
        let output = Command::new(ldconfig.unwrap_or("ldconfig")).arg("-p").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    });
    let line = CACHE.lines().find(|line| line.split_whitespace().next() == Some(soname))?;
    line.rsplit_once("=> ").map(|(_, path)| PathBuf::from(path))
}
