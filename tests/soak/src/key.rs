// SPDX-License-Identifier: BSD-2-Clause
//! HMAC keys that follow from a number: whoever knows the number knows what the key answers ([`mac`]).

use crate::message::{NULL, Writer};
use sha2::{Digest, Sha256};

/// Bytes of a block of SHA-256, which HMAC fills its key up to (FIPS 198-1).
const BLOCK: usize = 64;

/// TPM_ALG_KEYEDHASH, TPM_ALG_HMAC and TPM_ALG_SHA256.
const KEYED_HASH: u16 = 8;
const HMAC: u16 = 5;
const SHA256: u16 = 0x0b;

/// sign, noDA and userWithAuth (TPM 2.0 Library Part 2, TPMA_OBJECT). A TPM that loses its power too often locks keys that
/// have dictionary attack protection.
const ATTRIBUTES: u32 = 0x0004_0440;

/// The bytes of a key.
fn secret(number: u64) -> [u8; 32] {
    Sha256::digest([&b"key "[..], &number.to_be_bytes()].concat()).into()
}

/// What hides the bytes of all keys in their public parts.
const SEED: [u8; 32] = [7; 32];

/// What TPM2_LoadExternal takes as inPublic. A key is bound to its private part by a digest of a seed and that (Part 1,
/// section 27.5.3.3).
fn public(number: u64) -> Vec<u8> {
    let plain = Writer::bare().u16(KEYED_HASH).u16(SHA256).u32(ATTRIBUTES).sized(&[]).u16(HMAC).u16(SHA256);
    plain.sized(&Sha256::digest([SEED, secret(number)].concat())).raw()
}

/// TPM2_LoadExternal of a key.
pub(crate) fn load(number: u64) -> Vec<u8> {
    let sensitive = Writer::bare().u16(KEYED_HASH).sized(&[]).sized(&SEED).sized(&secret(number)).raw();
    Writer::plain(0x167).sized(&sensitive).sized(&public(number)).u32(NULL).done()
}

/// The name of a key.
pub(crate) fn name(number: u64) -> Vec<u8> {
    [&SHA256.to_be_bytes()[..], &Sha256::digest(public(number))].concat()
}

/// What a key answers to this.
pub(crate) fn mac(number: u64, data: &[u8]) -> Vec<u8> {
    hmac(&secret(number), data)
}

/// HMAC-SHA256 with a key of at most a block.
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
