// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM: a VM on KVM with the few devices that a kernel needs to reach its init and to
//! communicate with the host: in-kernel interrupt controllers and timers, a 16550 UART, a device to
//! restart, and a virtio-mmio vsock device.
//!
//! ```text
//! thread            work
//! vcpu-0..7         KVM_RUN; the guest's accesses to UART, virtio-mmio registers and restart device
//! vsock             queue notifications (ioeventfd) -> transmit queue -> device core
//! session's thread  orders to the vCPUs; device core -> receive queue, interrupts (irqfd)
//! ```
//!
//! Each architecture is a folder with the same interface, called `arch` here:
//!
//! - `layout`: addresses and interrupts of the devices;
//! - `memory_ranges`, `kernel_arguments`, `load`: guest memory before the first instruction; `load`
//!   returns the `KernelEntry`, where the kernel starts;
//! - `create_parts`, `restore_parts`: the VM's parts inside KVM, as `IrqChips` (interrupt
//!   controllers, timers) and one `Cpu` for each vCPU;
//! - `Cpu::set_entry` sets the registers to a `KernelEntry`, `Cpu::run` is one `KVM_RUN` with its
//!   exit, `Cpu::save` returns a `VcpuState`; `IrqChips::save` returns a `VmState`;
//! - `filter`: the system calls that only this architecture's threads make.

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
pub mod bus;
mod device;
pub(crate) mod kick;
mod load;
mod memory;
mod seccomp;
pub mod serial;
mod snapshot;
mod vcpu;
mod vm;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use sudbox_protocol::Arch;

use crate::backend::{Backend, Clock, Offer, Refusal, Requirements};
use crate::console;
use crate::machine::{
    BackendSnapshot, BootError, DeviceDiscovery, Machine, RunningVm, Snapshot, Vm, VmEnd, VmSpec,
};
use crate::poll::borrow_eventfd;
use crate::probe::{self, Probe};
use crate::vsock::device::Device;
use crate::vsock::shared_device::SharedDevice;
use crate::vsock::stream::VsockStream;
use device::DeviceThread;
use snapshot::KvmSnapshot;
use vcpu::Vcpus;
use vm::{BootSource, Hardware};

/// Time limit for parking the vCPUs, which takes microseconds on an idle host.
const PARK_LIMIT: Duration = Duration::from_secs(2);

/// Name of the backend in messages.
const BACKEND_NAME: &str = "the microVM";

