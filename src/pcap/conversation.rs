// SPDX-License-Identifier: BSD-2-Clause
//! Wraps TPM commands and responses as an IPv4/TCP conversation, [`Conversation`], because Wireshark's dissector for TPM 2.0
//! expects one. The addresses are random, one pair per context and process, so that contexts in one file can be told apart.
#![forbid(unsafe_code)]

use rustix::rand::{GetRandomFlags, getrandom};
use std::iter;

/// The port of the host, chosen freely.
const HOST_PORT: u16 = 50000;
/// The port by which Wireshark recognises a TPM (packet-tpm20.c), which is that of the simulators.
const TPM_PORT: u16 = 2321;
/// The size of a header without options in bytes, for both protocols (RFC 791, RFC 9293).
const HEADER: u16 = 20;
/// The largest TCP segment in bytes: the length of an IPv4 packet, headers included, has 16 bits.
const MAX_SEGMENT: usize = 0xffff - 2 * HEADER as usize;
/// The first three words of an IPv4 header (RFC 791, section 3.1) without length and checksum: version 4, header length five
/// words; don't fragment; time to live 64, protocol TCP.
const IP: [u32; 3] = [0x4500_0000, 0x0000_4000, 0x4006_0000];
/// The protocol number of TCP.
const TCP: u64 = 6;
/// The fourth word of a TCP header (RFC 9293, section 3.1): header length five words, ACK, and the largest window without
/// options.
const ACK: u32 = 0x5010_ffff;

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A command.
    ToTpm,
    /// A response.
    ToHost,
}

/// One side of the conversation.
struct Side {
    address: [u8; 4],
    port: u16,
    /// The sequence number of its next byte.
    next: u32,
}

/// Both sides.
pub(crate) struct Conversation {
    host: Side,
    tpm: Side,
}

impl Conversation {
    /// Chooses addresses in the private network 10.0.0.0/8 (RFC 1918).
    pub(crate) fn new() -> Conversation {
        let side =
            |port, [a, b, c, next @ ..]: [u8; 7]| Side { address: [10, a, b, c], port, next: u32::from_ne_bytes(next) };
        let [host, tpm] = random();
        Conversation { host: side(HOST_PORT, host), tpm: side(TPM_PORT, tpm) }
    }

    /// Returns the IPv4 packets of one message: a single one, unless the message is larger than that of any TPM. An empty
    /// message is also one packet.
    pub(crate) fn packets<'a>(&mut self, direction: Direction, message: &'a [u8]) -> impl Iterator<Item = Packet<'a>> {
        let mut rest = Some(message);
        iter::from_fn(move || {
            let message = rest.take()?;
            let (segment, more) = message.split_at_checked(MAX_SEGMENT).unwrap_or((message, &[]));
            rest = Some(more).filter(|more| !more.is_empty());
            Some(self.packet(direction, segment))
        })
    }

    fn packet<'a>(&mut self, direction: Direction, segment: &'a [u8]) -> Packet<'a> {
        let (from, to) = match direction {
            Direction::ToTpm => (&mut self.host, &self.tpm),
            Direction::ToHost => (&mut self.tpm, &self.host),
        };
        let packet = Packet::new(from, to, segment);
        from.next = u32::try_from(segment.len()).map_or(from.next, |len| from.next.wrapping_add(len));
        packet
    }
}

/// A packet: its two headers, of five words each, and its data.
pub(crate) struct Packet<'a> {
    pub(crate) headers: [[u8; 4]; 10],
    pub(crate) segment: &'a [u8],
}

impl Packet<'_> {
    /// Makes the packet for a segment of at most [`MAX_SEGMENT`] bytes.
    fn new<'a>(from: &Side, to: &Side, segment: &'a [u8]) -> Packet<'a> {
        let len = u16::try_from(segment.len()).unwrap_or_default() + HEADER;
        let (source, destination) = (u32::from_be_bytes(from.address), u32::from_be_bytes(to.address));
        let addresses = u64::from(source) + u64::from(destination);
        let [a, b, c] = IP;
        let a = a | u32::from(len + HEADER);
        let c = c | checksum(addresses + u64::from(a) + u64::from(b) + u64::from(c));
        let ports = u32::from(from.port) << 16 | u32::from(to.port);
        let numbers = u64::from(ports) + u64::from(from.next) + u64::from(to.next) + u64::from(ACK);
        // The pseudo-header (RFC 9293, section 3.1).
        let pseudo_header = addresses + TCP + u64::from(len);
        let last = checksum(pseudo_header + numbers + sum(segment)) << 16;
        let words = [a, b, c, source, destination, ports, from.next, to.next, ACK, last];
        Packet { headers: words.map(u32::to_be_bytes), segment }
    }
}

/// Adds the 32-bit words of at most 64 KiB for the Internet checksum, which folds the carries later (RFC 1071, section 2).
/// The last word is padded with zeros.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    last.iter_mut().zip(words.remainder()).for_each(|(byte, rest)| *byte = *rest);
    let words = words.filter_map(<[u8]>::first_chunk).map(|word| u64::from(u32::from_be_bytes(*word)));
    words.sum::<u64>() + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to the Internet checksum of 16 bits.
fn checksum(mut sum: u64) -> u32 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum ^ 0xffff).unwrap_or_default()
}

/// Returns random numbers for both sides; their quality does not matter.
fn random() -> [[u8; 7]; 2] {
    let mut bytes = [[0; 7]; 2];
    // Without entropy they remain zero, which is harmless.
    let _ = getrandom(bytes.as_flattened_mut(), GetRandomFlags::NONBLOCK);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4Header, SlicedPacket, TcpHeader, TransportSlice, ip_number};
    use tcti_core::testing::{GET_RANDOM, OK};

    /// Returns source and destination port, sequence number, acknowledgement, and payload.
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
        let whole = |packet: Packet<'_>| [packet.headers.as_flattened(), packet.segment].concat();
        conversation.packets(direction, message).map(whole).collect()
    }

    #[test]
    fn sequence_numbers_continue_in_both_directions() {
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
    fn headers_match_those_of_another_encoder() {
        let message: Vec<u8> = (0..=u8::MAX).cycle().take(70_000).collect();
        let mut conversation = Conversation::new();
        for size in [0, 1, 10, 255, 4096, MAX_SEGMENT] {
            let (host, tpm) = (&conversation.host, &conversation.tpm);
            let segment = &message[size % 7..][..size];
            let mut tcp = TcpHeader::new(host.port, tpm.port, host.next, 0xffff);
            tcp.ack = true;
            tcp.acknowledgment_number = tpm.next;
            tcp.checksum = tcp.calc_checksum_ipv4_raw(host.address, tpm.address, segment).unwrap();
            let len = u16::try_from(tcp.header_len() + size).unwrap();
            let mut ip = Ipv4Header::new(len, 64, ip_number::TCP, host.address, tpm.address).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            let expected = [&ip.to_bytes()[..], &tcp.to_bytes(), segment].concat();
            assert_eq!(packets(&mut conversation, Direction::ToTpm, segment), [expected], "{size} bytes");
        }
    }

    #[test]
    fn a_message_larger_than_a_packet_is_split() {
        let message: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let packets = packets(&mut Conversation::new(), Direction::ToHost, &message);
        assert_eq!(packets.len(), 4);
        assert_eq!(packets.iter().flat_map(|packet| tcp(packet).4).collect::<Vec<u8>>(), message);
    }

    #[test]
    fn each_context_has_its_own_addresses() {
        let (one, other) = (Conversation::new(), Conversation::new());
        assert_ne!((one.host.address, one.tpm.address), (other.host.address, other.tpm.address));
    }
}
