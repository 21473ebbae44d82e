// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flow control: credit in both directions.

use super::*;

/// Firecracker issue 1751: a guest that had used up its credit never got a credit update.
#[test]
fn a_large_transfer_from_the_guest_never_stalls() {
    for piece in [7, 4096, 65536, BUFFER_SIZE] {
        let (mut device, id, mut guest) = pair();
        let mut got = Vec::new();
        let total = 5 * BUFFER_SIZE;
        let mut idle = 0;
        while got.len() < total {
            let before = got.len();
            guest.send(&mut device, 65536);
            // A reader that takes small pieces takes them until there are none.
            while let ReadResult::Bytes(_) = read(&mut device, id, &mut got, piece) {}
            guest.receive(&mut device, 100, 4096);
            idle = if got.len() == before { idle + 1 } else { 0 };
            assert!(idle < 3, "stalled after {} bytes", got.len());
        }
        assert_eq!(got, guest.wrote);
    }
}

/// The guest gets few credit updates, not one for each read.
#[test]
fn credit_updates_are_few() {
    let (mut device, id, mut guest) = pair();
    let (mut bytes, mut updates) = (Vec::new(), 0);
    while bytes.len() < 10 * BUFFER_SIZE {
        guest.send(&mut device, 4096);
        read(&mut device, id, &mut bytes, 4096);
        while let Some(packet) = device.next_packet(4096) {
            guest.host_fwd_cnt = packet.header.fwd_cnt;
            updates += 1;
        }
    }
    assert_eq!(updates, 40);
}

/// Like the first test, towards the guest: its credit updates let the transfer continue.
#[test]
fn a_large_transfer_to_the_guest_never_stalls() {
    let (mut device, id, mut guest) = pair();
    let bytes: Vec<u8> = pattern(0, 10 * BUFFER_SIZE).collect();
    let mut left = &bytes[..];
    for _ in 0..10_000 {
        left = &left[device.write(id, left).unwrap()..];
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 10_000);
    }
    assert_eq!(guest.read, bytes);
}

/// gramine-tdx issue 25: all connections shared one counter.
#[test]
fn each_connection_has_its_own_counters() {
    let (mut device, one) = connected(1);
    let two = connect(&mut device, 2);
    device.receive(&data(1, 100), &[1; 100]);
    device.receive(&data(2, 7), &[2; 7]);
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
    let (mut device, id) = connected(1);
    device.receive(&data(1, BUFFER_SIZE), &vec![1; BUFFER_SIZE]);
    assert!(!device.has_packet());
    device.receive(&data(1, 1), &[2]);
    assert_eq!(only_packet(&mut device).op, op::RST);
    let (bytes, end) = read_all(&mut device, id);
    assert_eq!((bytes.len(), end), (BUFFER_SIZE, ReadResult::End));
}

#[test]
fn one_credit_request_is_sent_to_a_guest_without_room() {
    let (mut device, id) = connected(1);
    device.write(id, &vec![1; GUEST_BUFFER as usize + 1]).unwrap();
    let all = packets(&mut device);
    let sent: usize = all.iter().map(|p| p.payload.len()).sum();
    assert_eq!(sent, GUEST_BUFFER as usize);
    assert_eq!(all.last().unwrap().header.op, op::CREDIT_REQUEST);
    assert!(!device.has_packet());
    device.receive(&Header { fwd_cnt: 1, ..header(1, op::CREDIT_UPDATE) }, &[]);
    assert_eq!(only_packet(&mut device).len, 1);
}

#[test]
fn a_guest_with_invalid_credit_gets_no_data() {
    for (buf_alloc, fwd_cnt) in [(0, 0), (10, 9_999), (u32::MAX, u32::MAX), (0, u32::MAX)] {
        let (mut device, id) = connected(1);
        device.write(id, &[7; 100]).unwrap();
        device.receive(&Header { buf_alloc, fwd_cnt, ..header(1, op::CREDIT_UPDATE) }, &[]);
        let sent: usize = packets(&mut device).iter().map(|p| p.payload.len()).sum();
        assert!(sent <= 100);
    }
}

#[test]
fn counters_wrap() {
    let (mut device, id, mut guest) = pair();
    // A transfer of 4 GiB would take long, so the counters of both sides start near their maximum.
    let near = u32::MAX - 1000;
    device.connections[0].skip_to(near);
    (guest.sent, guest.host_fwd_cnt, guest.fwd_cnt) = (near, near, near);
    guest.read(&mut device, 0);
    device.receive(&guest.header(op::CREDIT_UPDATE, 0), &[]);
    for _ in 0..100 {
        guest.send(&mut device, 10_000);
        let (bytes, _) = read_all(&mut device, id);
        assert_eq!(device.write(id, &bytes), Ok(bytes.len()));
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 100_000);
    }
    assert_eq!(guest.wrote.len(), 1_000_000);
    assert_eq!(guest.read, guest.wrote);
}

#[test]
fn a_short_write_is_followed_by_a_change_when_there_is_room() {
    let (mut device, id, mut guest) = pair();
    device.take_changed();
    assert_eq!(device.write(id, &vec![0; BUFFER_SIZE + 1]), Ok(BUFFER_SIZE));
    assert_eq!(device.write(id, &[0]), Ok(0));
    assert!(!device.take_changed());
    guest.receive(&mut device, 1, 4096);
    assert!(device.take_changed());
    assert_eq!(device.write(id, &[0]), Ok(1));
}
