// SPDX-License-Identifier: BSD-2-Clause
//! How a channel delimits its messages. All numbers are big-endian.

use std::io::{self, ErrorKind, Read};

/// Bytes of a TPM command or response header: tag, size, code (TPM 2.0 Library, Part 1, section 18).
const HEADER: usize = 10;
/// The simulators' code for a command to the TPM, `TPM_SEND_COMMAND` in TcpTpmProtocol.h.
const SEND_COMMAND: [u8; 4] = [0, 0, 0, 8];
/// Bytes in front of a command to a simulator: the code, the locality and the command's size.
const COMMAND_PREFIX: usize = 9;

/// How a channel delimits its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A TPM header says the size: swtpm, devices, commands.
    Raw,
    /// The Microsoft and IBM simulators: the size precedes the response, four zero bytes follow it.
    Enveloped,
    /// Every reply is one word of four bytes: the control channels of swtpm and the simulators.
    Word,
}

impl Framing {
    /// Returns a TPM response, or a reply of the control channel, as it is sent.
    pub fn pack(self, response: &[u8]) -> Vec<u8> {
        match self {
            Framing::Raw | Framing::Word => response.to_vec(),
            Framing::Enveloped => [&size(response)[..], response, &[0; 4]].concat(),
        }
    }

    /// Returns the response in what was sent; `None` when that is not exactly one envelope.
    pub fn unpack(self, sent: &[u8]) -> Option<&[u8]> {
        match self {
            Framing::Raw | Framing::Word => Some(sent),
            Framing::Enveloped => {
                let response = sent.get(4..sent.len().checked_sub(4)?)?;
                (self.pack(response) == sent).then_some(response)
            }
        }
    }

    /// Returns a command as a client sends it, at locality 0.
    pub fn pack_command(self, command: &[u8]) -> Vec<u8> {
        match self {
            Framing::Raw | Framing::Word => command.to_vec(),
            Framing::Enveloped => [&SEND_COMMAND[..], &[0], &size(command), command].concat(),
        }
    }

    /// Reads one command; with `Raw`, a response is read in the same way. On a control channel that is whatever one
    /// read returns: clients send a code and its operands in one piece. Fails when the connection ends, or when a
    /// simulator gets a code different from that of a command.
    pub fn read_message(self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        if self == Framing::Word {
            let mut bytes = [0; 64];
            return match stream.read(&mut bytes)? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                count => Ok(bytes[..count].to_vec()),
            };
        }
        if self == Framing::Enveloped {
            let mut prefix = [0; COMMAND_PREFIX];
            stream.read_exact(&mut prefix)?;
            if prefix[..4] != SEND_COMMAND {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        let mut command = vec![0; HEADER];
        stream.read_exact(&mut command)?;
        command.resize(number(&command, 2).unwrap_or_default().max(HEADER), 0);
        stream.read_exact(&mut command[HEADER..])?;
        Ok(command)
    }

    /// Whether these bytes from a server are a whole response, by the size that it says first.
    pub fn is_whole(self, bytes: &[u8]) -> bool {
        let size = match self {
            Framing::Raw => number(bytes, 2),
            Framing::Enveloped => number(bytes, 0).map(|size| size + 8),
            Framing::Word => Some(4),
        };
        size.is_some_and(|size| bytes.len() >= size)
    }

    /// Returns the offsets of the size fields of a packed response, the outermost first.
    pub fn size_offsets(self) -> &'static [usize] {
        match self {
            Framing::Raw => &[2],
            Framing::Enveloped => &[0, 4 + 2],
            Framing::Word => &[],
        }
    }
}

fn size(message: &[u8]) -> [u8; 4] {
    u32::try_from(message.len()).unwrap().to_be_bytes()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}
