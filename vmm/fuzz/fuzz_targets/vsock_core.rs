// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the device core with any packets of the guest, mixed with any actions of the host. The
//! device must not panic, must have a bounded number of packets for the guest, and must return no
//! other bytes to the host than the guest has sent.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::vsock::BUFFER_SIZE;
use sudbox_vmm::vsock::device::{ConnectionId, Device, MAX_CONNECTIONS, MAX_RESETS, ReadResult};
use sudbox_vmm::vsock::packet::{GUEST_CID, HEADER_LEN, HOST_CID, Header, TYPE_STREAM, op};

const PORTS: [u32; 2] = [1024, 1025];

#[derive(Arbitrary, Debug)]
enum Step {
    /// The guest sends a packet with any bytes as its header.
    SendAnyHeader {
        header: [[u8; 11]; 4],
        payload: u16,
    },
    /// The guest sends a plausible packet: few ports, few operations, and a payload of the length in
    /// the header.
    SendPlausible {
        guest_port: u8,
        is_second_port: bool,
        op: u8,
        flags: u8,
        payload: u16,
        buf_alloc: u32,
        fwd_cnt: u32,
    },
    /// The guest receives at most `count` packets with at most `max_payload` bytes of data each.
    Receive {
        count: u8,
        max_payload: u16,
    },
    Listen {
        is_second_port: bool,
    },
    StopListening {
        is_second_port: bool,
    },
    Accept {
        is_second_port: bool,
    },
    Read {
        connection: u8,
        limit: u16,
    },
    Write {
        connection: u8,
        len: u16,
    },
    Close {
        connection: u8,
    },
}

fn port(is_second_port: bool) -> u32 {
    PORTS[usize::from(is_second_port)]
}

/// Returns the id with this index, modulo the number of ids.
fn select(ids: &[ConnectionId], index: u8) -> Option<ConnectionId> {
    ids.get(usize::from(index) % ids.len().max(1)).copied()
}

/// Takes the next packet from the device and checks the packet. Returns false if there is none.
fn take_packet(device: &mut Device, max_payload: usize) -> bool {
    let Some(packet) = device.next_packet(max_payload) else { return false };
    let header = packet.header;
    assert_eq!(header.len as usize, packet.payload.len());
    assert!(packet.payload.len() <= max_payload);
    assert!(packet.payload.is_empty() || header.op == op::RW);
    assert!(header.op != op::REQUEST, "the host never connects");
    assert!(header.dst_cid == GUEST_CID);
    if header.op != op::RST {
        assert_eq!((header.src_cid, header.kind), (HOST_CID, TYPE_STREAM));
        assert_eq!(header.buf_alloc as usize, BUFFER_SIZE);
    }
    true
}

fuzz_target!(|steps: Vec<Step>| {
    let mut device = Device::new();
    device.listen(PORTS[0]);
    let mut ids = Vec::new();
    // Number of bytes that the guest has sent, bytes that the host has read, and number of bytes
    // that the host has written.
    let (mut sent, mut read, mut written) = (0usize, Vec::<u8>::new(), 0usize);
    for step in steps {
        match step {
            Step::SendAnyHeader { header, payload } => {
                let mut bytes = [0; HEADER_LEN];
                bytes.copy_from_slice(header.as_flattened());
                sent += usize::from(payload);
                device.receive(&Header::decode(&bytes), &vec![1; usize::from(payload)]);
            }
            Step::SendPlausible {
                guest_port,
                is_second_port,
                op,
                flags,
                payload,
                buf_alloc,
                fwd_cnt,
            } => {
                let header = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: u32::from(guest_port % 80),
                    dst_port: port(is_second_port),
                    len: u32::from(payload),
                    kind: TYPE_STREAM,
                    op: u16::from(op % 9),
                    flags: u32::from(flags % 4),
                    buf_alloc,
                    fwd_cnt,
                };
                sent += usize::from(payload);
                device.receive(&header, &vec![1; usize::from(payload)]);
            }
            Step::Receive { count, max_payload } => {
                for _ in 0..count {
                    if !take_packet(&mut device, usize::from(max_payload)) {
                        break;
                    }
                }
            }
            Step::Listen { is_second_port } => device.listen(port(is_second_port)),
            Step::StopListening { is_second_port } => {
                device.stop_listening(port(is_second_port));
            }
            Step::Accept { is_second_port } => ids.extend(device.accept(port(is_second_port))),
            Step::Read { connection, limit } => {
                if let Some(id) = select(&ids, connection) {
                    let mut buffer = vec![0; usize::from(limit)];
                    if let ReadResult::Bytes(count) = device.read(id, &mut buffer) {
                        read.extend(&buffer[..count]);
                    }
                }
            }
            Step::Write { connection, len } => {
                if let Some(id) = select(&ids, connection) {
                    let bytes = vec![2; usize::from(len)];
                    written += device.write(id, &bytes).unwrap_or(0);
                }
            }
            Step::Close { connection } => {
                if let Some(id) = select(&ids, connection) {
                    device.close(id);
                    assert_eq!(device.read(id, &mut [0]), ReadResult::End);
                }
            }
        }
    }
    assert!(read.len() <= sent && read.iter().all(|&byte| byte == 1));
    // All resets; for each connection, response, credit request, credit update and shutdown; and the
    // written data in pieces of 4096 bytes.
    let mut packets_left = MAX_RESETS + 4 * MAX_CONNECTIONS + written / 4096 + MAX_CONNECTIONS;
    while take_packet(&mut device, 4096) {
        packets_left = packets_left.checked_sub(1).expect("the device has packets without end");
    }
    assert!(!device.has_packet());
});
