// SPDX-License-Identifier: BSD-2-Clause
//! Counts the transfers of the driver.

/// Transfers that ended, with data or with a stall. Pending ones do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Control transfers to the bridge, each of which announces a length.
    pub control: u64,
    /// Bulk OUT transfers.
    pub bulk_out: u64,
    /// Bulk IN transfers.
    pub bulk_in: u64,
    /// SPI transactions.
    pub spi: u64,
    /// Bytes of SPI transactions, in one direction, headers included.
    pub bytes: u64,
    /// Standard control transfers: enumeration, strings, CLEAR_FEATURE. Most come from the kernel.
    pub standard: u64,
}

impl Counters {
    /// Returns the number of transfers of the driver: control, bulk OUT and bulk IN.
    pub fn total(&self) -> u64 {
        self.control + self.bulk_out + self.bulk_in
    }
}
