// SPDX-License-Identifier: BSD-2-Clause
//! HMAC keys that are derived from a number, so that the number is enough to check a response ([`mac`]).

use crate::message::{NULL, Writer};
use sha2::{Digest, Sha256};

/// Bytes of a block of SHA-256, to which HMAC pads its key (FIPS 198-1).
const BLOCK: usize = 64;

/// TPM_ALG_KEYEDHASH, TPM_ALG_HMAC and TPM_ALG_SHA256.
const KEYED_HASH: u16 = 8;
const HMAC: u16 = 5;
const SHA256: u16 = 0x0b;

/// sign, noDA and userWithAuth (TPM 2.0 Library Part 2, TPMA_OBJECT). A TPM that loses its power too often locks keys
/// that have dictionary attack protection.
const ATTRIBUTES: u32 = 0x0004_0440;

/// Returns the bytes of a key.
fn secret(number: u64) -> [u8; 32] {
    Sha256::digest([&b"key "[..], &number.to_be_bytes()].concat()).into()
}

/// The seed value of all keys, which obfuscates them in their public parts.
const SEED: [u8; 32] = [7; 32];

/// Returns inPublic of TPM2_LoadExternal. A digest of the seed value and the key binds it to the private part (Part 1,
/// section 27.5.3.3).
fn public(number: u64) -> Vec<u8> {
    let plain = Writer::bare().u16(KEYED_HASH).u16(SHA256).u32(ATTRIBUTES).sized(&[]).u16(HMAC).u16(SHA256);
    plain.sized(&Sha256::digest([SEED, secret(number)].concat())).raw()
}

/// Returns TPM2_LoadExternal of a key.
pub(crate) fn load(number: u64) -> Vec<u8> {
    let sensitive = Writer::bare().u16(KEYED_HASH).sized(&[]).sized(&SEED).sized(&secret(number)).raw();
    Writer::plain(0x167).sized(&sensitive).sized(&public(number)).u32(NULL).done()
}

/// Returns the name of a key.
pub(crate) fn name(number: u64) -> Vec<u8> {
    [&SHA256.to_be_bytes()[..], &Sha256::digest(public(number))].concat()
}

/// Returns the HMAC of data with a key.
pub(crate) fn mac(number: u64, data: &[u8]) -> Vec<u8> {
    hmac(&secret(number), data)
}

/// Returns the HMAC-SHA256 with a key of at most one block.
pub fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> { (0..BLOCK).map(|at| key.get(at).unwrap_or(&0) ^ with).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(data).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_case_of_rfc_4231() {
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(mac[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
