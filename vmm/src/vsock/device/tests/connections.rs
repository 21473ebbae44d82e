// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opening, closing and resetting connections.

use super::*;

/// In Firecracker, the device stayed busy after the guest had closed a connection (pull request
/// 6077).
#[test]
fn a_closed_connection_causes_no_more_packets_and_changes() {
    for closing_op in [op::SHUTDOWN, op::RST] {
        let (mut device, id) = connected_device(1);
        device.receive(&data_header(1, 3), b"bye");
        device.receive(&Header { flags: SHUTDOWN_BOTH, ..header(1, closing_op) }, &[]);
        all_packets(&mut device);
        assert_eq!(read_all(&mut device, id), (b"bye".to_vec(), ReadResult::End));
        assert!(device.take_changed());
        for _ in 0..3 {
            assert_eq!(read_all(&mut device, id), (Vec::new(), ReadResult::End));
            assert_eq!(device.write(id, b"x"), Err(GuestClosed));
            assert!(!device.has_packet() && !device.take_changed());
        }
        device.close(id);
        assert!(!device.has_packet() && device.connections.is_empty());
    }
}

#[test]
fn a_request_is_answered_with_addresses_and_credit() {
    let mut device = listening_device();
    device.receive(&header(5, op::REQUEST), &[]);
    assert!(device.take_changed());
    let response = only_packet(&mut device);
    assert_eq!((response.op, response.kind, response.len), (op::RESPONSE, TYPE_STREAM, 0));
    assert_eq!((response.src_cid, response.src_port), (HOST_CID, HOST_PORT));
    assert_eq!((response.dst_cid, response.dst_port), (GUEST_CID, 5));
    assert_eq!((response.buf_alloc as usize, response.fwd_cnt), (BUFFER_SIZE, 0));
    assert!(device.accept(HOST_PORT).is_some());
    assert_eq!(device.accept(HOST_PORT), None);
}

#[test]
fn a_request_to_a_closed_port_is_reset() {
    let mut device = listening_device();
    device.receive(&Header { dst_port: 7, ..header(1, op::REQUEST) }, &[]);
    let reset = only_packet(&mut device);
    assert_eq!((reset.op, reset.src_port, reset.dst_port), (op::RST, 7, 1));
    assert!(!device.take_changed());
}

#[test]
fn unaccepted_connections_are_reset_when_the_port_is_closed() {
    let (mut device, id) = connected_device(1);
    device.receive(&header(2, op::REQUEST), &[]);
    device.stop_listening(HOST_PORT);
    let reset = only_packet(&mut device);
    assert_eq!((reset.op, reset.dst_port), (op::RST, 2));
    device.receive(&header(3, op::REQUEST), &[]);
    assert_eq!(only_packet(&mut device).op, op::RST);
    assert_eq!(device.accept(HOST_PORT), None);
    assert_eq!(device.write(id, b"still there"), Ok(11));
}

#[test]
fn packets_without_a_connection_are_answered_by_a_reset() {
    for operation in
        [0, op::RESPONSE, op::SHUTDOWN, op::RW, op::CREDIT_UPDATE, op::CREDIT_REQUEST, 99]
    {
        let mut device = listening_device();
        device.receive(&header(1, operation), &[]);
        assert_eq!(only_packet(&mut device).op, op::RST, "operation {operation}");
    }
    let mut device = listening_device();
    device.receive(&header(1, op::RST), &[]);
    assert!(!device.has_packet());
}

#[test]
fn wrong_types_and_destinations_are_reset_and_forged_sources_dropped() {
    let mut device = listening_device();
    device.receive(&Header { kind: 2, ..header(1, op::REQUEST) }, &[]);
    let reset = only_packet(&mut device);
    assert_eq!((reset.op, reset.kind), (op::RST, 2));
    device.receive(&Header { dst_cid: 9, ..header(1, op::REQUEST) }, &[]);
    let reset = only_packet(&mut device);
    assert_eq!((reset.op, reset.src_cid), (op::RST, 9));
    for src_cid in [0, 1, 2, 4, GUEST_CID | 1 << 32, u64::MAX] {
        device.receive(&Header { src_cid, ..header(1, op::REQUEST) }, &[]);
        assert!(!device.has_packet());
    }
    assert_eq!(device.accept(HOST_PORT), None);
}

#[test]
fn invalid_packets_reset_the_connection() {
    for invalid in [
        header(1, op::REQUEST),
        header(1, op::RESPONSE),
        header(1, 0),
        header(1, 8),
        header(1, u16::MAX),
        data_header(1, 5),
    ] {
        let (mut device, id) = connected_device(1);
        device.receive(&data_header(1, 2), b"ok");
        device.receive(&invalid, &[]);
        assert_eq!(only_packet(&mut device).op, op::RST, "{invalid:?}");
        assert_eq!(read_all(&mut device, id), (b"ok".to_vec(), ReadResult::End));
        // The guest can connect with the same ports again.
        device.receive(&header(1, op::REQUEST), &[]);
        assert_eq!(only_packet(&mut device).op, op::RESPONSE);
    }
}

