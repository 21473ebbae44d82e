// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Creates the parts of a VM and connects them.

use std::io;
use std::sync::Arc;
use std::thread;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::SetupError;
use super::arch::{self, Cpu, IrqChips, KernelEntry, VcpuState, layout};
use super::bus::Bus;
use super::memory::Memory;
use super::serial::{ConsoleOutput, Serial};
use super::snapshot::KvmSnapshot;
use crate::machine::VmSpec;
use crate::virtio::mmio::Transport;
use crate::virtio::vsock::TransportQueues;
use crate::vsock::shared_device::SharedDevice;

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// Number of queues (receive and transmit) whose notifications reach the device thread by
/// ioeventfd, without an exit to user space. The third queue, for events, is almost never notified.
const IOEVENTFD_QUEUES: u32 = 2;

/// The source of a new VM's initial state.
pub(super) enum BootSource<'a> {
    /// A kernel to load.
    Kernel(&'a VmSpec),
    /// A snapshot of another VM.
    Snapshot(&'a KvmSnapshot),
}

/// The parts of a VM that no thread owns.
pub(super) struct Hardware {
    vm: VmFd,
    irq_chips: IrqChips,
    memory: Memory,
    transport: Arc<Transport>,
    bus: Arc<Bus>,
}

/// The parts of a VM that its threads own.
pub(super) struct ThreadParts {
    pub(super) cpus: Vec<Cpu>,
    pub(super) bus: Arc<Bus>,
    /// Written when the guest notifies a queue; one for each queue.
    pub(super) queue_evts: Vec<EventFd>,
    /// Wakes the device thread.
    pub(super) wake_evt: Arc<EventFd>,
    /// Once written, vCPU threads drop console output that does not fit into the pipe.
    pub(super) console_abort_evt: EventFd,
}

impl Hardware {
    /// Creates a VM with the device `shared_device`. The guest's console output goes to `console`.
    ///
    /// # Errors
    /// If KVM refuses, this machine lacks a resource, or the kernel cannot be loaded.
    pub(super) fn new(
        source: &BootSource<'_>,
        shared_device: &Arc<SharedDevice>,
        console: io::PipeWriter,
    ) -> Result<(Hardware, ThreadParts), SetupError> {
        let memory = source.create_memory().map_err(SetupError::system("map guest memory"))?;
        let map = memory.map().clone();
        thread::scope(|scope| {
            // Another thread reads the kernel at the same time, because KVM_CREATE_VM spends most
            // of its time in RCU grace periods of the host.
            let loader = match source {
                BootSource::Kernel(spec) => {
                    let thread = thread::Builder::new().name("loader".to_owned());
                    Some(thread.spawn_scoped(scope, move || load_kernel(&map, spec)))
                }
                BootSource::Snapshot(_) => None,
            };
            let loader = loader.transpose().map_err(SetupError::system("start a thread"))?;
            let result = Hardware::assemble(source, shared_device, console, memory);
            // If both the kernel and the VM failed, report the error of the kernel, because the
            // user can mend it.
            let entry = loader.map(|thread| thread.join().expect("loading does not panic"));
            let entry = entry.transpose()?;
            let (hardware, parts) = result?;
            if let (Some(entry), Some(cpu)) = (entry, parts.cpus.first()) {
                cpu.set_entry(&entry)?;
            }
            Ok((hardware, parts))
        })
    }

    /// Creates the VM, its devices and its vCPUs, without an access to the contents of `memory`.
    fn assemble(
        source: &BootSource<'_>,
        shared_device: &Arc<SharedDevice>,
        console: io::PipeWriter,
        memory: Memory,
    ) -> Result<(Hardware, ThreadParts), SetupError> {
        let kvm = kvm_ioctls::Kvm::new().map_err(SetupError::kvm("open /dev/kvm"))?;
        let vm = kvm.create_vm().map_err(SetupError::kvm("KVM_CREATE_VM"))?;
        set_memory_regions(&vm, &memory)?;
        let events = EventFds::new().map_err(SetupError::system("make an eventfd"))?;
        let device_events = events.try_clone().map_err(SetupError::system("clone an eventfd"))?;
        let output = ConsoleOutput::new(console, device_events.console_abort_evt)
            .map_err(SetupError::system("make the console"))?;
        let output = Box::new(output);
        let (serial_irq, vsock_irq) = (device_events.serial_irq, device_events.vsock_irq);
        let (map, queue_evts) = (memory.map().clone(), device_events.queue_evts);
        let weak_device = Arc::downgrade(shared_device);
        let (serial, transport) = match source {
            BootSource::Kernel(_) => (
                Serial::new(serial_irq, output),
                Transport::new(map, vsock_irq, queue_evts, weak_device),
            ),
            BootSource::Snapshot(snapshot) => (
                Serial::restore(&snapshot.serial, serial_irq, output)
                    .map_err(|error| SetupError::Device(error.to_string()))?,
                Transport::restore(map, vsock_irq, queue_evts, weak_device, &snapshot.vsock)
                    .map_err(|error| SetupError::Device(error.to_string()))?,
            ),
        };
        let transport = Arc::new(transport);
        let wake_evt = Arc::new(events.wake_evt);
        TransportQueues::attach(shared_device, transport.clone(), wake_evt.clone());
        let bus = Arc::new(Bus::new(serial, transport.clone()));
        let (serial_irq, vsock_irq, queue_evts) =
            (events.serial_irq, events.vsock_irq, events.queue_evts);
        // An interrupt that a device has asserted by now is delivered when the irqfd is registered
        // (`kvm_irqfd_assign` in `virt/kvm/eventfd.c`).
        let register_events = |vm: &VmFd| register_events(vm, &serial_irq, &vsock_irq, &queue_evts);
        let (irq_chips, cpus) = match source {
            BootSource::Kernel(spec) => arch::create_parts(&kvm, &vm, spec.cpus, register_events)?,
            BootSource::Snapshot(snapshot) => {
                arch::restore_parts(&kvm, &vm, (&snapshot.vm, &snapshot.vcpus), register_events)?
            }
        };
        let parts = ThreadParts {
            cpus,
            bus: bus.clone(),
            queue_evts: queue_evts.into(),
            wake_evt,
            console_abort_evt: events.console_abort_evt,
        };
        Ok((Hardware { vm, irq_chips, memory, transport, bus }, parts))
    }

    /// Takes a snapshot. `vcpus` are the states of the vCPUs, which must be parked. No thread may
    /// access guest memory during the call. The VM may continue after the call.
    ///
    /// # Errors
    /// If KVM refuses, or guest memory cannot be remapped.
    pub(super) fn snapshot(
        &self,
        vcpus: Vec<Arc<VcpuState>>,
        port: u32,
    ) -> Result<KvmSnapshot, SetupError> {
        Ok(KvmSnapshot {
            vm: self.irq_chips.save(&self.vm)?,
            vcpus,
            serial: self.bus.save_serial(),
            vsock: self.transport.save(),
            memory: self.memory.freeze().map_err(SetupError::system("snapshot guest memory"))?,
            ranges: self.memory.ranges(),
            port,
        })
    }
}

/// The eventfds by which guest, devices and threads notify each other; see [`ThreadParts`].
struct EventFds {
    /// Interrupts of the devices.
    serial_irq: EventFd,
    vsock_irq: EventFd,
    queue_evts: [EventFd; 3],
    wake_evt: EventFd,
    console_abort_evt: EventFd,
}

impl EventFds {
    fn new() -> io::Result<EventFds> {
        let new_event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        Ok(EventFds {
            serial_irq: new_event()?,
            vsock_irq: new_event()?,
            queue_evts: [new_event()?, new_event()?, new_event()?],
            wake_evt: new_event()?,
            console_abort_evt: new_event()?,
        })
    }

    /// Duplicates the descriptors: each eventfd has a writer and a reader, which both own a
    /// descriptor.
    fn try_clone(&self) -> io::Result<EventFds> {
        let [rx, tx, event] = &self.queue_evts;
        Ok(EventFds {
            serial_irq: self.serial_irq.try_clone()?,
            vsock_irq: self.vsock_irq.try_clone()?,
            queue_evts: [rx.try_clone()?, tx.try_clone()?, event.try_clone()?],
            wake_evt: self.wake_evt.try_clone()?,
            console_abort_evt: self.console_abort_evt.try_clone()?,
        })
    }
}

impl BootSource<'_> {
    /// Creates guest memory: zeroed, or with the contents of the snapshot.
    fn create_memory(&self) -> io::Result<Memory> {
        match self {
            BootSource::Kernel(spec) => {
                Memory::new(&arch::memory_ranges(u64::from(spec.memory_mib) * MIB))
            }
            BootSource::Snapshot(snapshot) => {
                Memory::copy_on_write(&snapshot.ranges, &snapshot.memory)
            }
        }
    }
}

