//! One VM: its parts, put together.

use std::io;
use std::sync::Arc;
use std::thread;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::SetupError;
use super::arch::{self, Chips, Cpu, Entry, VcpuState, layout};
use super::bus::Bus;
use super::memory::Memory;
use super::serial::{Output, Serial};
use super::snapshot::KvmSnapshot;
use crate::machine::VmSpec;
use crate::virtio::mmio::Transport;
use crate::virtio::vsock::Virtqueues;
use crate::vsock::link::Link;

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// The device's queues whose notifications come without an exit to this process. The third, for
/// events, is hardly ever notified.
const NOTIFIED: u32 = 2;

/// Source of a new VM's first state.
pub(super) enum BootSource<'a> {
    /// A kernel to load.
    Kernel(&'a VmSpec),
    /// A snapshot of another VM.
    Snapshot(&'a KvmSnapshot),
}

/// What of a VM belongs to none of its threads.
pub(super) struct Hardware {
    vm: VmFd,
    chips: Chips,
    memory: Memory,
    transport: Arc<Transport>,
    bus: Arc<Bus>,
}

/// What the threads get.
pub(super) struct Parts {
    pub(super) cpus: Vec<Cpu>,
    pub(super) bus: Arc<Bus>,
    /// The guest's notifications, by queue.
    pub(super) kicks: Vec<EventFd>,
    /// Wakes the thread of the device.
    pub(super) poke: Arc<EventFd>,
    /// Written to, it makes vCPUs drop what they cannot write to the console.
    pub(super) hush: EventFd,
}

impl Hardware {
    /// Makes a VM whose device is `link`'s and which prints to `console`.
    ///
    /// # Errors
    /// If KVM refuses, this machine has too little of something, or the kernel cannot be loaded.
    pub(super) fn new(
        source: &BootSource<'_>,
        link: &Arc<Link>,
        console: io::PipeWriter,
    ) -> Result<(Hardware, Parts), SetupError> {
        let memory = source.memory().map_err(SetupError::system("map guest memory"))?;
        let map = memory.map().clone();
        thread::scope(|scope| {
            // A kernel is read while KVM makes the VM, which is mostly waiting for the host's RCU.
            let loading = match source {
                BootSource::Kernel(spec) => {
                    let thread = thread::Builder::new().name("loader".to_owned());
                    Some(thread.spawn_scoped(scope, move || load(&map, spec)))
                }
                BootSource::Snapshot(_) => None,
            };
            let loading = loading.transpose().map_err(SetupError::system("start a thread"))?;
            let assembled = Hardware::assemble(source, link, console, memory);
            // The kernel first: of two things that are wrong, it is the one to change.
            let entry = loading.map(|thread| thread.join().expect("loading does not panic"));
            let entry = entry.transpose()?;
            let (hardware, parts) = assembled?;
            if let (Some(entry), Some(cpu)) = (entry, parts.cpus.first()) {
                cpu.enter(&entry)?;
            }
            Ok((hardware, parts))
        })
    }

    /// Puts everything together but what is in the memory.
    fn assemble(
        source: &BootSource<'_>,
        link: &Arc<Link>,
        console: io::PipeWriter,
        memory: Memory,
    ) -> Result<(Hardware, Parts), SetupError> {
        let kvm = kvm_ioctls::Kvm::new().map_err(SetupError::kvm("open /dev/kvm"))?;
        let vm = kvm.create_vm().map_err(SetupError::kvm("KVM_CREATE_VM"))?;
        provide(&vm, &memory)?;
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        let twin = |event: &EventFd| event.try_clone();
        let (serial_irq, vsock_irq, hush, poke, kicks) = (|| {
            Ok((event()?, event()?, event()?, Arc::new(event()?), [event()?, event()?, event()?]))
        })()
        .map_err(SetupError::system("make an eventfd"))?;
        let weak = Arc::downgrade(link);
        let output = twin(&hush)
            .and_then(|stop| Output::new(console, stop))
            .map_err(SetupError::system("make the console"))?;
        let output = Box::new(output);
        let theirs = (|| Ok([twin(&kicks[0])?, twin(&kicks[1])?, twin(&kicks[2])?]))()
            .map_err(SetupError::system("make an eventfd"))?;
        let memory_map = memory.map().clone();
        let lines = (|| Ok((twin(&serial_irq)?, twin(&vsock_irq)?)))()
            .map_err(SetupError::system("make an eventfd"))?;
        let (serial, transport) = match source {
            BootSource::Kernel(_) => (
                Serial::new(serial_irq, output),
                Transport::new(memory_map, vsock_irq, theirs, weak),
            ),
            BootSource::Snapshot(snapshot) => (
                Serial::restore(&snapshot.serial, serial_irq, output)
                    .map_err(|e| SetupError::Device(e.to_string()))?,
                Transport::restore(memory_map, vsock_irq, theirs, weak, &snapshot.vsock)
                    .map_err(|e| SetupError::Device(e.to_string()))?,
            ),
        };
        let transport = Arc::new(transport);
        Virtqueues::attach(link, transport.clone(), poke.clone());
        let bus = Arc::new(Bus::new(serial, transport.clone()));
        // What the devices have asserted by now is asserted as soon as KVM knows the lines
        // (`kvm_irqfd_assign` in `virt/kvm/eventfd.c`).
        let connect = |vm: &VmFd| connect(vm, &lines.0, &lines.1, &kicks);
        let (chips, cpus) = match source {
            BootSource::Kernel(spec) => arch::boot(&kvm, &vm, spec.cpus, connect)?,
            BootSource::Snapshot(snapshot) => {
                arch::resume(&kvm, &vm, (&snapshot.vm, &snapshot.vcpus), connect)?
            }
        };
        let parts = Parts { cpus, bus: bus.clone(), kicks: kicks.into(), poke, hush };
        Ok((Hardware { vm, chips, memory, transport, bus }, parts))
    }

    /// Takes a snapshot. The vCPUs must be parked and no thread may use guest memory meanwhile; the
    /// VM may run on afterwards.
    ///
    /// # Errors
    /// If KVM refuses, or guest memory cannot be mapped anew.
    pub(super) fn snapshot(
        &self,
        vcpus: Vec<Arc<VcpuState>>,
        port: u32,
    ) -> Result<KvmSnapshot, SetupError> {
        Ok(KvmSnapshot {
            vm: self.chips.save(&self.vm)?,
            vcpus,
            serial: self.bus.save_serial(),
            vsock: self.transport.save(),
            memory: self.memory.freeze().map_err(SetupError::system("snapshot guest memory"))?,
            ranges: self.memory.ranges(),
            port,
        })
    }
}

impl BootSource<'_> {
    fn memory(&self) -> io::Result<Memory> {
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

/// Gives the VM its memory.
fn provide(vm: &VmFd, memory: &Memory) -> Result<(), SetupError> {
    for (slot, region) in (0..).zip(memory.map().iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the range is a mapping of guest memory, which outlives the VM's last run and is
        // used for nothing else.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(SetupError::kvm("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}

/// Lets the devices interrupt the guest, and the guest notify the device, without this process
/// leaving or entering it.
fn connect(
    vm: &VmFd,
    serial: &EventFd,
    vsock: &EventFd,
    kicks: &[EventFd],
) -> Result<(), SetupError> {
    for (event, gsi) in [(serial, layout::SERIAL_GSI), (vsock, layout::VSOCK_GSI)] {
        vm.register_irqfd(event, gsi).map_err(SetupError::kvm("KVM_IRQFD"))?;
    }
    let notify = layout::VSOCK_MMIO + u64::from(VIRTIO_MMIO_QUEUE_NOTIFY);
    for (kick, queue) in kicks.iter().zip(0..NOTIFIED) {
        vm.register_ioevent(kick, &IoEventAddress::Mmio(notify), queue)
            .map_err(SetupError::kvm("KVM_IOEVENTFD"))?;
    }
    Ok(())
}

/// Puts a kernel into memory and says where it begins.
fn load(memory: &GuestMemoryMmap, spec: &VmSpec) -> Result<Entry, SetupError> {
    let cmdline = format!("{} {}", arch::kernel_arguments(), spec.cmdline);
    let (kernel, initramfs) = (&spec.kernel, &spec.initramfs);
    Ok(arch::load(memory, kernel, initramfs, cmdline.trim_end(), spec.cpus)?)
}
