// SPDX-License-Identifier: BSD-2-Clause
//! No other libusb than the system's: its updates are those of the distribution.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // libusb1-sys builds a copy of its own when pkg-config does not find libusb, and says so here.
    if std::env::var_os("DEP_USB_1.0_VENDORED").is_some() {
        println!(
            "cargo::error=pkg-config does not find libusb-1.0. Install libusb's development files: apt-get install \
             libusb-1.0-0-dev pkg-config, or dnf install libusb1-devel pkgconf-pkg-config"
        );
    }
}
