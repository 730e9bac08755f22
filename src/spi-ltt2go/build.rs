// SPDX-License-Identifier: BSD-2-Clause
//! Makes sure that the libusb of the system is used, which the distribution updates.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // libusb1-sys builds its own copy when pkg-config does not find libusb, and then sets this variable.
    if std::env::var_os("DEP_USB_1.0_VENDORED").is_some() {
        println!(
            "cargo::error=pkg-config does not find libusb-1.0. Install libusb's development files: apt-get install \
             libusb-1.0-0-dev pkg-config, or dnf install libusb1-devel pkgconf-pkg-config"
        );
    }
}
