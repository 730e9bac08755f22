// SPDX-License-Identifier: BSD-2-Clause
//! Debian's kernel, downloaded and unpacked but not installed. It is kept in a directory named after the package's version and
//! used without checking for updates. Remove the directory to update.

use crate::packages;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The metapackage that depends on the current kernel.
const PACKAGE: &str = "linux-image-amd64";

/// A kernel and its modules, ready to boot.
pub struct Kernel {
    dir: PathBuf,
    release: String,
}

/// Returns why virtual machines cannot run on this system, regardless of installed packages; `None` if they can. If `cache`
/// contains a kernel, it need not be available for download.
pub fn unavailable(cache: &Path) -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the virtual machine runs on x86-64 hosts only".to_owned());
    }
    match Kernel::newest(cache) {
        Ok(None) => not_downloadable(),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Returns why the kernel cannot be downloaded; `None` if it can.
fn not_downloadable() -> Option<String> {
    let about = Command::new("apt-cache").args(["show", PACKAGE]).stderr(Stdio::null()).output();
    match about {
        Err(_) => Some("the kernel of the virtual machine is downloaded by apt-get, which is not installed".to_owned()),
        Ok(output) if !output.status.success() => Some(format!(
            "the kernel of the virtual machine is Debian's {PACKAGE}, which apt-get does not find; on Debian, run apt-get \
             update"
        )),
        Ok(_) => None,
    }
}

impl Kernel {
    /// Returns the newest kernel in `cache`; downloads one if there is none.
    pub fn prepare(cache: &Path) -> Result<Kernel> {
        if let Some(kernel) = Kernel::newest(cache)? {
            return Ok(kernel);
        }
        if let Some(reason) = unavailable(cache) {
            bail!("{reason}");
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
        // If this is interrupted, the leading dot in the directory's name tells it from a kernel.
        let work = tempfile::Builder::new().prefix(".").tempdir_in(cache);
        let work = work.with_context(|| format!("cannot create a directory in {}", cache.display()))?;
        let package = download(work.path())?;
        let name = package.file_stem().context("a package without a file name")?.to_owned();
        let ready = work.path().join("ready");
        unpack(&package, &ready).with_context(|| format!("cannot prepare the kernel of {}", package.display()))?;
        let dir = cache.join(name);
        if let Err(error) = fs::rename(&ready, &dir) {
            // Another process may have been faster.
            ensure!(dir.is_dir(), "cannot create {}: {error}", dir.display());
        }
        Kernel::newest(cache)?.context("another process has removed the kernel")
    }

    /// Returns the kernel that was prepared last, if there is one.
    fn newest(cache: &Path) -> Result<Option<Kernel>> {
        let Ok(entries) = fs::read_dir(cache) else { return Ok(None) };
        let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        dirs.retain(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-image-")));
        let made = |dir: &PathBuf| dir.metadata().and_then(|about| about.modified()).ok();
        let Some(dir) = dirs.into_iter().max_by_key(made) else { return Ok(None) };
        Kernel::at(dir).map(Some)
    }

    fn at(dir: PathBuf) -> Result<Kernel> {
        Ok(Kernel { release: release_in(&dir.join("lib/modules"))?, dir })
    }

    /// Returns the uncompressed kernel, an ELF file with a PVH entry point.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// Returns the directory to mount at /lib/modules in the guest.
    pub fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules")
    }

    /// Returns the files of kernel modules and their dependencies, in load order.
    pub(crate) fn load_order(&self, modules: &[&str]) -> Result<Vec<PathBuf>> {
        let mut modprobe = Command::new(sbin("modprobe"));
        modprobe.arg("--dirname").arg(&self.dir).args(["--set-version", &self.release, "--show-depends", "--all"]);
        let listed = output(modprobe.args(modules))?;
        let listed = String::from_utf8(listed)?;
        let mut files: Vec<PathBuf> = Vec::new();
        for file in
            listed.lines().filter_map(|line| line.strip_prefix("insmod ")).map(|file| PathBuf::from(file.trim()))
        {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }
}

/// Returns the path of a system administration program: /usr/sbin may be missing from the search path.
fn sbin(name: &str) -> PathBuf {
    let dirs = ["/usr/sbin", "/sbin"].map(Path::new);
    dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// Downloads the current kernel's package.
fn download(work: &Path) -> Result<PathBuf> {
    let depends = String::from_utf8(output(Command::new("apt-cache").args(["depends", PACKAGE]))?)?;
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = format!("linux-image-{}", kernel.with_context(|| format!("{PACKAGE} depends on no kernel"))?);
    packages::download(&[&kernel], work)?
        .into_iter()
        .next()
        .with_context(|| format!("apt-get downloaded no file for {kernel}"))
}

/// Unpacks a package into `ready`, which then contains vmlinux and lib/modules.
fn unpack(package: &Path, ready: &Path) -> Result<()> {
    output(Command::new("dpkg").arg("--extract").arg(package).arg(ready))?;
    let release = move_modules(ready)?;
    output(Command::new(sbin("depmod")).arg("--basedir").arg(ready).arg(&release))?;
    let image = ready.join("boot").join(format!("vmlinuz-{release}"));
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    let payload = payload(&bytes).with_context(|| format!("{} is not a bzImage", image.display()))?;
    let kernel = decompressed(payload).with_context(|| format!("cannot decompress {}", image.display()))?;
    let vmlinux = ready.join("vmlinux");
    fs::write(&vmlinux, kernel).with_context(|| format!("cannot write {}", vmlinux.display()))?;
    let boot = ready.join("boot");
    fs::remove_dir_all(&boot).with_context(|| format!("cannot remove {}", boot.display()))
}

/// Moves the modules to lib/modules and makes usr/lib a link to lib, because the release determines in which of the two
/// directories depmod and modprobe look. Returns the kernel's release.
fn move_modules(ready: &Path) -> Result<String> {
    let (lib, usr) = (ready.join("lib"), ready.join("usr"));
    // The package has them in /lib in Debian 12, and in /usr/lib in Debian 13.
    if usr.join("lib/modules").is_dir() {
        fs::create_dir_all(&lib).with_context(|| format!("cannot create {}", lib.display()))?;
        fs::rename(usr.join("lib/modules"), lib.join("modules")).context("cannot move usr/lib/modules")?;
    }
    if usr.exists() {
        fs::remove_dir_all(&usr).with_context(|| format!("cannot remove {}", usr.display()))?;
    }
    fs::create_dir(&usr).with_context(|| format!("cannot create {}", usr.display()))?;
    std::os::unix::fs::symlink("../lib", usr.join("lib")).context("cannot create a link to the modules")?;
    release_in(&lib.join("modules"))
}

/// Returns the kernel release that a directory of modules is for.
fn release_in(modules: &Path) -> Result<String> {
    let entries = fs::read_dir(modules).with_context(|| format!("cannot list {}", modules.display()))?;
    let release = entries.flatten().next().with_context(|| format!("{} is empty", modules.display()))?.file_name();
    Ok(release.to_string_lossy().into_owned())
}

/// Decompresses a kernel or a module. QEMU can boot a compressed kernel, but emulating its decompressor is slow; and the guest's
/// busybox does not support zstd.
pub(crate) fn decompressed(bytes: &[u8]) -> Result<Vec<u8>> {
    const ELF: &[u8] = b"\x7fELF";
    let words: &[&str] = match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => &["xz", "--decompress", "--single-stream", "--stdout"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "--decompress", "--stdout"],
        [0x1f, 0x8b, ..] => &["gzip", "--decompress", "--stdout"],
        bytes if bytes.starts_with(ELF) => return Ok(bytes.to_vec()),
        _ => bail!("unknown compression format"),
    };
    let [program, arguments @ ..] = words else { bail!("no decompressor") };
    let mut compressed = tempfile::tempfile().context("cannot create a temporary file")?;
    compressed.write_all(bytes).and_then(|()| compressed.rewind()).context("cannot write a temporary file")?;
    output(Command::new(program).args(arguments).stdin(compressed))
}

/// Returns the compressed kernel in a bzImage, located by the header of the boot protocol (Linux Documentation/x86/boot.rst): setup_sects at 0x1f1,
/// payload_offset at 0x248, payload_length at 0x24c. The last four bytes of the payload are its
/// uncompressed size.
fn payload(image: &[u8]) -> Option<&[u8]> {
    const SECTOR: usize = 512;
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let start = (usize::from(*image.get(0x1f1)?) + 1) * SECTOR + word(0x248)?;
    let length = word(0x24c)?.checked_sub(4)?;
    image.get(0x202..0x206).filter(|magic| magic == b"HdrS")?;
    image.get(start..start.checked_add(length)?)
}

/// Runs a program and returns its standard output. If it fails, the error contains its standard error.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stderr(Stdio::piped()).output();
    let output = child.with_context(|| format!("cannot run {name}; is its package installed?"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed with {}: {}", output.status, stderr.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_locates_the_payload() {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&7u32.to_le_bytes());
        image[1040..1047].copy_from_slice(b"abcSIZE");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        image[0x24c..0x250].copy_from_slice(&2000u32.to_le_bytes());
        assert_eq!(payload(&image), None);
        assert_eq!(payload(b"MZ"), None);
    }

    #[test]
    fn modules_are_found_in_lib_and_in_usr_lib() {
        for modules in ["lib/modules", "usr/lib/modules"] {
            let ready = tempfile::tempdir().unwrap();
            fs::create_dir_all(ready.path().join(modules).join("1-amd64")).unwrap();
            fs::create_dir_all(ready.path().join("usr/share/doc")).unwrap();
            assert_eq!(move_modules(ready.path()).unwrap(), "1-amd64");
            assert!(ready.path().join("lib/modules/1-amd64").is_dir());
            assert!(ready.path().join("usr/lib/modules/1-amd64").is_dir());
        }
        let empty = tempfile::tempdir().unwrap();
        let error = move_modules(empty.path()).unwrap_err();
        assert!(format!("{error:#}").contains(&format!("cannot list {}/lib/modules", empty.path().display())));
    }

    #[test]
    fn uncompressed_data_is_unchanged_and_an_unknown_format_is_an_error() {
        assert_eq!(decompressed(b"\x7fELF...").unwrap(), b"\x7fELF...");
        assert!(decompressed(b"BZh9").unwrap_err().to_string().contains("unknown compression"));
    }

    #[test]
    fn an_interrupted_download_is_not_a_kernel() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join(".abc/ready/lib/modules/1")).unwrap();
        assert!(Kernel::newest(cache.path()).unwrap().is_none());
        fs::create_dir_all(cache.path().join("linux-image-1/lib/modules/1-amd64")).unwrap();
        assert_eq!(Kernel::newest(cache.path()).unwrap().unwrap().release, "1-amd64");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_prepared_kernel_needs_no_package_lists() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("linux-image-1/lib/modules/1-amd64")).unwrap();
        assert_eq!(unavailable(cache.path()), None);
    }
}
