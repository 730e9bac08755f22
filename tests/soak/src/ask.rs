// SPDX-License-Identifier: BSD-2-Clause
//! The commands for a TPM, and the check that a response belongs to its command.

use crate::key;
use crate::message::{NO_SESSIONS, NULL, OWNER, Reader, SESSIONS, Writer};
use sha2::{Digest, Sha256};

/// Data bytes of an NV index: a number, and digests that depend on it.
const NV_SIZE: usize = 8 + 7 * 32;

/// Attributes of a passing signing key on NIST P-256: unrestricted, and with noDA like the kept keys, because another
/// context may use its handle before it learns of the change.
const PASSING: u32 = 0x0004_0472;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// TPM2_Hash of these bytes.
    Hash(Vec<u8>),
    /// TPM2_GetRandom of this many bytes.
    Random(u16),
    /// TPM2_GetCapability of one fixed property.
    Property(u32),
    /// TPM2_GetCapability of the transient objects, which a CreatePrimary with a lost response may have left.
    Objects,
    /// TPM2_PCR_Read of one SHA-256 register.
    Pcr(u8),
    /// TPM2_NV_DefineSpace.
    Define(u32),
    /// TPM2_NV_Write of the content for this number.
    Write(u32, u64),
    /// TPM2_NV_Read of the whole index.
    Read(u32),
    /// TPM2_CreatePrimary of an ECC key, with this in its outsideInfo.
    Create([u8; 32]),
    /// TPM2_FlushContext.
    Flush(u32),
    /// TPM2_LoadExternal of the HMAC key with this number.
    Load(u64),
    /// TPM2_HMAC with the key at this handle, which has this number.
    Mac(u32, u64, [u8; 16]),
    /// TPM2_HashSequenceStart.
    Start,
    /// TPM2_SequenceUpdate of the sequence at this handle.
    Feed(u32, Vec<u8>),
    /// TPM2_SequenceComplete, which flushes it.
    Complete(u32),
    /// A command with a handle that is not in use.
    Absent(Absent, u32),
    /// TPM2_Hash of this many bytes, more than a TPM accepts.
    Oversize(usize),
}

/// The commands with a handle that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// TPM2_ReadPublic.
    Object,
    /// TPM2_HMAC.
    Key,
    /// TPM2_FlushContext.
    Flush,
    /// TPM2_NV_ReadPublic.
    Index,
}

/// The kind of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It belongs to the command, and has this content.
    Right(Content),
    /// The TPM refuses with this response code.
    Refusal(u32),
    /// It belongs to another command.
    Wrong,
}

/// The content of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// None: the command was executed.
    Nothing,
    /// Random bytes, or the value of a register.
    Bytes(Vec<u8>),
    /// The value of a property.
    Value(u32),
    /// The number that was written to an NV index.
    Number(u64),
    /// The handles of objects.
    Handles(Vec<u32>),
}

/// Returns the content of an NV index for a number.
fn content(index: u32, number: u64) -> Vec<u8> {
    let digest = |part: u8| {
        Sha256::new()
            .chain_update(index.to_be_bytes())
            .chain_update(number.to_be_bytes())
            .chain_update([part])
            .finalize()
    };
    let mut content = number.to_be_bytes().to_vec();
    (0..7).for_each(|part| content.extend_from_slice(&digest(part)));
    content
}