#[test]
fn a_reset_of_the_guest_is_not_answered() {
    let (mut device, id) = connected_device(1);
    device.receive(&header(1, op::RST), &[]);
    assert!(!device.has_packet());
    assert_eq!(read_all(&mut device, id).1, ReadResult::End);
}

#[test]
fn a_shutdown_closes_only_its_half() {
    let (mut device, id) = connected_device(1);
    device.receive(&data_header(1, 4), b"last");
    device.receive(&Header { flags: SHUTDOWN_SEND, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(read_all(&mut device, id), (b"last".to_vec(), ReadResult::End));
    assert_eq!(device.write(id, b"answer"), Ok(6));
    assert_eq!(device.next_packet(99).unwrap().payload, b"answer");
    device.receive(&data_header(1, 1), b"!");
    assert_eq!(only_packet(&mut device).op, op::RST, "data after SHUTDOWN_SEND");

    let (mut device, id) = connected_device(1);
    assert_eq!(device.write(id, b"never read"), Ok(10));
    device.receive(&Header { flags: SHUTDOWN_RECEIVE, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(device.write(id, b"x"), Err(GuestClosed));
    assert!(!device.has_packet());
    device.receive(&data_header(1, 4), b"more");
    assert_eq!(read_all(&mut device, id), (b"more".to_vec(), ReadResult::Empty));
    device.receive(&Header { flags: SHUTDOWN_SEND, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(only_packet(&mut device).op, op::RST, "both halves have ended");
}

#[test]
fn a_closed_connection_sends_its_data_then_a_shutdown_and_ends_at_the_guests_reset() {
    let (mut device, id) = connected_device(1);
    device.write(id, b"goodbye").unwrap();
    device.close(id);
    assert_eq!(device.write(id, b"x"), Err(GuestClosed));
    assert_eq!(read_all(&mut device, id).1, ReadResult::End);
    let all = all_packets(&mut device);
    let ops: Vec<_> = all.iter().map(|packet| packet.header.op).collect();
    assert_eq!(ops, [op::RW, op::SHUTDOWN]);
    assert_eq!(all[1].header.flags, SHUTDOWN_BOTH);
    // Data that the guest sent before it received the shutdown is dropped.
    device.receive(&data_header(1, 5), b"hello");
    assert!(!device.has_packet());
    device.receive(&header(1, op::RST), &[]);
    assert!(device.connections.is_empty() && !device.has_packet());
    device.close(id);
}

#[test]
fn a_close_gives_credit_back_to_a_guest_that_waits() {
    let (mut device, id, mut guest) = connected_guest();
    device.write(id, &vec![1; BUFFER_SIZE]).unwrap();
    guest.receive(&mut device, 1000, 4096);
    guest.send(&mut device, BUFFER_SIZE);
    assert_eq!(guest.credit(), 0);
    device.close(id);
    guest.receive(&mut device, 1000, 4096);
    assert_eq!(guest.credit(), BUFFER_SIZE);
}

#[test]
fn ports_can_be_reused_while_the_host_still_reads() {
    let (mut device, first) = connected_device(1);
    device.receive(&data_header(1, 5), b"first");
    device.receive(&header(1, op::RST), &[]);
    let second = connect(&mut device, 1);
    device.receive(&data_header(1, 6), b"second");
    assert_eq!(read_all(&mut device, first), (b"first".to_vec(), ReadResult::End));
    assert_eq!(read_all(&mut device, second), (b"second".to_vec(), ReadResult::Empty));
}

#[test]
fn after_a_device_reset_received_bytes_stay_readable() {
    let (mut device, id) = connected_device(1);
    device.receive(&data_header(1, 3), b"end");
    let closed = connect(&mut device, 2);
    device.close(closed);
    device.receive(&header(3, op::REQUEST), &[]);
    device.receive(&header(4, op::RW), &[]);
    device.write(id, b"never sent").unwrap();
    assert!(device.take_changed());

    device.reset_by_driver();
    assert!(device.take_changed());
    assert!(all_packets(&mut device).is_empty(), "no packets for connections before the reset");
    assert_eq!(device.accept(HOST_PORT), None);
    assert_eq!(device.connections.len(), 1, "closed and unaccepted connections are removed");
    assert_eq!(read_all(&mut device, id), (b"end".to_vec(), ReadResult::End));
    assert_eq!(device.write(id, b"x"), Err(GuestClosed));
    device.close(id);
    assert!(device.connections.is_empty());
    connect(&mut device, 1);

    let mut device = listening_device();
    device.reset_by_driver();
    assert!(!device.take_changed(), "the reset by which every driver begins is no change");
}
