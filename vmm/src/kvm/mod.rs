// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The microVM: one VM on KVM with what a kernel needs to reach its init and to be heard, and
//! nothing else: in-kernel interrupt controllers and timers, a 16550, a way to restart, and a
//! virtio-mmio vsock device.
//!
//! ```text
//! vcpu-0..7     KVM_RUN <-> bus: serial -> console's pipe, vsock's registers; the restart
//! vsock         the guest's kicks (ioeventfd) -> queues -> device core
//! (session's)   orders to the vCPUs; device core -> queues, interrupts (irqfd); the VM's end
//! ```
//!
//! An architecture is a folder, known here as `arch`:
//!
//! - `layout`: addresses and interrupts of the devices;
//! - `memory_ranges`, `kernel_arguments`, `load` to an `Entry`: the guest's memory before the first
//!   instruction;
//! - `boot` and `resume`: what KVM makes of a VM, as `Chips` and a `Cpu` for each vCPU;
//! - `Cpu`: `enter` at the kernel, `turn` in `KVM_RUN`, `save` to a `VcpuState`; `Chips`: `save` to a
//!   `VmState`;
//! - `filter`: what threads need of system calls.

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
use crate::machine::{BootError, Discovery, Machine, RunningVm, Snapshot, Vm, VmEnd, VmSpec};
use crate::poll::event_fd;
use crate::probe::{self, Probe};
use crate::vsock::device::Device;
use crate::vsock::link::Link;
use crate::vsock::stream::VsockStream;
use device::DeviceThread;
use snapshot::KvmSnapshot;
use vcpu::Vcpus;
use vm::{BootSource, Hardware};

/// How long vCPUs may take to come out of the guest. It takes microseconds on a machine that has
/// nothing else to do.
const PARK_LIMIT: Duration = Duration::from_secs(2);

/// What the backend is called in messages.
const NAME: &str = "the microVM";

