// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Property tests with random actions of host and guest.

use super::*;

proptest! {
    /// After any sequence of actions, followed by reads of both sides, each side has read exactly
    /// the bytes of the other side.
    #[test]
    fn streams_arrive_completely(
        steps in prop::collection::vec((0u8..5, 1usize..60_000), 1..60),
        max_payload in 500usize..70_000,
    ) {
        let (mut device, id, mut guest) = connected_guest();
        let (mut written, mut received) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (step, len) in steps {
            match step {
                0 => guest.send(&mut device, len.min(65536)),
                1 => guest.receive(&mut device, len % 40, max_payload),
                2 => guest.read(&mut device, len),
                3 => { read(&mut device, id, &mut received, len); }
                _ => {
                    let bytes: Vec<u8> = test_data(written.len(), len).collect();
                    let count = device.write(id, &bytes).unwrap();
                    written.extend(&bytes[..count]);
                }
            }
            prop_assert!(!guest.is_reset);
        }
        for _ in 0..12 {
            guest.receive(&mut device, 2000, max_payload);
            guest.read(&mut device, usize::MAX);
            while let ReadResult::Bytes(_) = read(&mut device, id, &mut received, 65536) {}
        }
        prop_assert_eq!(received, guest.sent_bytes);
        prop_assert_eq!(guest.read_bytes, written);
    }

    /// After any packets of a guest, the tables are within their limits and the device has a bounded
    /// number of packets.
    #[test]
    fn memory_and_answers_are_bounded(
        packets in prop::collection::vec(
            (0u32..80, 0u16..10, 0usize..3000, 0u32..4, any::<u32>(), any::<u32>(), 0u8..40),
            1..300,
        ),
    ) {
        let mut device = listening_device();
        let mut ids = Vec::new();
        for (guest_port, operation, len, flags, buf_alloc, fwd_cnt, extra) in packets {
            let mut header =
                Header { flags, buf_alloc, fwd_cnt, op: operation, ..data_header(guest_port, len) };
            // An invalid header field, or an action of the host.
            match extra {
                0 => header.src_cid ^= 1,
                1 => header.dst_cid ^= 1,
                2 => header.kind = 2,
                3 => header.len ^= 1,
                4 => header.dst_port ^= 1,
                5 => ids.extend(device.accept(HOST_PORT)),
                6 => if let Some(&id) = ids.first() { let _ = device.write(id, &[0; 5000]); },
                7 => if let Some(id) = ids.pop() { device.close(id) },
                _ => {}
            }
            device.receive(&header, &vec![0; len]);
            prop_assert!(device.connections.len() <= MAX_CONNECTIONS);
            prop_assert!(device.resets.len() <= MAX_RESETS);
            prop_assert!(device
                .connections
                .iter()
                .all(|connection| connection.buffered_bytes() <= 2 * BUFFER_SIZE));
        }
        // All resets; for each connection, response, credit request, credit update and shutdown; and
        // the written data in pieces of 1000 bytes.
        let bound = MAX_RESETS + MAX_CONNECTIONS * 4 + ids.len() * BUFFER_SIZE / 1000;
        let mut count = 0;
        while device.next_packet(1000).is_some() {
            count += 1;
            prop_assert!(count <= bound);
        }
        prop_assert!(!device.has_packet());
    }
}
