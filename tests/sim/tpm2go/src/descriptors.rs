// SPDX-License-Identifier: BSD-2-Clause
//! The descriptors (USB 2.0 specification, section 9.6); numbers are little-endian.
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

/// Largest packet of all endpoints, endpoint 0 included, in bytes: that of full speed.
pub(crate) const MAX_PACKET: u8 = 64;
/// bConfigurationValue of the one configuration.
pub(crate) const CONFIGURATION_VALUE: u8 = 1;

const MANUFACTURER: &str = "pi3g";
const PRODUCT: &str = "LetsTrust-TPM2Go";

/// Indices of strings.
const OF_MANUFACTURER: u8 = 1;
const OF_PRODUCT: u8 = 2;
const OF_SERIAL: u8 = 3;

/// English (United States), the one language.
const LANGUAGE: u16 = 0x0409;

/// The whole descriptor with this wValue, `None` where the device has none: it is not a high-speed device, so it has
/// no device qualifier.
pub(crate) fn descriptor(value: u16, serial: &str) -> Option<Vec<u8>> {
    let [kind, index] = value.to_be_bytes();
    match (kind, index) {
        (DEVICE, 0) => Some(device()),
        (CONFIGURATION, 0) => Some(configuration()),
        (STRING, 0) => Some(string([LANGUAGE])),
        (STRING, OF_MANUFACTURER) => Some(string(MANUFACTURER.encode_utf16())),
        (STRING, OF_PRODUCT) => Some(string(PRODUCT.encode_utf16())),
        (STRING, OF_SERIAL) => Some(string(serial.encode_utf16())),
        _ => None,
    }
}

/// 18 bytes.
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
    bytes.extend([OF_MANUFACTURER, OF_PRODUCT, OF_SERIAL, 1]);
    bytes
}

/// The configuration, its interface and the endpoints of that: 9 + 9 + 3 * 7 bytes.
fn configuration() -> Vec<u8> {
    // Class: vendor; subclass: the bridge's SPI.
    let interface = [9, INTERFACE, 0, 0, 3, 0xff, 0x02, 0x00, 0];
    let endpoint = |address, kind, interval| [7, ENDPOINT, address, kind, MAX_PACKET, 0, interval];
    let mut bytes = vec![9, CONFIGURATION, 39, 0, 1, CONFIGURATION_VALUE, 0];
    // Powered by the bus, 100 mA in units of 2 mA.
    bytes.extend([0x80, 50]);
    bytes.extend(interface);
    bytes.extend(endpoint(0x01, BULK, 0));
    bytes.extend(endpoint(0x82, BULK, 0));
    bytes.extend(endpoint(0x83, INTERRUPT, 10));
    bytes
}

/// At most 126 UTF-16 units, which is what the length byte has room for.
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
    fn lengths_are_those_the_descriptors_say() {
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