impl Ask {
    /// Returns the command as bytes.
    pub fn command(&self) -> Vec<u8> {
        match self {
            Ask::Hash(data) => Writer::plain(0x17d).sized(data).u16(0x0b).u32(NULL).done(),
            Ask::Random(count) => Writer::plain(0x17b).u16(*count).done(),
            Ask::Property(property) => Writer::plain(0x17a).u32(6).u32(*property).u32(1).done(),
            Ask::Objects => Writer::plain(0x17a).u32(1).u32(0x8000_0000).u32(16).done(),
            Ask::Pcr(index) => Writer::plain(0x17e).u32(1).u16(0x0b).bytes(&[3]).bytes(&selection(*index)).done(),
            Ask::Define(index) => {
                // The owner and the authorization value may read and write it, without dictionary attack protection.
                let public =
                    Writer::bare().u32(*index).u16(0x0b).u32(0x0206_0006).u16(0).u16(u16::try_from(NV_SIZE).unwrap());
                Writer::with_password(0x12a, &[OWNER]).u16(0).sized(&public.raw()).done()
            }
            Ask::Write(index, number) => {
                Writer::with_password(0x137, &[OWNER, *index]).sized(&content(*index, *number)).u16(0).done()
            }
            Ask::Read(index) => {
                Writer::with_password(0x14e, &[OWNER, *index]).u16(u16::try_from(NV_SIZE).unwrap()).u16(0).done()
            }
            Ask::Create(outside) => {
                let public = Writer::bare()
                    .u16(0x23)
                    .u16(0x0b)
                    .u32(PASSING)
                    .u16(0)
                    .u16(0x10)
                    .u16(0x10)
                    .u16(3)
                    .u16(0x10)
                    .u16(0)
                    .u16(0);
                let create = Writer::with_password(0x131, &[NULL]).sized(&[0; 4]).sized(&public.raw());
                create.sized(outside).u32(0).done()
            }
            Ask::Flush(handle) | Ask::Absent(Absent::Flush, handle) => Writer::plain(0x165).u32(*handle).done(),
            Ask::Load(key) => key::load(*key),
            Ask::Mac(handle, _, data) => mac(*handle, data),
            Ask::Start => Writer::plain(0x186).sized(&[]).u16(0x0b).done(),
            Ask::Feed(handle, data) => Writer::with_password(0x15c, &[*handle]).sized(data).done(),
            Ask::Complete(handle) => Writer::with_password(0x13e, &[*handle]).sized(&[]).u32(NULL).done(),
            Ask::Absent(Absent::Object, handle) => Writer::plain(0x173).u32(*handle).done(),
            Ask::Absent(Absent::Key, handle) => mac(*handle, &[]),
            Ask::Absent(Absent::Index, index) => Writer::plain(0x169).u32(*index).done(),
            Ask::Oversize(size) => Writer::plain(0x17d).sized(&vec![0; *size]).u16(0x0b).u32(NULL).done(),
        }
    }

    /// Returns the kind of a response to this command.
    pub fn judge(&self, response: &[u8]) -> Answer {
        let mut fields = Reader(response);
        let (Some(tag), Some(size), Some(code)) = (fields.u16(), fields.u32(), fields.u32()) else {
            return Answer::Wrong;
        };
        if usize::try_from(size).ok() != Some(response.len()) {
            return Answer::Wrong;
        }
        match code {
            0 => self.read(tag, &mut fields).filter(|_| fields.is_done()).map_or(Answer::Wrong, Answer::Right),
            code if response.len() == 10 && tag == NO_SESSIONS => Answer::Refusal(code),
            _ => Answer::Wrong,
        }
    }

    /// Reads the fields of a success; `None` when they belong to another command.
    fn read(&self, tag: u16, fields: &mut Reader<'_>) -> Option<Content> {
        if tag != if self.has_sessions() { SESSIONS } else { NO_SESSIONS } {
            return None;
        }
        match self {
            Ask::Hash(data) => {
                let digest = fields.sized()?;
                (digest == &Sha256::digest(data)[..] && ticket(fields)?).then_some(Content::Nothing)
            }
            Ask::Random(count) => fields
                .sized()
                .filter(|bytes| bytes.len() == usize::from(*count))
                .map(|bytes| Content::Bytes(bytes.to_vec())),
            Ask::Property(property) => {
                fields.bytes(1)?;
                let head = (fields.u32()?, fields.u32()?, fields.u32()?);
                (head == (6, 1, *property)).then_some(Content::Value(fields.u32()?))
            }
            Ask::Objects => {
                fields.bytes(1)?;
                let (kind, count) = (fields.u32()?, fields.u32()?);
                let handles: Option<Vec<u32>> = (0..count.min(16)).map(|_| fields.u32()).collect();
                let handles = handles.filter(|handles| handles.iter().all(|handle| handle >> 24 == 0x80))?;
                (kind == 1).then_some(Content::Handles(handles))
            }
            Ask::Pcr(index) => {
                fields.u32()?;
                let head = (fields.u32()?, fields.u16()?, fields.bytes(4)?, fields.u32()?);
                let [a, b, c] = selection(*index);
                let value = fields.sized().filter(|value| value.len() == 32)?;
                (head == (1, 0x0b, &[3, a, b, c], 1)).then_some(Content::Bytes(value.to_vec()))
            }
            Ask::Define(_) | Ask::Write(..) | Ask::Feed(..) => {
                let size = fields.u32()?;
                fields.bytes(5)?;
                (size == 0).then_some(Content::Nothing)
            }
            Ask::Read(index) => {
                fields.u32()?;
                let data = fields.sized()?;
                fields.bytes(5)?;
                let number = Reader(data).u64()?;
                (data == content(*index, number)).then_some(Content::Number(number))
            }
            Ask::Create(outside) => {
                let handle = fields.u32()?;
                fields.u32()?;
                let public = fields.sized()?;
                let data = fields.sized()?;
                let key = public
                    .strip_prefix(&[0, 0x23, 0, 0x0b])
                    .is_some_and(|rest| rest.starts_with(&PASSING.to_be_bytes()));
                let named = data.windows(34).any(|window| window == [&[0, 32], &outside[..]].concat());
                fields.0 = &[]; // hash, ticket and name depend on these
                (key && named).then_some(Content::Handles(vec![handle]))
            }
            Ask::Flush(_) => Some(Content::Nothing),
            Ask::Load(key) => {
                let handle = fields.u32()?;
                (fields.sized()? == key::name(*key)).then_some(Content::Handles(vec![handle]))
            }
            Ask::Mac(_, key, data) => {
                fields.u32()?;
                let mac = fields.sized()?;
                fields.bytes(5)?;
                (mac == key::mac(*key, data)).then_some(Content::Nothing)
            }
            Ask::Start => Some(Content::Handles(vec![fields.u32()?])),
            Ask::Complete(_) => {
                fields.u32()?;
                let digest = fields.sized()?.to_vec();
                let empty = ticket(fields)?;
                fields.bytes(5)?;
                empty.then_some(Content::Bytes(digest))
            }
            // The handle is in use after all.
            Ask::Absent(..) => {
                fields.0 = &[];
                Some(Content::Nothing)
            }
            Ask::Oversize(_) => None,
        }
    }

