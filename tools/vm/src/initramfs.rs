// SPDX-License-Identifier: BSD-2-Clause
//! The guest's initramfs: busybox, the kernel modules for mounting the host's files, and `init.sh`.

use crate::kernel::{self, Kernel, output};
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Modules for 9p over a virtual PCI device, and for the overlay. The TPM driver is built into the kernel.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// From Debian's package busybox-static.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Writes the archive to `file`. `work` is an empty directory. With `has_layer` the archive contains a directory `layer`, which
/// tells `init.sh` to mount the layer. Takes about 50 ms, so the archive is not cached.
pub(crate) fn write(kernel: &Kernel, work: &Path, has_layer: bool, file: &Path) -> Result<()> {
    let layer = has_layer.then_some("layer");
    for dir in ["modules", "dev", "proc", "lower", "upper", "root"].into_iter().chain(layer) {
        fs::create_dir_all(work.join(dir)).with_context(|| format!("cannot create {dir} in {}", work.display()))?;
    }
    fs::copy(BUSYBOX, work.join("busybox")).with_context(|| format!("{BUSYBOX}: is busybox-static installed?"))?;
    fs::write(work.join("init"), include_str!("init.sh"))?;
    fs::set_permissions(work.join("init"), Permissions::from_mode(0o755))?;
    for (number, module) in kernel.load_order(&MODULES)?.iter().enumerate() {
        copy(module, &work.join(format!("modules/{number:02}.ko")))
            .with_context(|| format!("cannot copy {}", module.display()))?;
    }
    let pack = "find . | \"$0\" cpio -o -H newc >\"$1\"";
    output(Command::new("sh").args(["-c", pack, BUSYBOX]).arg(file).current_dir(work))?;
    Ok(())
}

fn copy(module: &Path, to: &Path) -> Result<()> {
    Ok(fs::write(to, kernel::decompressed(&fs::read(module)?)?)?)
}