/// Why a VM cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// KVM refused.
    #[error("{call}: {source}")]
    Kvm { call: &'static str, source: kvm_ioctls::Error },
    /// Another system call failed.
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
    /// What is to be written to KVM is not what KVM can have given.
    #[error("{0}")]
    State(&'static str),
    /// A register cannot be given the value that it had.
    #[error("register {0:#x} does not take its value back")]
    Register(u64),
    /// The kernel or the initramfs cannot be put into the guest.
    #[error(transparent)]
    Load(#[from] arch::LoadError),
    /// The state of the device is not one that it can have.
    #[error("the vsock device does not take its state back: {0}")]
    Device(String),
}

impl SetupError {
    fn kvm(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> SetupError {
        move |source| SetupError::Kvm { call, source }
    }

    fn register(number: impl Into<u64>) -> SetupError {
        SetupError::Register(number.into())
    }

    fn system(what: &'static str) -> impl Fn(io::Error) -> SetupError {
        move |source| SetupError::System { what, source }
    }
}

impl From<SetupError> for BootError {
    fn from(error: SetupError) -> BootError {
        match error {
            SetupError::System { what, source } => BootError::System { what, source },
            other => BootError::Refused { backend: NAME.to_owned(), message: other.to_string() },
        }
    }
}

/// The row in the table of backends.
pub const BACKEND: Backend = Backend {
    name: "kvm",
    summary: "The microVM on KVM, or an error",
    prepare: || {},
    offer: |requirements| offer(requirements, probe::cached),
};

/// Offers the microVM if the probe of /dev/kvm finds that it runs kernels.
fn offer<'p>(
    requirements: &Requirements,
    probe: impl FnOnce() -> &'p Probe,
) -> Result<Offer, Refusal> {
    let lacks = |what: &str| Err(Refusal::Requirement(what.to_owned()));
    if Arch::host() != Some(requirements.arch) {
        return Err(Refusal::Requirement(format!(
            "{} kernels do not run on this machine's processor: KVM is of no use to them",
            requirements.arch.name()
        )));
    }
    if requirements.cpu_model {
        return lacks("the microVM's CPU is this machine's: --cpu-model goes with --backend qemu");
    }
    if requirements.gdb {
        return lacks("the microVM has no debugger's stub: --gdb goes with --backend qemu");
    }
    if requirements.instruction_clock {
        return lacks("KVM counts no instructions: --by instructions goes without --backend kvm");
    }
    let probe = probe();
    if !probe.finding.is_usable() {
        return Err(Refusal::Machine(probe.finding.to_string()));
    }
    let machine = Box::new(Kvm::new(probe.to_string()));
    Ok(Offer { machine, program: None, clock: Clock::Processor })
}

/// The microVM.
#[derive(Clone, Debug)]
pub struct Kvm {
    reason: String,
}

impl Kvm {
    /// The microVM, with the reason for which it was chosen.
    #[must_use]
    pub fn new(reason: String) -> Kvm {
        Kvm { reason }
    }
}

impl Machine for Kvm {
    fn describe(&self, _: Discovery) -> String {
        // It has both.
        format!("kvm (microVM): {}", self.reason)
    }

    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError> {
        let refused = |message: &str| BootError::Refused {
            backend: NAME.to_owned(),
            message: message.to_owned(),
        };
        if spec.gdb {
            return Err(refused("it has no stub for a debugger; QEMU has one"));
        }
        if spec.cpu_model.is_some() {
            return Err(refused("its CPU is the host's; QEMU has models"));
        }
        start(BootSource::Kernel(spec), spec.port, spec.snapshot).map_err(BootError::from)
    }
}

/// Starts a VM whose host listens on vsock port `port`. With `snapshot`, a snapshot is taken when
/// the guest connects.
fn start(source: BootSource<'_>, port: u32, snapshot: bool) -> Result<RunningVm, SetupError> {
    kick::install_kick_handler().map_err(SetupError::system("handle the kick's signal"))?;
    let mut device = Device::new();
    device.listen(port);
    let link = Arc::new(Link::new(device).map_err(SetupError::system("make an eventfd"))?);
    let (console, writer) = console::pipe().map_err(SetupError::system("make the console"))?;
    let (hardware, parts) = Hardware::new(&source, &link, writer)?;
    let device = DeviceThread::start(link.clone(), parts.kicks, parts.poke, snapshot)
        .map_err(SetupError::system("start a thread"))?;
    let vcpus = Vcpus::start(parts.cpus, parts.bus, parts.hush)
        .map_err(SetupError::system("start a thread"))?;
    let stream = VsockStream::new(link.clone(), port);
    let snapshot = if snapshot { SnapshotState::Wanted } else { SnapshotState::Unwanted };
    let vm = KvmVm { vcpus, device, hardware, link, port, snapshot };
    Ok(RunningVm { vm: Box::new(vm), stream: Box::new(stream), console })
}

/// A VM with all that belongs to it. The fields are dropped in this order: nothing runs any more
/// when the memory goes.
struct KvmVm {
    vcpus: Vcpus,
    device: DeviceThread,
    hardware: Hardware,
    link: Arc<Link>,
    port: u32,
    snapshot: SnapshotState,
}

/// How far the snapshot of a VM has come.
enum SnapshotState {
    /// None is to be taken.
    Unwanted,
    /// One is to be taken when the guest connects.
    Wanted,
    /// It was taken, or could not be for this reason.
    Taken(Result<Arc<KvmSnapshot>, String>),
}

impl KvmVm {
    /// Takes a snapshot. If that fails, the VM runs on all the same.
    fn take_snapshot(&mut self) -> Result<Arc<KvmSnapshot>, String> {
        let Some(states) = self.vcpus.park(PARK_LIMIT) else {
            return Err("its vCPUs do not come to rest".to_owned());
        };
        // With the lock of the device, so that no thread of ours uses the memory.
        let snapshot = self.link.with(|_| self.hardware.snapshot(states, self.port));
        self.vcpus.resume();
        snapshot.map(Arc::new).map_err(|e| e.to_string())
    }
}

impl Vm for KvmVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![event_fd(self.vcpus.ended()), event_fd(self.device.news())]
    }

    fn advance(&mut self) -> Option<VmEnd> {
        let _ = self.device.news().read();
        let mut end = self.vcpus.end();
        if let Some(why) = self.device.failure() {
            end.get_or_insert_with(|| VmEnd::Failed(why.to_owned()));
        }
        let wanted = matches!(self.snapshot, SnapshotState::Wanted);
        if end.is_none() && wanted && self.device.has_dialled() {
            self.snapshot = SnapshotState::Taken(self.take_snapshot());
            self.device.release();
        }
        if end.is_some() {
            self.vcpus.stop();
        }
        end
    }

    fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        match &self.snapshot {
            SnapshotState::Taken(result) => {
                Some(result.clone().map(|snapshot| Snapshot::new(snapshot)))
            }
            SnapshotState::Unwanted | SnapshotState::Wanted => None,
        }
    }

    fn vcpu_states(&mut self) -> Vec<String> {
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
    fn it_is_offered_where_it_works_and_has_what_is_required() {
        let probe =
            |finding| Probe { finding, trace: Vec::new(), took: Duration::from_micros(1250) };
        let arch = Arch::host().expect("the microVM is for this machine");
        let plain = Requirements { arch, cpu_model: false, gdb: false, instruction_clock: false };
        let usable = probe(Finding::Usable);
        let Ok(Offer { machine, .. }) = offer(&plain, || &usable) else { panic!("a refusal") };
        let text = machine.describe(Discovery::default());
        assert_eq!(text, "kvm (microVM): /dev/kvm runs kernels, tried in 1.2 ms");
        let broken = probe(Finding::Broken { exit: "shutdown".to_owned() });
        let refusal = offer(&plain, || &broken).err().expect("a refusal");
        assert_eq!(refusal, Refusal::Machine("/dev/kvm does not work: shutdown".to_owned()));
        for requirements in [
            Requirements { cpu_model: true, ..plain },
            Requirements { gdb: true, ..plain },
            Requirements { instruction_clock: true, ..plain },
            Requirements { arch: Arch::S390x, ..plain },
        ] {
            let refusal = offer(&requirements, || panic!("nothing to probe")).err();
            assert!(matches!(refusal, Some(Refusal::Requirement(_))), "{requirements:?}");
        }
    }
}
