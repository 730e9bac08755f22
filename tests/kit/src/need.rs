// SPDX-License-Identifier: BSD-2-Clause
//! The needs of a test in addition to the staged tree: [`Need`]. A test with an unmet need is listed as ignored, with
//! the reason. Where the environment variable `CI` is set it fails instead, unless the need cannot be met on this
//! release of the distribution ([`Unmet::Inherent`]).

use nix::unistd::geteuid;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// One thing that a test needs.
#[derive(Clone, Copy)]
pub enum Need {
    /// A program in the search path, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// A library that the dynamic linker finds, and its Debian package.
    Library(&'static str, &'static str),
    /// A file, and its Debian package.
    File(&'static str, &'static str),
    /// Root privileges.
    Root,
    /// Permission to mount a file system in a mount namespace of its own.
    Mount,
    /// Anything that only the test program itself can check.
    Custom(fn() -> Result<(), Unmet>),
}

/// Why a need is not met, for the list of tests.
#[derive(Debug)]
pub enum Unmet {
    /// Installing a package or running on another machine helps. With `CI` set, the test fails.
    Fixable(String),
    /// The release of the distribution lacks it, and no package brings it. The test stays ignored, also with `CI` set.
    Inherent(String),
}

/// The swtpm emulator.
pub const SWTPM: Need = Need::Program("swtpm", "swtpm");
/// libtpms, which the module of that name opens.
pub const LIBTPMS: Need = Need::Library("libtpms.so.0", "libtpms0");
/// tpm2-tools.
pub const TPM2_TOOLS: Need = Need::Program("tpm2", "tpm2-tools");
/// The program of OpenSSL.
pub const OPENSSL: Need = Need::Program("openssl", "openssl");
/// The memory checker.
pub const VALGRIND: Need = Need::Program("valgrind", "valgrind");
/// A C compiler.
pub const CC: Need = Need::Program("cc", "gcc");
/// A C++ compiler.
pub const CXX: Need = Need::Program("c++", "g++");
/// nm and readelf.
pub const BINUTILS: Need = Need::Program("readelf", "binutils");
/// The checker for manual pages.
pub const MANDOC: Need = Need::Program("mandoc", "mandoc");
/// The viewer for manual pages.
pub const MAN: Need = Need::Program("man", "man-db");
/// The converter that is used when manual pages are staged.
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

impl Need {
    /// Returns why the need is not met, or `None` when it is.
    pub fn unmet(self) -> Option<Unmet> {
        let package = match self {
            Need::Program(name, package) => program(name).is_none().then_some(package),
            Need::Library(name, package) => distribution_library(name).is_none().then_some(package),
            Need::File(path, package) => (!Path::new(path).exists()).then_some(package),
            Need::Root => return (!geteuid().is_root()).then(|| Unmet::Fixable("needs root".to_owned())),
            Need::Mount => return (!may_mount()).then(|| Unmet::Fixable("needs the right to mount".to_owned())),
            Need::Custom(check) => return check().err(),
        };
        package.map(|package| Unmet::Fixable(format!("needs package {package}")))
    }
}

impl Unmet {
    /// The text for the list of tests.
    pub fn reason(&self) -> &str {
        match self {
            Unmet::Fixable(reason) | Unmet::Inherent(reason) => reason,
        }
    }
}

/// Whether an unmet need fails its test.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn may_mount() -> bool {
    let mut unshare = Command::new("unshare");
    let script = "d=$(mktemp -d) && mount -t tmpfs none $d; status=$?; umount $d; rmdir $d; exit $status";
    unshare.args(["--mount", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

/// Finds a program in the search path.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Finds a library of the distribution, by the cache of the dynamic linker.
pub fn distribution_library(soname: &str) -> Option<PathBuf> {
    static CACHE: LazyLock<String> = LazyLock::new(|| {
        let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|path| Path::new(path).exists());
        let output = Command::new(ldconfig.unwrap_or("ldconfig")).arg("-p").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    });
    let line = CACHE.lines().find(|line| line.split_whitespace().next() == Some(soname))?;
    line.rsplit_once("=> ").map(|(_, path)| PathBuf::from(path))
}
