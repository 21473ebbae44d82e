// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Limits on connections and resets, and fairness between connections.

use super::*;

#[test]
fn connections_take_turns() {
    let (mut device, one) = connected(1);
    let two = connect(&mut device, 2);
    for id in [one, two] {
        device.write(id, &[0; 1000]).unwrap();
    }
    let order: Vec<u32> =
        (0..4).map(|_| device.next_packet(100).unwrap().header.dst_port).collect();
    assert!(order == [1, 2, 1, 2] || order == [2, 1, 2, 1], "{order:?}");
}

#[test]
fn the_table_is_bounded_and_drops_unused_connections() {
    let mut device = listening();
    let guests = 1..=u32::try_from(MAX_CONNECTIONS).unwrap();
    let ids: Vec<_> = guests.map(|guest| connect(&mut device, guest)).collect();
    device.receive(&header(1000, op::REQUEST), &[]);
    assert_eq!(only_packet(&mut device).op, op::RST);

    device.close(ids[3]);
    assert_eq!(only_packet(&mut device).op, op::SHUTDOWN);
    device.receive(&header(1001, op::REQUEST), &[]);
    let ops: Vec<_> =
        packets(&mut device).iter().map(|p| (p.header.op, p.header.dst_port)).collect();
    assert_eq!(ops, [(op::RST, 4), (op::RESPONSE, 1001)]);
    assert_eq!(device.connections.len(), MAX_CONNECTIONS);
}

#[test]
fn resets_are_bounded() {
    let mut device = listening();
    for guest in 0..10_000 {
        device.receive(&Header { dst_port: 1, ..header(guest, op::REQUEST) }, &[]);
    }
    assert_eq!(packets(&mut device).len(), MAX_RESETS);
}
