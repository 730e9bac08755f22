// SPDX-License-Identifier: BSD-2-Clause
//! The USB descriptors (USB 2.0 specification, section 9.6). Numbers are little-endian.
#![forbid(unsafe_code)]

/// idVendor of the stick.
pub const VENDOR_ID: u16 = 0x365d;
/// idProduct of the stick.
pub const PRODUCT_ID: u16 = 0x1337;

/// bDescriptorType (table 9-5).
const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

/// bmAttributes of an endpoint (table 9-13).
const BULK: u8 = 2;
const INTERRUPT: u8 = 3;

/// The maximum packet size of all endpoints, including endpoint 0, in bytes: that of full speed.
pub(crate) const MAX_PACKET: u8 = 64;
/// bConfigurationValue of the one configuration.
pub(crate) const CONFIGURATION_VALUE: u8 = 1;

const MANUFACTURER: &str = "pi3g";
const PRODUCT: &str = "LetsTrust-TPM2Go";

/// Indices of the strings.
const MANUFACTURER_INDEX: u8 = 1;
const PRODUCT_INDEX: u8 = 2;
const SERIAL_INDEX: u8 = 3;

/// English (United States), the one language.
const LANGUAGE: u16 = 0x0409;

/// Returns the whole descriptor for this wValue, or `None` if the device has none. A full-speed device has no device
/// qualifier.
pub(crate) fn descriptor(value: u16, serial: &str) -> Option<Vec<u8>> {
    let [kind, index] = value.to_be_bytes();
    match (kind, index) {
        (DEVICE, 0) => Some(device()),
        (CONFIGURATION, 0) => Some(configuration()),
        (STRING, 0) => Some(string([LANGUAGE])),
        (STRING, MANUFACTURER_INDEX) => Some(string(MANUFACTURER.encode_utf16())),
        (STRING, PRODUCT_INDEX) => Some(string(PRODUCT.encode_utf16())),
        (STRING, SERIAL_INDEX) => Some(string(serial.encode_utf16())),
        _ => None,
    }
}

/// The device descriptor, 18 bytes.
fn device() -> Vec<u8> {
    let [vendor_low, vendor_high] = VENDOR_ID.to_le_bytes();
    let [product_low, product_high] = PRODUCT_ID.to_le_bytes();
    let usb_2_0 = [0x00, 0x02];
    let class_of_interface = [0, 0, 0];
    let release = [0x00, 0x01];
    let mut bytes = vec![18, DEVICE];
    bytes.extend(usb_2_0);
    bytes.extend(class_of_interface);
    bytes.extend([MAX_PACKET, vendor_low, vendor_high, product_low, product_high]);
    bytes.extend(release);
    bytes.extend([MANUFACTURER_INDEX, PRODUCT_INDEX, SERIAL_INDEX, 1]);
    bytes
}

/// The configuration, its interface and the endpoints: 9 + 9 + 3 * 7 bytes.
fn configuration() -> Vec<u8> {
    // Class: vendor; subclass: the bridge's SPI.
    let interface = [9, INTERFACE, 0, 0, 3, 0xff, 0x02, 0x00, 0];
    let endpoint = |address, kind, interval| [7, ENDPOINT, address, kind, MAX_PACKET, 0, interval];
    let mut bytes = vec![9, CONFIGURATION, 39, 0, 1, CONFIGURATION_VALUE, 0];
    // Bus-powered, 100 mA in units of 2 mA.
    bytes.extend([0x80, 50]);
    bytes.extend(interface);
    bytes.extend(endpoint(0x01, BULK, 0));
    bytes.extend(endpoint(0x82, BULK, 0));
    bytes.extend(endpoint(0x83, INTERRUPT, 10));
    bytes
}

/// A string descriptor. The length byte allows at most 126 UTF-16 units.
fn string(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = vec![0, STRING];
    bytes.extend(units.into_iter().take(126).flat_map(u16::to_le_bytes));
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    if let Some(first) = bytes.first_mut() {
        *first = len;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_fields_of_descriptors_are_right() {
        assert_eq!(device().len(), 18);
        let bytes = configuration();
        assert_eq!(usize::from(u16::from_le_bytes([bytes[2], bytes[3]])), bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            at += usize::from(bytes[at]);
        }
        assert_eq!(at, bytes.len());
        assert_eq!(descriptor(0x0303, "S1").unwrap(), [6, 3, b'S', 0, b'1', 0]);
    }

    #[test]
    fn a_serial_number_of_any_length_fits() {
        let bytes = descriptor(0x0303, &"x".repeat(1000)).unwrap();
        assert_eq!((bytes[0], bytes.len()), (254, 254));
    }
}
