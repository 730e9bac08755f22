// SPDX-License-Identifier: BSD-2-Clause
//! A virtual machine that boots in seconds without KVM, privileges or a disk image. It consists of Debian's kernel ([`kernel`]),
//! the host's files under an overlay in memory, so that the guest can write anywhere without changing the host
//! (`initramfs`), packages that are not installed on the host (`packages`), and an swtpm behind the kernel's TPM driver
//! (`swtpm`). [`Machine::run`] runs one command in it. If the command has left an initramfs and a disk, the machine then
//! boots those (`next`).

pub mod kernel;
pub mod machine;
pub mod packages;

mod initramfs;
mod next;
mod own_time;
mod script;
mod swtpm;

pub use kernel::Kernel;
pub use machine::Machine;