/// Adds the memory to the VM, one memory slot for each region.
fn set_memory_regions(vm: &VmFd, memory: &Memory) -> Result<(), SetupError> {
    for (slot, region) in (0..).zip(memory.map().iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the range is a mapping of guest memory, which outlives the last KVM_RUN and is
        // used for nothing else.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(SetupError::kvm("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}

/// Registers the interrupts of the devices (`KVM_IRQFD`) and the guest's notifications of queues
/// (`KVM_IOEVENTFD`), so that neither takes an exit to user space.
fn register_events(
    vm: &VmFd,
    serial_irq: &EventFd,
    vsock_irq: &EventFd,
    queue_evts: &[EventFd],
) -> Result<(), SetupError> {
    for (event, gsi) in [(serial_irq, layout::SERIAL_GSI), (vsock_irq, layout::VSOCK_GSI)] {
        vm.register_irqfd(event, gsi).map_err(SetupError::kvm("KVM_IRQFD"))?;
    }
    let notify_address = layout::VSOCK_MMIO + u64::from(VIRTIO_MMIO_QUEUE_NOTIFY);
    for (event, queue) in queue_evts.iter().zip(0..IOEVENTFD_QUEUES) {
        vm.register_ioevent(event, &IoEventAddress::Mmio(notify_address), queue)
            .map_err(SetupError::kvm("KVM_IOEVENTFD"))?;
    }
    Ok(())
}

/// Loads the kernel and its boot data into guest memory. Returns the kernel's entry point.
fn load_kernel(memory: &GuestMemoryMmap, spec: &VmSpec) -> Result<KernelEntry, SetupError> {
    let cmdline = format!("{} {}", arch::kernel_arguments(), spec.cmdline);
    let (kernel, initramfs) = (&spec.kernel, &spec.initramfs);
    Ok(arch::load(memory, kernel, initramfs, cmdline.trim_end(), spec.cpus)?)
}
