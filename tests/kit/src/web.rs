// SPDX-License-Identifier: BSD-2-Clause
//! Web servers with worker processes whose key is in a TPM, through tpm2-openssl: nginx, Apache and haproxy of the
//! distribution. The master, which is root, opens the TCTI and loads the key; its workers, which are nobody, sign with
//! it. A [`Site`] has the key, a [`Server`] serves it, and a [`Client`] performs handshakes.

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
