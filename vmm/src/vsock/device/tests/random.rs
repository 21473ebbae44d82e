// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Properties that hold for random actions of host and guest.

use super::*;

proptest! {
    /// For any sequence of actions of both sides: no byte is lost, reordered or sent without credit, and
    /// once both read, everything arrives.
    #[test]
    fn streams_arrive_completely(
        steps in prop::collection::vec((0u8..5, 1usize..60_000), 1..60),
        size in 500usize..70_000,
    ) {
        let (mut device, id, mut guest) = pair();
        let (mut wrote, mut got) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (step, len) in steps {
            match step {
                0 => guest.send(&mut device, len.min(65536)),
                1 => guest.receive(&mut device, len % 40, size),
                2 => guest.read(&mut device, len),
                3 => { read(&mut device, id, &mut got, len); }
                _ => {
                    let bytes: Vec<u8> = pattern(wrote.len(), len).collect();
                    let count = device.write(id, &bytes).unwrap();
                    wrote.extend(&bytes[..count]);
                }
            }
            prop_assert!(!guest.reset);
        }
        for _ in 0..12 {
            guest.receive(&mut device, 2000, size);
            guest.read(&mut device, usize::MAX);
            while let ReadResult::Bytes(_) = read(&mut device, id, &mut got, 65536) {}
        }
        prop_assert_eq!(got, guest.wrote);
        prop_assert_eq!(guest.read, wrote);
    }

    /// For any packets of a guest: memory and answers stay bounded, and the device runs out of packets.
    #[test]
    fn memory_and_answers_are_bounded(
        packets in prop::collection::vec(
            (0u32..80, 0u16..10, 0usize..3000, 0u32..4, any::<u32>(), any::<u32>(), 0u8..40),
            1..300,
        ),
    ) {
        let mut device = listening();
        let mut ids = Vec::new();
        for (guest, operation, len, flags, buf_alloc, fwd_cnt, odd) in packets {
            let mut header = Header { flags, buf_alloc, fwd_cnt, op: operation, ..data(guest, len) };
            match odd {
                0 => header.src_cid ^= 1,
                1 => header.dst_cid ^= 1,
                2 => header.kind = 2,
                3 => header.len ^= 1,
                4 => header.dst_port ^= 1,
                5 => ids.extend(device.accept(PORT)),
                6 => if let Some(&id) = ids.first() { let _ = device.write(id, &[0; 5000]); },
                7 => if let Some(id) = ids.pop() { device.close(id) },
                _ => {}
            }
            device.receive(&header, &vec![0; len]);
            prop_assert!(device.connections.len() <= MAX_CONNECTIONS);
            prop_assert!(device.resets.len() <= MAX_RESETS);
            prop_assert!(device.connections.iter().all(|c| c.buffered() <= 2 * BUFFER_SIZE));
        }
        // At rest after every buffer is sent in pieces, each connection asks, answers and closes.
        let bound = MAX_RESETS + MAX_CONNECTIONS * 4 + ids.len() * BUFFER_SIZE / 1000;
        let mut count = 0;
        while device.next_packet(1000).is_some() {
            count += 1;
            prop_assert!(count <= bound);
        }
        prop_assert!(!device.has_packet());
    }
}
