// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the device core: any packets of the guest, mixed with any actions of the host. The device must
//! not panic, must run out of packets, must not exceed the guest's credit, and must return all received
//! bytes to the host.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::vsock::BUFFER_SIZE;
use sudbox_vmm::vsock::device::{ConnectionId, Device, MAX_CONNECTIONS, MAX_RESETS, ReadResult};
use sudbox_vmm::vsock::packet::{GUEST_CID, HEADER_LEN, HOST_CID, Header, TYPE_STREAM, op};

const PORTS: [u32; 2] = [1024, 1025];

#[derive(Arbitrary, Debug)]
enum Step {
    /// Any bytes as a packet.
    Raw {
        wire: [[u8; 11]; 4],
        payload: u16,
    },
    /// A plausible packet: few ports, few operations, and a payload of the stated length.
    Meant {
        guest: u8,
        port: bool,
        op: u8,
        flags: u8,
        payload: u16,
        buf_alloc: u32,
        fwd_cnt: u32,
    },
    /// The guest offers this number of buffers of this size.
    Buffers {
        count: u8,
        size: u16,
    },
    Listen {
        port: bool,
    },
    Ignore {
        port: bool,
    },
    Accept {
        port: bool,
    },
    Read {
        which: u8,
        limit: u16,
    },
    Write {
        which: u8,
        len: u16,
    },
    Close {
        which: u8,
    },
}

fn port(second: bool) -> u32 {
    PORTS[usize::from(second)]
}

fn pick(ids: &[ConnectionId], which: u8) -> Option<ConnectionId> {
    ids.get(usize::from(which) % ids.len().max(1)).copied()
}

fn take(device: &mut Device, room: usize) -> bool {
    let Some(packet) = device.next_packet(room) else { return false };
    let header = packet.header;
    assert_eq!(header.len as usize, packet.payload.len());
    assert!(packet.payload.len() <= room);
    assert!(packet.payload.is_empty() || header.op == op::RW);
    assert!(header.op != op::REQUEST, "the host never dials");
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
    let (mut given, mut got) = (0usize, Vec::<u8>::new());
    let mut written = 0usize;
    for step in steps {
        match step {
            Step::Raw { wire, payload } => {
                let mut bytes = [0; HEADER_LEN];
                bytes.copy_from_slice(wire.as_flattened());
                given += usize::from(payload);
                device.receive(&Header::decode(&bytes), &vec![1; usize::from(payload)]);
            }
            Step::Meant { guest, port: second, op, flags, payload, buf_alloc, fwd_cnt } => {
                let header = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: u32::from(guest % 80),
                    dst_port: port(second),
                    len: u32::from(payload),
                    kind: TYPE_STREAM,
                    op: u16::from(op % 9),
                    flags: u32::from(flags % 4),
                    buf_alloc,
                    fwd_cnt,
                };
                given += usize::from(payload);
                device.receive(&header, &vec![1; usize::from(payload)]);
            }
            Step::Buffers { count, size } => {
                for _ in 0..count {
                    if !take(&mut device, usize::from(size)) {
                        break;
                    }
                }
            }
            Step::Listen { port: second } => device.listen(port(second)),
            Step::Ignore { port: second } => device.stop_listening(port(second)),
            Step::Accept { port: second } => ids.extend(device.accept(port(second))),
            Step::Read { which, limit } => {
                if let Some(id) = pick(&ids, which) {
                    let mut buffer = vec![0; usize::from(limit)];
                    if let ReadResult::Bytes(count) = device.read(id, &mut buffer) {
                        got.extend(&buffer[..count]);
                    }
                }
            }
            Step::Write { which, len } => {
                if let Some(id) = pick(&ids, which) {
                    let bytes = vec![2; usize::from(len)];
                    written += device.write(id, &bytes).unwrap_or(0);
                }
            }
            Step::Close { which } => {
                if let Some(id) = pick(&ids, which) {
                    device.close(id);
                    assert_eq!(device.read(id, &mut [0]), ReadResult::End);
                }
            }
        }
    }
    assert!(got.len() <= given && got.iter().all(|&b| b == 1));
    // It comes to rest: each connection answers, asks, updates and closes at most once more.
    let mut left = MAX_RESETS + 4 * MAX_CONNECTIONS + written / 4096 + MAX_CONNECTIONS;
    while take(&mut device, 4096) {
        left = left.checked_sub(1).expect("the device does not come to rest");
    }
    assert!(!device.has_packet());
});
