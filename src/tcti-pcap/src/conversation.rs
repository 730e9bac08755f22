// SPDX-License-Identifier: BSD-2-Clause
//! TPM commands and responses as an IPv4/TCP conversation, because that is what Wireshark's dissector of TPM 2.0 takes.
//! The addresses are random, one pair per context and process, so that those of one file are told apart.
#![forbid(unsafe_code)]

use etherparse::{Ipv4Header, TcpHeader, ip_number};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Any port; that of the host.
const HOST_PORT: u16 = 50000;
/// The port by which Wireshark knows a TPM (packet-tpm20.c), which is that of the simulators.
const TPM_PORT: u16 = 2321;
/// Bytes of a TCP segment at most: the length of an IPv4 packet, headers included, has 16 bits.
const MAX_SEGMENT: usize = 0xffff - 20 - 20;
/// The largest window there is without options.
const WINDOW: u16 = 0xffff;
const TTL: u8 = 64;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A command.
    ToTpm,
    /// A response.
    ToHost,
}

/// One end of the conversation.
struct End {
    address: [u8; 4],
    port: u16,
    /// Sequence number of the next byte it sends.
    next: u32,
}

/// Both ends.
pub(crate) struct Conversation {
    host: End,
    tpm: End,
}

impl Conversation {
    /// With addresses of the network 10.0.0.0/8, which is for private use (RFC 1918).
    pub(crate) fn new() -> Conversation {
        let end =
            |port, [a, b, c, next @ ..]: [u8; 7]| End { address: [10, a, b, c], port, next: u32::from_ne_bytes(next) };
        let [host, tpm] = random();
        Conversation { host: end(HOST_PORT, host), tpm: end(TPM_PORT, tpm) }
    }

    /// The IPv4 packets of one message: one, unless it is larger than those of any TPM. An empty message is one
    /// packet, too.
    pub(crate) fn packets(
        &mut self,
        direction: Direction,
        message: &[u8],
    ) -> impl Iterator<Item = io::Result<Vec<u8>>> {
        let segments = message.chunks(MAX_SEGMENT).chain(message.is_empty().then_some(message));
        segments.map(move |segment| self.packet(direction, segment))
    }

    fn packet(&mut self, direction: Direction, segment: &[u8]) -> io::Result<Vec<u8>> {
        let (from, to) = match direction {
            Direction::ToTpm => (&mut self.host, &self.tpm),
            Direction::ToHost => (&mut self.tpm, &self.host),
        };
        let mut tcp = TcpHeader::new(from.port, to.port, from.next, WINDOW);
        tcp.ack = true;
        tcp.acknowledgment_number = to.next;
        tcp.checksum = tcp.calc_checksum_ipv4_raw(from.address, to.address, segment).map_err(|_| too_long())?;
        let len = u16::try_from(tcp.header_len() + segment.len()).map_err(|_| too_long())?;
        let ip = Ipv4Header::new(len, TTL, ip_number::TCP, from.address, to.address);
        let mut ip = ip.map_err(|_| too_long())?;
        ip.header_checksum = ip.calc_header_checksum();
        let mut packet = Vec::new();
        packet.try_reserve_exact(ip.header_len() + usize::from(len))?;
        for part in [&ip.to_bytes(), &tcp.to_bytes(), segment] {
            packet.extend_from_slice(part);
        }
        from.next = u32::try_from(segment.len()).map_or(from.next, |len| from.next.wrapping_add(len));
        Ok(packet)
    }
}

/// No segment is: see [`MAX_SEGMENT`]. The crate's own errors can print every protocol there is, which takes more code
/// than making the packets.
fn too_long() -> io::Error {
    io::Error::other("a segment is longer than an IPv4 packet")
}

/// Numbers for both ends that differ from context to context; nothing depends on their quality.
fn random() -> [[u8; 7]; 2] {
    let mut bytes = [[0; 7]; 2];
    // A kernel without entropy leaves the zeros, which do no harm.
    let _ = getrandom(bytes.as_flattened_mut(), GetRandomFlags::NONBLOCK);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use tcti_core::testing::{GET_RANDOM, OK};

    /// Source and destination port, sequence number, acknowledgement, payload.
    fn tcp(packet: &[u8]) -> (u16, u16, u32, u32, Vec<u8>) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        (
            tcp.source_port(),
            tcp.destination_port(),
            tcp.sequence_number(),
            tcp.acknowledgment_number(),
            tcp.payload().to_vec(),
        )
    }

    fn packets(conversation: &mut Conversation, direction: Direction, message: &[u8]) -> Vec<Vec<u8>> {
        conversation.packets(direction, message).collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn numbers_run_on_in_both_directions() {
        let mut conversation = Conversation::new();
        let (host, tpm) = (conversation.host.next, conversation.tpm.next);
        let command = packets(&mut conversation, Direction::ToTpm, GET_RANDOM);
        assert_eq!(tcp(&command[0]), (HOST_PORT, TPM_PORT, host, tpm, GET_RANDOM.to_vec()));
        let response = packets(&mut conversation, Direction::ToHost, OK);
        let host = host.wrapping_add(GET_RANDOM.len() as u32);
        assert_eq!(tcp(&response[0]), (TPM_PORT, HOST_PORT, tpm, host, OK.to_vec()));
        let note = packets(&mut conversation, Direction::ToTpm, &[]);
        assert_eq!(tcp(&note[0]), (HOST_PORT, TPM_PORT, host, tpm.wrapping_add(OK.len() as u32), vec![]));
    }

    #[test]
    fn a_message_that_no_packet_holds_becomes_several() {
        let message: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let packets = packets(&mut Conversation::new(), Direction::ToHost, &message);
        assert_eq!(packets.len(), 4);
        assert_eq!(packets.iter().flat_map(|packet| tcp(packet).4).collect::<Vec<u8>>(), message);
    }

    #[test]
    fn contexts_have_addresses_of_their_own() {
        let (one, other) = (Conversation::new(), Conversation::new());
        assert_ne!((one.host.address, one.tpm.address), (other.host.address, other.tpm.address));
    }
}
