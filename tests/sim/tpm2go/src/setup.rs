// SPDX-License-Identifier: BSD-2-Clause
//! The setup stage of a control transfer (USB 2.0 specification, section 9.3): 8 bytes. Numbers are little-endian.
#![forbid(unsafe_code)]

/// The request of a control transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// bmRequestType.
    pub(crate) kind: u8,
    /// bRequest.
    pub(crate) request: u8,
    /// wValue.
    pub(crate) value: u16,
    /// wIndex.
    pub(crate) index: u16,
    /// wLength, bytes.
    pub(crate) length: u16,
}

impl Setup {
    pub(crate) fn new(bytes: [u8; 8]) -> Setup {
        let [kind, request, value_low, value_high, index_low, index_high, length_low, length_high] = bytes;
        Setup {
            kind,
            request,
            value: u16::from_le_bytes([value_low, value_high]),
            index: u16::from_le_bytes([index_low, index_high]),
            length: u16::from_le_bytes([length_low, length_high]),
        }
    }

    /// Whether this is a standard request, and not one of the vendor.
    pub(crate) fn is_standard(self) -> bool {
        self.kind & 0x60 == 0
    }
}