    fn has_sessions(&self) -> bool {
        match self {
            Ask::Define(_) | Ask::Write(..) | Ask::Read(_) | Ask::Create(_) => true,
            Ask::Mac(..) | Ask::Feed(..) | Ask::Complete(_) | Ask::Absent(Absent::Key, _) => true,
            Ask::Hash(_) | Ask::Random(_) | Ask::Property(_) | Ask::Objects | Ask::Pcr(_) | Ask::Flush(_) => false,
            Ask::Load(_) | Ask::Start | Ask::Absent(..) | Ask::Oversize(_) => false,
        }
    }
}

/// Returns TPM2_HMAC with the hash algorithm of the key.
fn mac(handle: u32, data: &[u8]) -> Vec<u8> {
    Writer::with_password(0x155, &[handle]).sized(data).u16(0x0b).done()
}

/// Whether the next field is an empty ticket, of the hierarchy NULL.
fn ticket(fields: &mut Reader<'_>) -> Option<bool> {
    Some((fields.u16()?, fields.u32()?, fields.sized()?) == (0x8024, NULL, &[]))
}

fn selection(index: u8) -> [u8; 3] {
    let mut bytes = [0; 3];
    bytes[usize::from(index / 8)] = 1 << (index % 8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_another_command_is_wrong() {
        let random = Writer::plain(0).sized(&[7; 16]).done();
        assert_eq!(Ask::Random(16).judge(&random), Answer::Right(Content::Bytes(vec![7; 16])));
        for other in [
            Ask::Random(15),
            Ask::Hash(vec![1]),
            Ask::Property(0x100),
            Ask::Objects,
            Ask::Pcr(0),
            Ask::Read(1),
            Ask::Flush(1),
            Ask::Load(1),
            Ask::Mac(1, 1, [1; 16]),
            Ask::Start,
            Ask::Feed(1, vec![1]),
            Ask::Complete(1),
            Ask::Oversize(2000),
        ] {
            assert_eq!(other.judge(&random), Answer::Wrong, "{other:?}");
        }
    }

    #[test]
    fn a_digest_of_other_bytes_is_wrong() {
        let hash = |data: &[u8]| Writer::plain(0).sized(&Sha256::digest(data)).u16(0x8024).u32(NULL).u16(0).done();
        assert_eq!(Ask::Hash(b"a".to_vec()).judge(&hash(b"a")), Answer::Right(Content::Nothing));
        assert_eq!(Ask::Hash(b"a".to_vec()).judge(&hash(b"b")), Answer::Wrong);
    }

    #[test]
    fn bytes_after_a_response_are_wrong() {
        let mut random = Writer::plain(0).sized(&[7; 16]).done();
        random.push(0);
        assert_eq!(Ask::Random(16).judge(&random), Answer::Wrong);
    }

    #[test]
    fn the_response_of_another_key_is_wrong() {
        let mac = |key| {
            let fields = Writer::bare().sized(&key::mac(key, &[1; 16])).bytes(&[0, 0, 1, 0, 0]).raw();
            Writer::bare().u16(SESSIONS).u32(0).u32(0).u32(34).bytes(&fields).done()
        };
        assert_eq!(Ask::Mac(1, 5, [1; 16]).judge(&mac(5)), Answer::Right(Content::Nothing));
        assert_eq!(Ask::Mac(1, 5, [1; 16]).judge(&mac(6)), Answer::Wrong);
    }

    #[test]
    fn a_refusal_is_recognized() {
        assert_eq!(Ask::Flush(1).judge(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0xcb]), Answer::Refusal(0x1cb));
    }
}
