// SPDX-License-Identifier: BSD-2-Clause
//! A simulated LetsTrust-TPM2Go for tests: a full-speed USB device with a Cypress CY7C65211A bridge and, on its SPI
//! bus, the TPM of `sim_tis`. [`Stick`] is the device as a host controller sees it, without I/O, threads or a clock;
//! [`Faults`] sets what goes wrong.
#![forbid(unsafe_code)]

mod bridge;
mod counters;
mod descriptors;
mod faults;
mod setup;
mod stick;
pub mod usbip;

pub use counters::Counters;
pub use descriptors::{PRODUCT_ID, VENDOR_ID};
pub use faults::{Faults, When};
pub use stick::{ENDPOINT_IN, ENDPOINT_OUT, Reply, Stick};
