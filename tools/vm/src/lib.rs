// SPDX-License-Identifier: BSD-2-Clause
//! A virtual machine that boots in seconds without KVM, without rights and without an image: Debian's kernel
//! ([`kernel`]), the host's files under an overlay, so that the guest may write anywhere and nothing of it stays
//! ([`initramfs`]), programs that the host does not have ([`packages`]), and a swtpm behind the kernel's driver ([`tpm`]).
//! [`Machine::run`] runs one command in it, and then boots what that has left for it ([`next`]).

pub mod kernel;
pub mod machine;
pub mod packages;

mod busy;
mod initramfs;
mod next;
mod script;
mod tpm;

pub use kernel::Kernel;
pub use machine::Machine;
