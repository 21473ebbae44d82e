// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests with drivers that follow the specification, and with drivers that violate it.

use super::super::driver::{Driver, MEMORY, SIZE, event, parts};
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
fn a_driver_finds_a_vsock_device() {
    let driver = driver();
    let read = |register| driver.read(register);
    assert_eq!(read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(read(VIRTIO_MMIO_DEVICE_ID), 19);
    for (select, features) in [(0, 1 << 28 | 1 << 29), (1, 1), (2, 0), (u32::MAX, 0)] {
        driver.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, select);
        assert_eq!(read(VIRTIO_MMIO_DEVICE_FEATURES), features);
    }
    for (queue, most) in [(0, 128), (1, 128), (2, 128), (3, 0), (u32::MAX, 0)] {
        driver.write(VIRTIO_MMIO_QUEUE_SEL, queue);
        assert_eq!(read(VIRTIO_MMIO_QUEUE_NUM_MAX), most);
        assert_eq!(read(VIRTIO_MMIO_QUEUE_READY), 0);
    }
    assert_eq!(read(VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
    assert_eq!(read(VIRTIO_MMIO_SHM_LEN_HIGH), u32::MAX);
    assert_eq!(read(VIRTIO_MMIO_CONFIG_GENERATION), 0);
}

#[test]
fn registers_have_32_bits_and_the_configuration_space_any_width() {
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
    assert_eq!(write(2), 0, "no driver without acknowledgement");
    assert_eq!(write(4), 0);
    assert_eq!(write(1), 1);
    assert_eq!(write(2), 1, "nothing is cleared");
    assert_eq!(write(1 | 4), 1, "not without features");
    assert_eq!(write(1 | 2 | 0x30), 3, "reserved bits");
    assert_eq!(write(1 | 2 | 64), 3, "that bit is the device's");
    driver.accept_features(FEATURES);
    assert_eq!(write(3 | 4), 3);
    assert_eq!(write(3 | 8), 11);
    assert_eq!(write(3), 11);
    assert_eq!(write(15), 15);
    assert_eq!(write(15 | 128), 143);
    assert_eq!(write(15), 143);
    assert_eq!(write(0), 0);
    assert_eq!(write(128), 128, "a driver is_configurable give up at any time");
}

#[test]
fn features_are_the_devices_and_version_1_is_one_of_them() {
    for (features, accepted) in [
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
        assert_eq!(status(&driver), 3, "chosen before there was a driver");
        driver.accept_features(features);
        driver.write(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(status(&driver), if accepted { 11 } else { 3 }, "{features:x}");
    }
    let driver = driver();
    driver.negotiate();
    driver.accept_features(0);
    assert_eq!(driver.transport.save().driver_features, FEATURES, "settled");
}

#[test]
fn a_queue_can_be_set_up_only_between_features_ok_and_driver_ok() {
    let driver = driver();
    let ready = || driver.read(VIRTIO_MMIO_QUEUE_READY);
    let set_up = |index, size| {
        driver.configure_queue(index, size, parts(0));
        driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    };
    set_up(0, 16);
    assert_eq!((ready(), status(&driver)), (0, 0), "before the features are settled");
    driver.negotiate();
    driver.write(VIRTIO_MMIO_QUEUE_READY, 2);
    assert_eq!((ready(), status(&driver)), (0, 11), "not a value of that register");
    set_up(3, 16);
    assert_eq!((ready(), status(&driver)), (0, 11), "there is no such queue");
    set_up(0, 16);
    assert_eq!(ready(), 1);
    driver.configure_queue(0, 32, parts(1));
    assert_eq!(driver.transport.save().queues[0].size, 16, "it is ready already");
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(ready(), 0);
    set_up(0, 32);
    assert_eq!(ready(), 1);

    let runs = |index| driver.transport.with_queue(index, |queue, _| queue.size());
    assert_eq!(runs(0), None, "the driver is not done");
    driver.write(VIRTIO_MMIO_STATUS, 15);
    assert_eq!((runs(0), runs(1), runs(3)), (Some(32), None, None));
    set_up(1, 16);
    assert_eq!((ready(), status(&driver)), (0, 15), "the device runs");
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(runs(0), None, "taken back");
}

#[test]
fn an_invalid_queue_needs_a_reset() {
    let [descriptors, available, used] = parts(0);
    let end = MEMORY as u64;
    for (size, parts) in [
        (0, parts(0)),
        (3, parts(0)),
        (256, parts(0)),
        (1 << 16 | 16, parts(0)),
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
        driver.configure_queue(0, size, parts);
        driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
        assert_eq!(driver.read(VIRTIO_MMIO_QUEUE_READY), 0, "{size} {parts:x?}");
        assert_eq!(status(&driver), 11 | 64, "{size} {parts:x?}");
        driver.write(VIRTIO_MMIO_STATUS, 15 | 64);
        assert_eq!(status(&driver), 15 | 64);
        assert_eq!(driver.transport.with_queue(0, |_, _| ()), None);
        driver.reset();
    }
    // The highest addresses that are in memory.
    let driver = driver();
    driver.negotiate();
    driver.configure_queue(0, 16, [end - 0x100, 0x1000, end - 0x100 - 140]);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!((driver.read(VIRTIO_MMIO_QUEUE_READY), status(&driver)), (1, 11));
}

#[test]
fn an_available_index_out_of_range_needs_a_reset() {
    let mut driver = driver();
    driver.start();
    driver.advertise(RX, SIZE);
    assert_eq!(driver.transport.with_queue(RX, |queue, _| queue.size()), Some(SIZE));
    driver.advertise(RX, SIZE + 1);
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
fn an_interrupt_stays_until_it_is_acknowledged() {
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
fn a_restored_device_continues() {
    let mut driver = driver();
    driver.start();
    driver.offer_buffers(3);
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
    let read: TransportState = serde_json::from_str(&text).unwrap();
    assert_eq!(read, state);
    assert_eq!(state.queues[RX].indices, Some((1, 1)));

    let driver = driver.restored(Weak::new(), &read);
    assert_eq!(driver.transport.save(), state);
    assert_eq!(driver.interrupt.read().unwrap(), 1, "it is_configurable not have got through");
    assert!(driver.queue_evts.iter().all(|event| event.read().is_ok()), "nor these");
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
    state.queues[1].used = MEMORY as u64;
    let queue_evts = [(); QUEUE_COUNT].map(|()| event());
    let restored = Transport::restore(driver.memory, event(), queue_evts, Weak::new(), &state);
    assert_eq!(restored.err().unwrap().index, 1);
}

/// A write, mostly of a plausible value to an existing register.
fn a_write() -> impl Strategy<Value = (u64, u32)> {
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
    /// After any writes in any order: the status bits are a prefix of the required order, ready queues are
    /// valid, and reads agree with `save`.
    #[test]
    fn any_writes_keep_the_registers_consistent(
        begin in any::<bool>(),
        writes in prop::collection::vec(a_write(), 0..200),
        memory in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let driver = driver();
        driver.memory.write_slice(&memory, GuestAddress(0)).unwrap();
        if begin {
            driver.negotiate();
        }
        for (offset, value) in writes {
            driver.transport.write(offset, &value.to_le_bytes());
            let state = driver.transport.save();
            let steps = STATUS_ORDER.map(|step| state.status & step != 0);
            prop_assert!(steps.is_sorted_by(|a, b| a >= b), "{:x}", state.status);
            for (index, saved) in state.queues.iter().enumerate() {
                let more = driver.transport.with_queue(index, |queue, memory| {
                    prop_assert!(queue.is_valid(memory));
                    Ok(())
                });
                prop_assert!(more.is_none() || saved.indices.is_some());
                if let Some(result) = more { result?; }
            }
            prop_assert_eq!(status(&driver), driver.transport.save().status);
        }
    }
}
