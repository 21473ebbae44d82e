// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests with drivers that follow the specification, and with drivers that violate it.

use super::super::driver::{DRIVER_QUEUE_SIZE, Driver, MEMORY_SIZE, event, queue_addresses};
use super::registers::STATUS_ORDER;
use super::*;
use crate::vsock::queue::RX;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

fn driver() -> Driver {
    Driver::new(Weak::new())
}

fn status(driver: &Driver) -> u32 {
    driver.read(VIRTIO_MMIO_STATUS)
}

#[test]
fn identification_features_and_queues_are_those_of_a_vsock_device() {
    let driver = driver();
    let read = |register| driver.read(register);
    assert_eq!(read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(read(VIRTIO_MMIO_DEVICE_ID), 19);
    for (select, features) in [(0, 1 << 28 | 1 << 29), (1, 1), (2, 0), (u32::MAX, 0)] {
        driver.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, select);
        assert_eq!(read(VIRTIO_MMIO_DEVICE_FEATURES), features);
    }
    for (queue, max_size) in [(0, 128), (1, 128), (2, 128), (3, 0), (u32::MAX, 0)] {
        driver.write(VIRTIO_MMIO_QUEUE_SEL, queue);
        assert_eq!(read(VIRTIO_MMIO_QUEUE_NUM_MAX), max_size);
        assert_eq!(read(VIRTIO_MMIO_QUEUE_READY), 0);
    }
    assert_eq!(read(VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
    assert_eq!(read(VIRTIO_MMIO_SHM_LEN_HIGH), u32::MAX);
    assert_eq!(read(VIRTIO_MMIO_CONFIG_GENERATION), 0);
}

#[test]
fn registers_are_accessed_in_32_bits_and_the_configuration_space_in_any_width() {
    let driver = driver();
    let read = |offset, len| {
        let mut data = vec![0xaa; len];
        driver.transport.read(offset, &mut data);
        data
    };
    for (offset, len) in [(0, 1), (0, 2), (0, 8), (1, 4), (2, 4), (0, 0)] {
        assert_eq!(read(offset, len), vec![0; len], "{offset} {len}");
    }
    assert_eq!(read(0x100, 8), GUEST_CID.to_le_bytes());
    assert_eq!(read(0x100, 4), [3, 0, 0, 0]);
    assert_eq!(read(0x100, 1), [3]);
    assert_eq!(read(0x101, 2), [0, 0]);
    assert_eq!(read(0x107, 4), [0; 4]);
    assert_eq!(read(0x108, 8), [0; 8]);
    assert_eq!(read(0xffc, 4), [0; 4]);
    assert_eq!(read(u64::MAX, 8), [0; 8]);

    driver.transport.write(0x70, &[1]);
    driver.transport.write(0x70, &[1, 0, 0, 0, 0, 0, 0, 0]);
    driver.transport.write(0x71, &[1, 0, 0, 0]);
    driver.transport.write(0x100, &[9; 4]);
    driver.transport.write(u64::MAX, &[1]);
    assert_eq!(status(&driver), 0);
    assert_eq!(read(0x100, 8), GUEST_CID.to_le_bytes());
}

#[test]
fn status_bits_are_set_in_order_and_never_cleared() {
    let driver = driver();
    let write = |value| {
        driver.write(VIRTIO_MMIO_STATUS, value);
        status(&driver)
    };
    // 1 ACKNOWLEDGE, 2 DRIVER, 4 DRIVER_OK, 8 FEATURES_OK, 64 DEVICE_NEEDS_RESET, 128 FAILED.
    assert_eq!(write(2), 0, "DRIVER follows ACKNOWLEDGE");
    assert_eq!(write(4), 0);
    assert_eq!(write(1), 1);
    assert_eq!(write(2), 1, "ACKNOWLEDGE cannot be cleared");
    assert_eq!(write(1 | 4), 1, "DRIVER_OK follows FEATURES_OK");
    assert_eq!(write(1 | 2 | 0x30), 3, "reserved bits");
    assert_eq!(write(1 | 2 | 64), 3, "only the device sets DEVICE_NEEDS_RESET");
    driver.accept_features(FEATURES);
    assert_eq!(write(3 | 4), 3);
    assert_eq!(write(3 | 8), 11);
    assert_eq!(write(3), 11);
    assert_eq!(write(15), 15);
    assert_eq!(write(15 | 128), 143);
    assert_eq!(write(15), 143);
    assert_eq!(write(0), 0);
    assert_eq!(write(128), 128, "FAILED may be set at any time");
}

#[test]
fn features_ok_needs_version_1_and_only_features_of_the_device() {
    for (features, is_accepted) in [
        (FEATURES, true),
        (1 << 32, true),
        (0, false),
        (FEATURES & !(1 << 32), false),
        (FEATURES | 1, false),
        (FEATURES | 1 << 33, false),
        (u64::MAX, false),
    ] {
        let driver = driver();
        driver.accept_features(features);
        driver.write(VIRTIO_MMIO_STATUS, 1);
        driver.accept_features(features);
        driver.write(VIRTIO_MMIO_STATUS, 3);
        driver.write(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(status(&driver), 3, "features written before DRIVER have no effect");
        driver.accept_features(features);
        driver.write(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(status(&driver), if is_accepted { 11 } else { 3 }, "{features:x}");
    }
    let driver = driver();
    driver.negotiate();
    driver.accept_features(0);
    assert_eq!(driver.transport.save().driver_features, FEATURES, "fixed by FEATURES_OK");
}

#[test]
fn a_queue_can_be_set_up_only_between_features_ok_and_driver_ok() {
    let driver = driver();
    let queue_ready = || driver.read(VIRTIO_MMIO_QUEUE_READY);
    let set_up = |index, size| {
        driver.configure_queue(index, size, queue_addresses(0));
        driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    };
    set_up(0, 16);
    assert_eq!((queue_ready(), status(&driver)), (0, 0), "before FEATURES_OK");
    driver.negotiate();
    driver.write(VIRTIO_MMIO_QUEUE_READY, 2);
    assert_eq!((queue_ready(), status(&driver)), (0, 11), "2 is no value of QueueReady");
    set_up(3, 16);
    assert_eq!((queue_ready(), status(&driver)), (0, 11), "queue 3 does not exist");
    set_up(0, 16);
    assert_eq!(queue_ready(), 1);
    driver.configure_queue(0, 32, queue_addresses(1));
    assert_eq!(driver.transport.save().queues[0].size, 16, "the queue is ready");
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(queue_ready(), 0);
    set_up(0, 32);
    assert_eq!(queue_ready(), 1);

    let running_size = |index| driver.transport.with_queue(index, |queue, _| queue.size());
    assert_eq!(running_size(0), None, "before DRIVER_OK");
    driver.write(VIRTIO_MMIO_STATUS, 15);
    assert_eq!((running_size(0), running_size(1), running_size(3)), (Some(32), None, None));
    set_up(1, 16);
    assert_eq!((queue_ready(), status(&driver)), (0, 15), "after DRIVER_OK");
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(running_size(0), None, "the driver has stopped the queue");
}

#[test]
fn an_invalid_queue_sets_device_needs_reset() {
    let [descriptors, available, used] = queue_addresses(0);
    let end = MEMORY_SIZE as u64;
    for (size, addresses) in [
        (0, queue_addresses(0)),
        (3, queue_addresses(0)),
        (256, queue_addresses(0)),
        (1 << 16 | 16, queue_addresses(0)),
        (16, [descriptors + 8, available, used]),
        (16, [descriptors, available + 1, used]),
        (16, [descriptors, available, used + 2]),
        (16, [end - 0xf0, available, used]),
        (16, [descriptors, end - 4 - 32, used]),
        (16, [descriptors, available, end - 4 - 128]),
        (16, [u64::MAX - 0xf, available, used]),
        (16, [descriptors, u64::MAX - 1, used]),
        (16, [descriptors, available, u64::MAX - 3]),
        (16, [1 << 32, available, used]),
    ] {
        let driver = driver();
        driver.negotiate();
        driver.configure_queue(0, size, addresses);
        driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
        assert_eq!(driver.read(VIRTIO_MMIO_QUEUE_READY), 0, "{size} {addresses:x?}");
        assert_eq!(status(&driver), 11 | 64, "{size} {addresses:x?}");
        driver.write(VIRTIO_MMIO_STATUS, 15 | 64);
        assert_eq!(status(&driver), 15 | 64);
        assert_eq!(driver.transport.with_queue(0, |_, _| ()), None);
        driver.reset();
    }
    // The highest addresses at which descriptor table and used ring fit into memory.
    let driver = driver();
    driver.negotiate();
    driver.configure_queue(0, 16, [end - 0x100, 0x1000, end - 0x100 - 140]);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!((driver.read(VIRTIO_MMIO_QUEUE_READY), status(&driver)), (1, 11));
}

#[test]
fn an_available_index_out_of_range_sets_device_needs_reset() {
    let mut driver = driver();
    driver.start();
    driver.write_available_index(RX, DRIVER_QUEUE_SIZE);
    let size = driver.transport.with_queue(RX, |queue, _| queue.size());
    assert_eq!(size, Some(DRIVER_QUEUE_SIZE));
    driver.write_available_index(RX, DRIVER_QUEUE_SIZE + 1);
    assert!(driver.transport.with_queue(RX, |_, _| ()).is_some());
    assert_eq!(status(&driver), 15 | 64);
    assert_eq!(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    assert_eq!(driver.interrupt.read().unwrap(), 1);
    assert!(driver.transport.with_queue(RX, |_, _| ()).is_none());
    driver.reset();
    driver.start();
    assert!(driver.transport.with_queue(RX, |_, _| ()).is_some());
}

#[test]
fn a_notification_writes_the_queues_event() {
    let driver = driver();
    for index in [2, 0, 3, u32::MAX, 0x1_0001] {
        driver.write(VIRTIO_MMIO_QUEUE_NOTIFY, index);
    }
    let counts = driver.queue_evts.each_ref().map(|event| event.read().unwrap_or(0));
    assert_eq!(counts, [1, 0, 1]);
}

#[test]
fn an_interrupt_stays_until_acknowledgement_or_reset() {
    let mut driver = driver();
    driver.start();
    assert!(driver.interrupt.read().is_err());
    driver.transport.interrupt();
    assert_eq!(driver.interrupt.read().unwrap(), 1);
    driver.write(VIRTIO_MMIO_INTERRUPT_ACK, 2);
    assert_eq!(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    driver.write(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    driver.transport.interrupt();
    driver.reset();
    assert_eq!(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

#[test]
fn a_restored_transport_has_the_saved_state_and_repeats_events() {
    let mut driver = driver();
    driver.start();
    driver.add_receive_buffers(3);
    driver.transport.with_queue(RX, |queue, memory| {
        let head = queue.pop_descriptor_chain(memory).unwrap().head_index();
        queue.add_used(memory, head, 0).unwrap();
    });
    driver.transport.interrupt();
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    driver.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_eq!(driver.interrupt.read().unwrap(), 1);

    let state = driver.transport.save();
    let text = serde_json::to_string(&state).unwrap();
    let parsed: TransportState = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed, state);
    assert_eq!(state.queues[RX].indices, Some((1, 1)));

    let driver = driver.restore_transport(Weak::new(), &parsed);
    assert_eq!(driver.transport.save(), state);
    assert_eq!(driver.interrupt.read().unwrap(), 1, "the interrupt is repeated");
    assert!(driver.queue_evts.iter().all(|event| event.read().is_ok()), "queues are notified");
    let (head, event_idx) = driver
        .transport
        .with_queue(RX, |queue, memory| {
            let chain = queue.pop_descriptor_chain(memory).unwrap();
            (chain.head_index(), queue.event_idx_enabled())
        })
        .unwrap();
    assert_eq!((head, event_idx), (1, true));
}

#[test]
fn a_queue_outside_memory_is_not_restored() {
    let mut driver = driver();
    driver.start();
    let mut state = driver.transport.save();
    state.queues[1].used = MEMORY_SIZE as u64;
    let queue_evts = [(); QUEUE_COUNT].map(|()| event());
    let result = Transport::restore(driver.memory, event(), queue_evts, Weak::new(), &state);
    assert_eq!(result.err().unwrap().index, 1);
}

/// Generates writes (offset and value), mostly of plausible values to existing registers.
fn register_write() -> impl Strategy<Value = (u64, u32)> {
    let registers = [
        VIRTIO_MMIO_STATUS,
        VIRTIO_MMIO_DRIVER_FEATURES_SEL,
        VIRTIO_MMIO_DRIVER_FEATURES,
        VIRTIO_MMIO_QUEUE_SEL,
        VIRTIO_MMIO_QUEUE_NUM,
        VIRTIO_MMIO_QUEUE_READY,
        VIRTIO_MMIO_QUEUE_DESC_LOW,
        VIRTIO_MMIO_QUEUE_AVAIL_LOW,
        VIRTIO_MMIO_QUEUE_USED_LOW,
        VIRTIO_MMIO_QUEUE_USED_HIGH,
        VIRTIO_MMIO_INTERRUPT_ACK,
    ];
    let values = [0, 1, 1, 2, 3, 11, 15, 16, 64, 128, 0x1000, 0xff800, 0x100000, 0xffff_fff0];
    let offset = prop_oneof![prop::sample::select(registers.to_vec()), 0u32..0x140];
    (offset.prop_map(u64::from), prop_oneof![prop::sample::select(values.to_vec()), any::<u32>()])
}

proptest! {
    /// After any writes in any order, the status bits are a prefix of `STATUS_ORDER`, queues that
    /// run are valid, and reads agree with `save`.
    #[test]
    fn any_writes_keep_the_registers_consistent(
        negotiates_first in any::<bool>(),
        writes in prop::collection::vec(register_write(), 0..200),
        memory in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let driver = driver();
        driver.memory.write_slice(&memory, GuestAddress(0)).unwrap();
        if negotiates_first {
            driver.negotiate();
        }
        for (offset, value) in writes {
            driver.transport.write(offset, &value.to_le_bytes());
            let state = driver.transport.save();
            let are_set = STATUS_ORDER.map(|bit| state.status & bit != 0);
            prop_assert!(are_set.is_sorted_by(|a, b| a >= b), "{:x}", state.status);
            for (index, saved) in state.queues.iter().enumerate() {
                let result = driver.transport.with_queue(index, |queue, memory| {
                    prop_assert!(queue.is_valid(memory));
                    Ok(())
                });
                prop_assert!(result.is_none() || saved.indices.is_some());
                if let Some(validity) = result { validity?; }
            }
            prop_assert_eq!(status(&driver), driver.transport.save().status);
        }
    }
}
