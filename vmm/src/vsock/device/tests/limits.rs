// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Limits on connections and resets, and fairness between connections.

use super::*;

#[test]
fn connections_send_packets_in_turn() {
    let (mut device, one) = connected_device(1);
    let two = connect(&mut device, 2);
    for id in [one, two] {
        device.write(id, &[0; 1000]).unwrap();
    }
    let order: Vec<u32> =
        (0..4).map(|_| device.next_packet(100).unwrap().header.dst_port).collect();
    assert!(order == [1, 2, 1, 2] || order == [2, 1, 2, 1], "{order:?}");
}

#[test]
fn a_full_table_refuses_connections_unless_an_entry_is_dispensable() {
    let mut device = listening_device();
    let guests = 1..=u32::try_from(MAX_CONNECTIONS).unwrap();
    let ids: Vec<_> = guests.map(|guest| connect(&mut device, guest)).collect();
    device.receive(&header(1000, op::REQUEST), &[]);
    assert_eq!(only_packet(&mut device).op, op::RST);

    device.close(ids[3]);
    assert_eq!(only_packet(&mut device).op, op::SHUTDOWN);
    device.receive(&header(1001, op::REQUEST), &[]);
    let ops: Vec<_> =
        all_packets(&mut device).iter().map(|p| (p.header.op, p.header.dst_port)).collect();
    assert_eq!(ops, [(op::RST, 4), (op::RESPONSE, 1001)]);
    assert_eq!(device.connections.len(), MAX_CONNECTIONS);
}

#[test]
fn the_number_of_waiting_resets_is_bounded() {
    let mut device = listening_device();
    for guest in 0..10_000 {
        device.receive(&Header { dst_port: 1, ..header(guest, op::REQUEST) }, &[]);
    }
    assert_eq!(all_packets(&mut device).len(), MAX_RESETS);
}