/// Error: a VM cannot be set up or restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// An ioctl of KVM failed.
    #[error("{call}: {source}")]
    Kvm { call: &'static str, source: kvm_ioctls::Error },
    /// Another system call failed.
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
    /// A saved state is invalid: KVM never returns such a state.
    #[error("{0}")]
    State(&'static str),
    /// KVM did not accept the saved value of this register.
    #[error("failed to restore register {0:#x}")]
    Register(u64),
    /// The kernel or the initramfs cannot be loaded.
    #[error(transparent)]
    Load(#[from] arch::LoadError),
    /// The saved state of a device is invalid.
    #[error("failed to restore a device: {0}")]
    Device(String),
}

impl SetupError {
    fn kvm(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> SetupError {
        move |source| SetupError::Kvm { call, source }
    }

    fn refused_register(number: impl Into<u64>) -> SetupError {
        SetupError::Register(number.into())
    }

    fn system(action: &'static str) -> impl Fn(io::Error) -> SetupError {
        move |source| SetupError::System { action, source }
    }
}

impl From<SetupError> for BootError {
    fn from(error: SetupError) -> BootError {
        match error {
            SetupError::System { action, source } => BootError::System { action, source },
            other => {
                BootError::Refused { backend: BACKEND_NAME.to_owned(), message: other.to_string() }
            }
        }
    }
}

/// The row in the table of backends.
pub const BACKEND: Backend = Backend {
    name: "kvm",
    summary: "The microVM on KVM, or an error",
    prepare: || {},
    offer: |requirements| offer(requirements, probe::cached_probe),
};

/// Offers the microVM if the probe of /dev/kvm finds that it runs kernels.
fn offer<'p>(
    requirements: &Requirements,
    probe: impl FnOnce() -> &'p Probe,
) -> Result<Offer, Refusal> {
    let refuse = |message: &str| Err(Refusal::UnmetRequirement(message.to_owned()));
    if Arch::host() != Some(requirements.arch) {
        return Err(Refusal::UnmetRequirement(format!(
            "{} kernels do not run on this machine's processor, so KVM cannot run them",
            requirements.arch.name()
        )));
    }
    if requirements.names_cpu_model {
        return refuse("the microVM's CPU is this machine's: --cpu-model needs --backend qemu");
    }
    if requirements.waits_for_gdb {
        return refuse("the microVM has no gdb stub: --gdb needs --backend qemu");
    }
    if requirements.clock_counts_instructions {
        return refuse("KVM counts no instructions: leave --backend kvm out for --by instructions");
    }
    let probe = probe();
    if !probe.finding.is_usable() {
        return Err(Refusal::UnusableHost(probe.finding.to_string()));
    }
    let machine = Box::new(MicroVm::new(probe.to_string()));
    Ok(Offer { machine, required_program: None, clock: Clock::Processor })
}

/// The machine of this backend.
#[derive(Clone, Debug)]
pub struct MicroVm {
    reason: String,
}

impl MicroVm {
    /// Creates the machine. `reason` is the reason for the choice of this backend.
    #[must_use]
    pub fn new(reason: String) -> MicroVm {
        MicroVm { reason }
    }
}

impl Machine for MicroVm {
    fn describe(&self, _: DeviceDiscovery) -> String {
        // The kernel finds the same devices by its command line and by ACPI.
        format!("kvm (microVM): {}", self.reason)
    }

    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError> {
        let refusal = |message: &str| BootError::Refused {
            backend: BACKEND_NAME.to_owned(),
            message: message.to_owned(),
        };
        if spec.wait_for_gdb {
            return Err(refusal("the microVM has no gdb stub; QEMU has one"));
        }
        if spec.cpu_model.is_some() {
            return Err(refusal("the microVM's CPU is the host's; QEMU has CPU models"));
        }
        let snapshot =
            if spec.take_snapshot { SnapshotState::Wanted } else { SnapshotState::Unwanted };
        start(BootSource::Kernel(spec), spec.vsock_port, snapshot).map_err(BootError::from)
    }
}

/// Starts a VM whose host listens on vsock port `port`. `snapshot` is [`SnapshotState::Unwanted`]
/// or [`SnapshotState::Wanted`].
fn start(
    source: BootSource<'_>,
    port: u32,
    snapshot: SnapshotState,
) -> Result<RunningVm, SetupError> {
    // A snapshot contains the guest's first packet, so the device must not take the packet before.
    let is_paused = matches!(snapshot, SnapshotState::Wanted);
    kick::install_kick_handler().map_err(SetupError::system("handle the kick's signal"))?;
    let mut device = Device::new();
    device.listen(port);
    let shared_device =
        Arc::new(SharedDevice::new(device).map_err(SetupError::system("make an eventfd"))?);
    let (console, writer) = console::pipe().map_err(SetupError::system("make the console"))?;
    let (hardware, parts) = Hardware::new(&source, &shared_device, writer)?;
    let device =
        DeviceThread::start(shared_device.clone(), parts.queue_evts, parts.wake_evt, is_paused)
            .map_err(SetupError::system("start a thread"))?;
    let vcpus = Vcpus::start(parts.cpus, parts.bus, parts.console_abort_evt)
        .map_err(SetupError::system("start a thread"))?;
    let stream = VsockStream::new(shared_device.clone(), port);
    let vm = KvmVm { vcpus, device, hardware, shared_device, port, snapshot };
    Ok(RunningVm { vm: Box::new(vm), stream: Box::new(stream), console })
}

impl BackendSnapshot for KvmSnapshot {
    fn resume(&self) -> Result<RunningVm, BootError> {
        start(BootSource::Snapshot(self), self.port, SnapshotState::Unwanted)
            .map_err(BootError::from)
    }
}

/// A running VM. The fields are dropped in the order of their declaration, so that all threads have
/// ended before guest memory is unmapped.
struct KvmVm {
    vcpus: Vcpus,
    device: DeviceThread,
    hardware: Hardware,
    shared_device: Arc<SharedDevice>,
    port: u32,
    snapshot: SnapshotState,
}

/// Progress of the snapshot of a VM.
enum SnapshotState {
    /// No snapshot was requested.
    Unwanted,
    /// A snapshot is taken when the guest connects.
    Wanted,
    /// The snapshot was taken, or failed for this reason.
    Taken(Result<Arc<KvmSnapshot>, String>),
}

impl KvmVm {
    /// Takes a snapshot. The VM continues even if the snapshot fails.
    fn take_snapshot(&mut self) -> Result<Arc<KvmSnapshot>, String> {
        let Some(states) = self.vcpus.park(PARK_LIMIT) else {
            return Err("the vCPUs did not leave the guest in time".to_owned());
        };
        // While the device is locked, no thread of this process accesses guest memory.
        let snapshot = self.shared_device.with(|_| self.hardware.snapshot(states, self.port));
        self.vcpus.resume();
        snapshot.map(Arc::new).map_err(|error| error.to_string())
    }
}

impl Vm for KvmVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![borrow_eventfd(self.vcpus.ended_evt()), borrow_eventfd(self.device.changed_evt())]
    }

    fn handle_events(&mut self) -> Option<VmEnd> {
        let _ = self.device.changed_evt().read();
        let mut vm_end = self.vcpus.end();
        if let Some(reason) = self.device.failure() {
            vm_end.get_or_insert_with(|| VmEnd::Failed(reason.to_owned()));
        }
        let is_snapshot_wanted = matches!(self.snapshot, SnapshotState::Wanted);
        if vm_end.is_none() && is_snapshot_wanted && self.device.has_connected() {
            self.snapshot = SnapshotState::Taken(self.take_snapshot());
            self.device.resume();
        }
        if vm_end.is_some() {
            self.vcpus.stop();
        }
        vm_end
    }

    fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        match &self.snapshot {
            SnapshotState::Taken(result) => {
                Some(result.clone().map(|snapshot| Snapshot::new(snapshot)))
            }
            SnapshotState::Unwanted | SnapshotState::Wanted => None,
        }
    }

    fn describe_vcpus_before_end(&mut self) -> Vec<String> {
        let Some(states) = self.vcpus.park(PARK_LIMIT) else { return Vec::new() };
        self.vcpus.resume();
        states.iter().enumerate().map(|(index, state)| state.describe(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Finding;

    #[test]
    fn the_microvm_is_offered_if_it_works_and_meets_the_requirements() {
        let probe =
            |finding| Probe { finding, trace: Vec::new(), duration: Duration::from_micros(1250) };
        let arch = Arch::host().expect("the microVM is for this machine");
        let no_extras = Requirements {
            arch,
            names_cpu_model: false,
            waits_for_gdb: false,
            clock_counts_instructions: false,
        };
        let usable = probe(Finding::Usable);
        let Ok(Offer { machine, .. }) = offer(&no_extras, || &usable) else { panic!("a refusal") };
        let text = machine.describe(DeviceDiscovery::default());
        assert_eq!(text, "kvm (microVM): /dev/kvm runs kernels, tried in 1.2 ms");
        let broken = probe(Finding::Broken { cause: "shutdown".to_owned() });
        let refusal = offer(&no_extras, || &broken).err().expect("a refusal");
        assert_eq!(refusal, Refusal::UnusableHost("/dev/kvm does not work: shutdown".to_owned()));
        for requirements in [
            Requirements { names_cpu_model: true, ..no_extras },
            Requirements { waits_for_gdb: true, ..no_extras },
            Requirements { clock_counts_instructions: true, ..no_extras },
            Requirements { arch: Arch::S390x, ..no_extras },
        ] {
            let refusal = offer(&requirements, || panic!("nothing to probe")).err();
            assert!(matches!(refusal, Some(Refusal::UnmetRequirement(_))), "{requirements:?}");
        }
    }
}
