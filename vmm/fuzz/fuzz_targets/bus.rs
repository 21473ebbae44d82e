// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the bus with accesses of a guest to any ports and addresses, of all sizes, with any bytes
//! in guest memory, mixed with work of the device thread. Nothing may panic or hang, only the reset
//! command may restart the VM, and only bytes written to the serial port may be printed.

#![no_main]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::kvm::bus::{Bus, WriteEffect};
use sudbox_vmm::kvm::serial::Serial;
use sudbox_vmm::kvm::x86_64::layout::{SERIAL_PORT, VSOCK_MMIO, VSOCK_MMIO_SIZE};
use sudbox_vmm::virtio::mmio::{QUEUE_COUNT, Transport};
use sudbox_vmm::virtio::vsock::TransportQueues;
use sudbox_vmm::vsock::device::Device;
use sudbox_vmm::vsock::shared_device::SharedDevice;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Size of guest memory in bytes.
const MEMORY_SIZE: usize = 1 << 16;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Reads a port.
    PioRead { port: Port, len: u8 },
    /// Writes a port.
    PioWrite { port: Port, data: &'a [u8] },
    /// Reads an address without memory.
    MmioRead { addr: Addr, len: u8 },
    /// Writes an address without memory.
    MmioWrite { addr: Addr, data: [u8; 8], len: u8 },
    /// Writes a plausible value to a register of the vsock device.
    WriteRegister { register: u8, value: u8, is_shifted: bool },
    /// Writes guest memory.
    WriteMemory { addr: u16, data: &'a [u8] },
    /// Does the work of the device thread.
    ReceiveAll,
}

#[derive(Arbitrary, Debug)]
enum Port {
    /// A port of the UART, or near.
    Serial(u8),
    /// The command port of the i8042, or near.
    Command(u8),
    Any(u16),
}

#[derive(Arbitrary, Debug)]
enum Addr {
    /// In the registers of the vsock device.
    Vsock(u8),
    /// Around the registers of the vsock device.
    NearVsock(u16),
    Any(u64),
}

impl Port {
    fn number(&self) -> u16 {
        match *self {
            Port::Serial(offset) => SERIAL_PORT - 4 + u16::from(offset % 16),
            Port::Command(offset) => 0x64 - u16::from(offset % 4),
            Port::Any(port) => port,
        }
    }
}

impl Addr {
    fn address(&self) -> u64 {
        match *self {
            Addr::Vsock(offset) => VSOCK_MMIO + u64::from(offset) * 2,
            Addr::NearVsock(offset) => VSOCK_MMIO - 0x800 + u64::from(offset),
            Addr::Any(addr) => addr,
        }
    }
}

/// An output that counts the printed bytes.
struct CountingOutput(Arc<AtomicUsize>);

impl Write for CountingOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).expect("a descriptor")
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).expect("64 KiB");
    let shared_device = Arc::new(SharedDevice::new(Device::new()).expect("a descriptor"));
    shared_device.with(|device| device.listen(1024));
    let queue_evts = [(); QUEUE_COUNT].map(|()| event());
    let weak_device = Arc::downgrade(&shared_device);
    let transport = Arc::new(Transport::new(memory.clone(), event(), queue_evts, weak_device));
    TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
    let printed_bytes = Arc::new(AtomicUsize::new(0));
    let output = Box::new(CountingOutput(printed_bytes.clone()));
    let bus = Bus::new(Serial::new(event(), output), transport);
    // Number of writes to the data register of the UART.
    let mut transmitted_bytes = 0;

    for step in steps {
        match step {
            Step::PioRead { port, len } => {
                let port = port.number();
                let mut data = vec![0xaa; usize::from(len)];
                bus.pio_read(port, &mut data);
                for (port, byte) in (usize::from(port)..).zip(data) {
                    let has_device = port == 0x64 || (0x3f8..0x400).contains(&port);
                    assert!(has_device || byte == 0xff);
                }
            }
            Step::PioWrite { port, data } => {
                let first_port = usize::from(port.number());
                let effect = bus.pio_write(first_port as u16, data);
                let byte_for =
                    |port: usize| port.checked_sub(first_port).and_then(|index| data.get(index));
                assert_eq!(effect == WriteEffect::Restart, byte_for(0x64) == Some(&0xfe));
                transmitted_bytes += usize::from(byte_for(0x3f8).is_some());
            }
            Step::MmioRead { addr, len } => {
                let addr = addr.address();
                let mut data = vec![0xaa; usize::from(len % 9)];
                bus.mmio_read(addr, &mut data);
                if !(VSOCK_MMIO..VSOCK_MMIO + VSOCK_MMIO_SIZE).contains(&addr) {
                    assert!(data.iter().all(|&byte| byte == 0xff));
                }
            }
            Step::MmioWrite { addr, data, len } => {
                let data = &data[..usize::from(len % 9)];
                bus.mmio_write(addr.address(), data);
            }
            Step::WriteRegister { register, value, is_shifted } => {
                let value = u32::from(value) << if is_shifted { 8 } else { 0 };
                bus.mmio_write(VSOCK_MMIO + u64::from(register & !3), &value.to_le_bytes());
            }
            Step::WriteMemory { addr, data } => {
                let _ = memory.write(data, GuestAddress(addr.into()));
            }
            Step::ReceiveAll => shared_device.receive_all(),
        }
    }
    shared_device.receive_all();
    assert!(printed_bytes.load(Ordering::Relaxed) <= transmitted_bytes);
    let saved = bus.save_serial();
    let restored = Serial::restore(&saved, event(), Box::new(io::sink())).expect("a saved state");
    assert_eq!(restored.save(), saved);
});
