// SPDX-License-Identifier: BSD-2-Clause
//! Web servers with worker processes whose key is in a TPM, by tpm2-openssl: nginx, Apache and haproxy as the distribution
//! has them. The master, root, opens the TCTI and loads the key; its workers, nobody, sign with it. A [`Site`] is the key,
//! a [`Server`] serves it, a [`Client`] shakes hands with it.

mod client;
mod kind;
mod processes;
mod server;
mod site;

pub use client::{Client, Load, Tally};
pub use kind::{Kind, Mpm};
pub use processes::is_alive;
pub use server::Server;
pub use site::{Libraries, Site};
