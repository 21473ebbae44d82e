// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::super::layout::{VSOCK_MMIO, VSOCK_MMIO_SIZE};
use super::*;
use crate::kvm::serial::Serial;
use crate::kvm::serial::tests::Screen;
use crate::virtio::driver::{Driver, event};
use std::sync::Weak;
use std::thread;

fn bus_and_screen() -> (Bus, Screen) {
    let screen = Screen::default();
    let serial = Serial::new(event(), Box::new(screen.clone()));
    let driver = Driver::new(Weak::new());
    (Bus::new(serial, driver.transport), screen)
}

fn pio_read(bus: &Bus, port: u16, len: usize) -> Vec<u8> {
    let mut data = vec![0xaa; len];
    bus.pio_read(port, &mut data);
    data
}

fn mmio_read(bus: &Bus, addr: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xaa; len];
    bus.mmio_read(addr, &mut data);
    data
}

#[test]
fn unused_addresses_read_as_all_ones() {
    let (bus, screen) = bus_and_screen();
    for port in [0, 0x20, 0x60, 0x63, 0x65, 0x3f7, 0x400, 0xcf8, 0xffff] {
        assert_eq!(pio_read(&bus, port, 1), [0xff], "{port:x}");
        assert_eq!(bus.pio_write(port, &[0xfe]), WriteEffect::None, "{port:x}");
    }
    for addr in [0, VSOCK_MMIO - 1, VSOCK_MMIO + VSOCK_MMIO_SIZE, 1 << 32, u64::MAX] {
        assert_eq!(mmio_read(&bus, addr, 8), [0xff; 8], "{addr:x}");
        bus.mmio_write(addr, &[1; 8]);
    }
    assert!(screen.text().is_empty());
}

#[test]
fn bytes_written_to_the_uart_are_printed() {
    let (bus, screen) = bus_and_screen();
    for byte in b"boot\n" {
        assert_eq!(bus.pio_write(0x3f8, &[*byte]), WriteEffect::None);
    }
    assert_eq!(screen.text(), b"boot\n");
    assert_eq!(pio_read(&bus, 0x3fd, 1), [0x60], "LSR: the transmitter is empty");
    bus.pio_write(0x3ff, &[0x5a]);
    assert_eq!(
        pio_read(&bus, 0x3ff, 1),
        [0x5a],
        "the scratch register, by which drivers detect a 16550"
    );
}

#[test]
fn a_wide_access_covers_consecutive_ports() {
    let (bus, screen) = bus_and_screen();
    bus.pio_write(0x3fe, &[b'-', 0x11, 0x22, 0x33]);
    assert_eq!(pio_read(&bus, 0x3ff, 2), [0x11, 0xff]);
    // The first byte goes to the transmitter, the second to the interrupt enable register.
    bus.pio_write(0x3f8, &[b'x', 0x00]);
    assert_eq!(screen.text(), b"x");
    assert_eq!(pio_read(&bus, 0x63, 3), [0xff, 0, 0xff]);
    assert_eq!(bus.pio_write(0x63, &[0, 0xfe]), WriteEffect::Restart);
    assert_eq!(bus.pio_write(0x64, &[0xfe, 0, 0, 0]), WriteEffect::Restart);
    assert_eq!(pio_read(&bus, 0xffff, 4), [0xff; 4]);
    assert_eq!(bus.pio_write(0xffff, &[0xfe; 4]), WriteEffect::None);
    assert!(pio_read(&bus, 0x3f8, 0).is_empty());
    assert_eq!(pio_read(&bus, 0x3ff, 200)[0], 0x11);
}

#[test]
fn only_the_reset_command_restarts() {
    let (bus, _) = bus_and_screen();
    assert_eq!(pio_read(&bus, 0x64, 1), [0], "kb_wait waits for this status");
    for command in 0..=0xff {
        let effect = bus.pio_write(0x64, &[command]);
        assert_eq!(effect == WriteEffect::Restart, command == 0xfe, "{command:x}");
    }
}

#[test]
fn the_vsock_device_is_at_the_address_of_the_layout() {
    let (bus, _) = bus_and_screen();
    assert_eq!(mmio_read(&bus, VSOCK_MMIO, 4), *b"virt");
    assert_eq!(mmio_read(&bus, VSOCK_MMIO + 0x100, 1), [3]);
    assert_eq!(mmio_read(&bus, VSOCK_MMIO + 0xfff, 8), [0; 8]);
    bus.mmio_write(VSOCK_MMIO + 0x70, &[1, 0, 0, 0]);
    assert_eq!(mmio_read(&bus, VSOCK_MMIO + 0x70, 4), [1, 0, 0, 0]);
}

#[test]
fn bytes_that_vcpus_print_concurrently_are_not_lost() {
    let (bus, screen) = bus_and_screen();
    thread::scope(|scope| {
        for letter in b"abcd" {
            let bus = &bus;
            scope.spawn(move || {
                for _ in 0..1000 {
                    bus.pio_write(0x3f8, &[*letter]);
                    bus.mmio_write(VSOCK_MMIO + 0x70, &[1, 0, 0, 0]);
                }
            });
        }
    });
    let text = screen.text();
    for letter in b"abcd" {
        assert_eq!(text.iter().filter(|&c| c == letter).count(), 1000);
    }
}
