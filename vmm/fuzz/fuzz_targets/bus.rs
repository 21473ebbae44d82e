// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the bus: any accesses of a guest to ports and addresses, of all sizes, with any bytes in guest
//! memory, and with the device thread running at times. Nothing may panic or hang, only the reset command
//! may restart the VM, and only bytes written to the serial port may be printed.

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

const MEMORY: usize = 1 << 16;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    In {
        port: Port,
        len: u8,
    },
    Out {
        port: Port,
        data: &'a [u8],
    },
    Load {
        addr: Addr,
        len: u8,
    },
    Store {
        addr: Addr,
        data: [u8; 8],
        len: u8,
    },
    /// Writes a plausible value to a register of the vsock device.
    Register {
        register: u8,
        value: u8,
        shift: bool,
    },
    Memory {
        addr: u16,
        data: &'a [u8],
    },
    Pump,
}

#[derive(Arbitrary, Debug)]
enum Port {
    Serial(u8),
    Command(u8),
    Any(u16),
}

#[derive(Arbitrary, Debug)]
enum Addr {
    Vsock(u8),
    Around(u16),
    Any(u64),
}

impl Port {
    fn number(&self) -> u16 {
        match *self {
            Port::Serial(near) => SERIAL_PORT - 4 + u16::from(near % 16),
            Port::Command(near) => 0x64 - u16::from(near % 4),
            Port::Any(port) => port,
        }
    }
}

impl Addr {
    fn number(&self) -> u64 {
        match *self {
            Addr::Vsock(offset) => VSOCK_MMIO + u64::from(offset) * 2,
            Addr::Around(near) => VSOCK_MMIO - 0x800 + u64::from(near),
            Addr::Any(addr) => addr,
        }
    }
}

/// Counts the printed bytes.
struct Printed(Arc<AtomicUsize>);

impl Write for Printed {
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
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("64 KiB");
    let shared_device = Arc::new(SharedDevice::new(Device::new()).expect("a descriptor"));
    shared_device.with(|device| device.listen(1024));
    let kicks = [(); QUEUE_COUNT].map(|()| event());
    let transport = Transport::new(memory.clone(), event(), kicks, Arc::downgrade(&shared_device));
    let transport = Arc::new(transport);
    TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
    let printed = Arc::new(AtomicUsize::new(0));
    let bus = Bus::new(Serial::new(event(), Box::new(Printed(printed.clone()))), transport);
    let mut sent = 0;

    for step in steps {
        match step {
            Step::In { port, len } => {
                let port = port.number();
                let mut data = vec![0xaa; usize::from(len)];
                bus.pio_read(port, &mut data);
                for (at, byte) in (usize::from(port)..).zip(data) {
                    let claimed = at == 0x64 || (0x3f8..0x400).contains(&at);
                    assert!(claimed || byte == 0xff);
                }
            }
            Step::Out { port, data } => {
                let port = usize::from(port.number());
                let effect = bus.pio_write(port as u16, data);
                let at = |p: usize| p.checked_sub(port).and_then(|at| data.get(at));
                assert_eq!(effect == WriteEffect::Restart, at(0x64) == Some(&0xfe));
                sent += usize::from(at(0x3f8).is_some());
            }
            Step::Load { addr, len } => {
                let addr = addr.number();
                let mut data = vec![0xaa; usize::from(len % 9)];
                bus.mmio_read(addr, &mut data);
                if !(VSOCK_MMIO..VSOCK_MMIO + VSOCK_MMIO_SIZE).contains(&addr) {
                    assert!(data.iter().all(|&byte| byte == 0xff));
                }
            }
            Step::Store { addr, data, len } => {
                let data = &data[..usize::from(len % 9)];
                bus.mmio_write(addr.number(), data);
            }
            Step::Register { register, value, shift } => {
                let value = u32::from(value) << if shift { 8 } else { 0 };
                bus.mmio_write(VSOCK_MMIO + u64::from(register & !3), &value.to_le_bytes());
            }
            Step::Memory { addr, data } => {
                let _ = memory.write(data, GuestAddress(addr.into()));
            }
            Step::Pump => shared_device.receive_all(),
        }
    }
    shared_device.receive_all();
    assert!(printed.load(Ordering::Relaxed) <= sent);
    let saved = bus.save_serial();
    let again = Serial::restore(&saved, event(), Box::new(io::sink())).expect("what was saved");
    assert_eq!(again.save(), saved);
});
