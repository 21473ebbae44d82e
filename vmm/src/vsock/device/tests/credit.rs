// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of credit in both directions.

use super::*;

/// In Firecracker, a guest that had used up its credit never got a credit update (issue 1751).
#[test]
fn a_large_transfer_from_the_guest_never_stalls() {
    for read_size in [7, 4096, 65536, BUFFER_SIZE] {
        let (mut device, id, mut guest) = connected_guest();
        let mut received = Vec::new();
        let total = 5 * BUFFER_SIZE;
        let mut idle_rounds = 0;
        while received.len() < total {
            let previous_len = received.len();
            guest.send(&mut device, 65536);
            while let ReadResult::Bytes(_) = read(&mut device, id, &mut received, read_size) {}
            guest.receive(&mut device, 100, 4096);
            idle_rounds = if received.len() == previous_len { idle_rounds + 1 } else { 0 };
            assert!(idle_rounds < 3, "stalled after {} bytes", received.len());
        }
        assert_eq!(received, guest.sent_bytes);
    }
}

#[test]
fn credit_updates_are_rarer_than_reads() {
    let (mut device, id, mut guest) = connected_guest();
    let (mut bytes, mut updates) = (Vec::new(), 0);
    while bytes.len() < 10 * BUFFER_SIZE {
        guest.send(&mut device, 4096);
        read(&mut device, id, &mut bytes, 4096);
        while let Some(packet) = device.next_packet(4096) {
            guest.host_fwd_cnt = packet.header.fwd_cnt;
            updates += 1;
        }
    }
    assert_eq!(updates, 40, "one for each CREDIT_UPDATE_THRESHOLD bytes");
}

#[test]
fn a_large_transfer_to_the_guest_never_stalls() {
    let (mut device, id, mut guest) = connected_guest();
    let bytes: Vec<u8> = test_data(0, 10 * BUFFER_SIZE).collect();
    let mut remaining = &bytes[..];
    for _ in 0..10_000 {
        remaining = &remaining[device.write(id, remaining).unwrap()..];
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 10_000);
    }
    assert_eq!(guest.read_bytes, bytes);
}

/// In gramine-tdx, all connections shared one counter (issue 25).
#[test]
fn each_connection_has_its_own_counters() {
    let (mut device, one) = connected_device(1);
    let two = connect(&mut device, 2);
    device.receive(&data_header(1, 100), &[1; 100]);
    device.receive(&data_header(2, 7), &[2; 7]);
    assert_eq!(read_all(&mut device, one).0.len(), 100);
    assert_eq!(read_all(&mut device, two).0.len(), 7);
    for (guest, fwd_cnt) in [(1, 100), (2, 7)] {
        device.receive(&header(guest, op::CREDIT_REQUEST), &[]);
        let update = only_packet(&mut device);
        assert_eq!(
            (update.op, update.dst_port, update.fwd_cnt),
            (op::CREDIT_UPDATE, guest, fwd_cnt)
        );
    }
}

#[test]
fn data_beyond_the_credit_resets_the_connection() {
    let (mut device, id) = connected_device(1);
    device.receive(&data_header(1, BUFFER_SIZE), &vec![1; BUFFER_SIZE]);
    assert!(!device.has_packet());
    device.receive(&data_header(1, 1), &[2]);
    assert_eq!(only_packet(&mut device).op, op::RST);
    let (bytes, end) = read_all(&mut device, id);
    assert_eq!((bytes.len(), end), (BUFFER_SIZE, ReadResult::End));
}

#[test]
fn one_credit_request_is_sent_when_the_credit_is_used_up() {
    let (mut device, id) = connected_device(1);
    device.write(id, &vec![1; GUEST_BUFFER as usize + 1]).unwrap();
    let all = all_packets(&mut device);
    let sent: usize = all.iter().map(|p| p.payload.len()).sum();
    assert_eq!(sent, GUEST_BUFFER as usize);
    assert_eq!(all.last().unwrap().header.op, op::CREDIT_REQUEST);
    assert!(!device.has_packet());
    device.receive(&Header { fwd_cnt: 1, ..header(1, op::CREDIT_UPDATE) }, &[]);
    assert_eq!(only_packet(&mut device).len, 1);
}

#[test]
fn invalid_credit_of_the_guest_does_no_harm() {
    for (buf_alloc, fwd_cnt) in [(0, 0), (10, 9_999), (u32::MAX, u32::MAX), (0, u32::MAX)] {
        let (mut device, id) = connected_device(1);
        device.write(id, &[7; 100]).unwrap();
        device.receive(&Header { buf_alloc, fwd_cnt, ..header(1, op::CREDIT_UPDATE) }, &[]);
        let sent: usize = all_packets(&mut device).iter().map(|p| p.payload.len()).sum();
        assert!(sent <= 100);
    }
}

#[test]
fn transfers_continue_when_the_counters_wrap_around() {
    let (mut device, id, mut guest) = connected_guest();
    // A transfer of 4 GiB would take long, so the counters of both sides start near their maximum.
    let start = u32::MAX - 1000;
    device.connections[0].skip_to(start);
    (guest.sent_count, guest.host_fwd_cnt, guest.fwd_cnt) = (start, start, start);
    guest.read(&mut device, 0);
    device.receive(&guest.header(op::CREDIT_UPDATE, 0), &[]);
    for _ in 0..100 {
        guest.send(&mut device, 10_000);
        let (bytes, _) = read_all(&mut device, id);
        assert_eq!(device.write(id, &bytes), Ok(bytes.len()));
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 100_000);
    }
    assert_eq!(guest.sent_bytes.len(), 1_000_000);
    assert_eq!(guest.read_bytes, guest.sent_bytes);
}

#[test]
fn after_a_short_write_free_space_is_a_change() {
    let (mut device, id, mut guest) = connected_guest();
    device.take_changed();
    assert_eq!(device.write(id, &vec![0; BUFFER_SIZE + 1]), Ok(BUFFER_SIZE));
    assert_eq!(device.write(id, &[0]), Ok(0));
    assert!(!device.take_changed());
    guest.receive(&mut device, 1, 4096);
    assert!(device.take_changed());
    assert_eq!(device.write(id, &[0]), Ok(1));
}
