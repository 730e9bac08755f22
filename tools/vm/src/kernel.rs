// SPDX-License-Identifier: BSD-2-Clause
//! Debian's own kernel, downloaded and unpacked but never installed. What is prepared stays in a directory named after
//! the package's version, and is taken without asking for a newer one; removing the directory asks.

use crate::packages;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that depends on the kernel of the day.
const PACKAGE: &str = "linux-image-amd64";

/// A kernel and its modules, ready to boot.
pub struct Kernel {
    dir: PathBuf,
    release: String,
}

/// Why there can be no virtual machine here, whatever is installed; `None` when there can. A kernel that is in `cache`
/// does not have to be downloaded.
pub fn unavailable(cache: &Path) -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the virtual machine runs the programs of an x86-64 host, which this is not".to_owned());
    }
    match Kernel::newest(cache) {
        Ok(None) => not_to_be_had(),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Why the kernel cannot be downloaded; `None` when it can.
fn not_to_be_had() -> Option<String> {
    let about = Command::new("apt-cache").args(["show", PACKAGE]).stderr(Stdio::null()).output();
    match about {
        Err(_) => Some("the kernel of the virtual machine comes by apt-get, which is not here".to_owned()),
        Ok(output) if !output.status.success() => Some(format!(
            "the kernel of the virtual machine is Debian's {PACKAGE}, which apt-get does not know here; on Debian, run \
             apt-get update"
        )),
        Ok(_) => None,
    }
}

impl Kernel {
    /// The kernel in `cache`; downloads it when there is none.
    pub fn prepare(cache: &Path) -> Result<Kernel> {
        if let Some(kernel) = Kernel::newest(cache)? {
            return Ok(kernel);
        }
        if let Some(reason) = unavailable(cache) {
            bail!("{reason}");
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Whoever is interrupted leaves a directory that nobody takes for a kernel.
        let work = tempfile::Builder::new().prefix(".").tempdir_in(cache);
        let work = work.with_context(|| format!("cannot make a directory in {}", cache.display()))?;
        let package = download(work.path())?;
        let name = package.file_stem().context("a package without a name")?.to_owned();
        let ready = work.path().join("ready");
        unpack(&package, &ready).with_context(|| format!("cannot prepare the kernel of {}", package.display()))?;
        let place = cache.join(name);
        if let Err(error) = fs::rename(&ready, &place) {
            // Another process was faster.
            ensure!(place.is_dir(), "cannot make {}: {error}", place.display());
        }
        Kernel::newest(cache)?.context("the kernel that was prepared is gone")
    }

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

    /// The uncompressed kernel, an ELF file with an entry for PVH.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The directory that a guest wants at /lib/modules.
    pub fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules")
    }

    /// The files of modules and of all that these need, in the order in which they have to be loaded.
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

/// Programs of the administrator, which are not in everybody's search path.
fn sbin(name: &str) -> PathBuf {
    let dirs = ["/usr/sbin", "/sbin"].map(Path::new);
    dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

fn download(work: &Path) -> Result<PathBuf> {
    let depends = String::from_utf8(output(Command::new("apt-cache").args(["depends", PACKAGE]))?)?;
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = format!("linux-image-{}", kernel.with_context(|| format!("{PACKAGE} depends on no kernel"))?);
    packages::download(&[&kernel], work)?
        .into_iter()
        .next()
        .with_context(|| format!("apt-get left no file of {kernel}"))
}

/// Makes `ready` of a package: vmlinux and lib/modules.
fn unpack(package: &Path, ready: &Path) -> Result<()> {
    output(Command::new("dpkg").arg("--extract").arg(package).arg(ready))?;
    let release = settle_modules(ready)?;
    output(Command::new(sbin("depmod")).arg("--basedir").arg(ready).arg(&release))?;
    let image = ready.join("boot").join(format!("vmlinuz-{release}"));
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    let payload = payload(&bytes).with_context(|| format!("{} is no bzImage", image.display()))?;
    let kernel = decompressed(payload).with_context(|| format!("cannot decompress {}", image.display()))?;
    let vmlinux = ready.join("vmlinux");
    fs::write(&vmlinux, kernel).with_context(|| format!("cannot write {}", vmlinux.display()))?;
    let boot = ready.join("boot");
    fs::remove_dir_all(&boot).with_context(|| format!("cannot remove {}", boot.display()))
}

/// Brings the modules to lib/modules, wherever the package has them, and leaves of usr only a way to them: which of the two
/// places depmod and modprobe look at is up to the release. Gives that of the kernel.
fn settle_modules(ready: &Path) -> Result<String> {
    let (lib, usr) = (ready.join("lib"), ready.join("usr"));
    // Debian 12 has them in /lib, Debian 13 in /usr/lib.
    if usr.join("lib/modules").is_dir() {
        fs::create_dir_all(&lib).with_context(|| format!("cannot make {}", lib.display()))?;
        fs::rename(usr.join("lib/modules"), lib.join("modules")).context("cannot move usr/lib/modules")?;
    }
    if usr.exists() {
        fs::remove_dir_all(&usr).with_context(|| format!("cannot remove {}", usr.display()))?;
    }
    fs::create_dir(&usr).with_context(|| format!("cannot make {}", usr.display()))?;
    std::os::unix::fs::symlink("../lib", usr.join("lib")).context("cannot make a link to the modules")?;
    release_in(&lib.join("modules"))
}

/// The release that a directory of modules is for.
fn release_in(modules: &Path) -> Result<String> {
    let entries = fs::read_dir(modules).with_context(|| format!("cannot list {}", modules.display()))?;
    let release = entries.flatten().next().with_context(|| format!("{} is empty", modules.display()))?.file_name();
    Ok(release.to_string_lossy().into_owned())
}

/// What is in a kernel or a module, whichever way it is compressed, if it is. QEMU would boot a bzImage, but decompress it
/// instruction by instruction; and the guest's busybox does not know zstd.
pub(crate) fn decompressed(bytes: &[u8]) -> Result<Vec<u8>> {
    const ELF: &[u8] = b"\x7fELF";
    let words: &[&str] = match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => &["xz", "--decompress", "--single-stream", "--stdout"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "--decompress", "--stdout"],
        [0x1f, 0x8b, ..] => &["gzip", "--decompress", "--stdout"],
        bytes if bytes.starts_with(ELF) => return Ok(bytes.to_vec()),
        _ => bail!("it is compressed in a way that is not known"),
    };
    let [program, arguments @ ..] = words else { bail!("no program") };
    let mut compressed = tempfile::tempfile().context("cannot make a temporary file")?;
    compressed.write_all(bytes).and_then(|()| compressed.rewind()).context("cannot write a temporary file")?;
    output(Command::new(program).args(arguments).stdin(compressed))
}

/// The compressed kernel, by the header of the boot protocol (Linux Documentation/x86/boot.rst): setup_sects at 0x1f1,
/// payload_offset at 0x248, payload_length at 0x24c. The payload's last four bytes are its uncompressed size.
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

/// What a program printed; its complaint when it failed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stderr(Stdio::piped()).output();
    let output = child.with_context(|| format!("cannot run {name}; is its package installed?"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed with {}: {}", output.status, complaint.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_found_by_the_header() {
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
        for place in ["lib/modules", "usr/lib/modules"] {
            let ready = tempfile::tempdir().unwrap();
            fs::create_dir_all(ready.path().join(place).join("1-amd64")).unwrap();
            fs::create_dir_all(ready.path().join("usr/share/doc")).unwrap();
            assert_eq!(settle_modules(ready.path()).unwrap(), "1-amd64");
            assert!(ready.path().join("lib/modules/1-amd64").is_dir());
            assert!(ready.path().join("usr/lib/modules/1-amd64").is_dir());
        }
        let empty = tempfile::tempdir().unwrap();
        let error = settle_modules(empty.path()).unwrap_err();
        assert!(format!("{error:#}").contains(&format!("cannot list {}/lib/modules", empty.path().display())));
    }

    #[test]
    fn what_is_not_compressed_stays_and_what_is_unknown_is_said_to_be() {
        assert_eq!(decompressed(b"\x7fELF...").unwrap(), b"\x7fELF...");
        assert!(decompressed(b"BZh9").unwrap_err().to_string().contains("not known"));
    }

    #[test]
    fn a_preparation_that_was_interrupted_is_no_kernel() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join(".abc/ready/lib/modules/1")).unwrap();
        assert!(Kernel::newest(cache.path()).unwrap().is_none());
        fs::create_dir_all(cache.path().join("linux-image-1/lib/modules/1-amd64")).unwrap();
        assert_eq!(Kernel::newest(cache.path()).unwrap().unwrap().release, "1-amd64");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_kernel_that_is_there_needs_no_list_of_packages() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("linux-image-1/lib/modules/1-amd64")).unwrap();
        assert_eq!(unavailable(cache.path()), None);
    }
}
