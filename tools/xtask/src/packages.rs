// SPDX-License-Identifier: BSD-2-Clause
//! Source and binary packages of the commit that is checked out: for Debian ([`deb`]) and as RPMs ([`rpm`]).

pub(crate) mod deb;
pub(crate) mod relations;
pub(crate) mod rpm;
pub(crate) mod vendor;

mod archive;
mod copyright;
mod system;
