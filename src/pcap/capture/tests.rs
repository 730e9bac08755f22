// SPDX-License-Identifier: BSD-2-Clause
//! Tests that decode the file with another implementation of pcapng.

use super::*;
use etherparse::{Ipv4Header, SlicedPacket, TransportSlice};
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::{self, File};
use std::path::Path;
use tcti_core::testing::{GET_RANDOM, OK};

/// Returns the messages and comments of all sections, in order.
pub(crate) fn read(path: &Path) -> Vec<(Vec<u8>, Option<String>)> {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
        assert_eq!(packet.interface_id, 0);
        let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ip(&packet.data).unwrap().transport else {
            panic!("no TCP")
        };
        let comment = packet.options.into_iter().find_map(|option| match option {
            EnhancedPacketOption::Comment(text) => Some(text.into_owned()),
            _ => None,
        });
        seen.push((tcp.payload().to_vec(), comment));
    }
    seen
}

impl Capture {
    /// Ends the capture, as after a failed write.
    pub(crate) fn end(&mut self) {
        self.file = None;
    }
}

fn capture(path: &Path) -> Capture {
    Capture::open(Target::Chosen(path.into())).unwrap()
}

#[test]
fn messages_and_comments_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    let mut capture = capture(&path);
    capture.record(Direction::ToTpm, GET_RANDOM, None);
    capture.record(Direction::ToHost, OK, Some("a comment"));
    capture.record(Direction::ToTpm, &[], Some("cancel"));
    assert_eq!(
        read(&path),
        [(GET_RANDOM.to_vec(), None), (OK.to_vec(), Some("a comment".into())), (Vec::new(), Some("cancel".into())),]
    );
}

#[test]
fn a_forked_process_has_its_own_conversation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    let mut capture = capture(&path);
    for _ in 0..2 {
        capture.record(Direction::ToTpm, GET_RANDOM, None);
    }
    capture.after_fork();
    capture.record(Direction::ToTpm, GET_RANDOM, None);
    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut hosts = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            hosts.push(Ipv4Header::from_slice(&packet.data).unwrap().0.source);
        }
    }
    assert!(hosts.len() == 3 && hosts[0] == hosts[1] && hosts[1] != hosts[2], "{hosts:?}");
}

#[test]
fn a_section_is_one_header_and_one_interface() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    capture(&path);
    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let Some(Ok(Block::InterfaceDescription(interface))) = reader.next_block() else { panic!("no interface") };
    assert_eq!((interface.linktype, interface.snaplen), (DataLink::IPV4, 0));
    assert_eq!(interface.options, [InterfaceDescriptionOption::IfTsResol(9)]);
    assert!(reader.next_block().is_none());
}

#[test]
fn several_captures_may_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                for _ in 0..10 {
                    let mut capture = capture(&path);
                    for _ in 0..10 {
                        capture.record(Direction::ToTpm, GET_RANDOM, None);
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let seen = read(&path);
    assert_eq!(seen.len(), 400);
    assert!(seen.iter().all(|(message, comment)| message == GET_RANDOM && comment.is_none()));
}

#[test]
fn a_failed_write_ends_the_capture() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let (file, blocks) = (Some(Outlet::new(writer).unwrap()), Blocks::default());
    let mut capture = Capture { target: Target::Stdout, file, conversation: Conversation::new(), blocks };
    capture.record(Direction::ToTpm, GET_RANDOM, None);
    assert!(capture.file.is_some());
    drop(reader);
    capture.record(Direction::ToHost, OK, None);
    assert!(capture.file.is_none(), "no further write is tried");
    capture.record(Direction::ToHost, OK, None);
}

#[test]
fn a_full_disk_is_an_error_when_the_context_opens() {
    let full = Path::new("/dev/full");
    assert!(fs::metadata(full).is_ok());
    assert_eq!(Capture::open(Target::Chosen(full.into())).err(), Some(tcti_core::ReturnCode::IO_ERROR.into()));
}

#[test]
fn nothing_is_written_to_a_file_that_the_program_opened_under_the_same_number() {
    let dir = tempfile::tempdir().unwrap();
    let (path, theirs) = (dir.path().join("capture"), dir.path().join("theirs"));
    let their_file = File::create(&theirs).unwrap();
    let mut capture = capture(&path);
    for count in 1..4 {
        capture.file.as_ref().unwrap().reuse_for(&their_file);
        capture.record(Direction::ToTpm, GET_RANDOM, None);
        assert_eq!(read(&path).len(), count);
    }
    assert_eq!(fs::read(&theirs).unwrap(), b"");
}

#[test]
fn a_standard_stream_that_is_another_file_by_now_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let their_file = File::create(dir.path().join("theirs")).unwrap();
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let (file, blocks) = (Some(Outlet::new(writer).unwrap()), Blocks::default());
    let mut capture = Capture { target: Target::Stdout, file, conversation: Conversation::new(), blocks };
    capture.file.as_ref().unwrap().reuse_for(&their_file);
    capture.record(Direction::ToTpm, GET_RANDOM, None);
    assert!(capture.file.is_none(), "the capture ends");
}
