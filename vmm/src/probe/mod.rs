// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The probe: tests whether /dev/kvm can run a kernel, by running what a kernel does.
//!
//! The existence of /dev/kvm and its capabilities are not sufficient: a PVM hypervisor offers the whole
//! interface and every capability, but only runs kernels that were written for it. So the probe runs a VM
//! with one vCPU, which does what every kernel does: system registers, user mode and back, page tables, a
//! timer interrupt, a page fault. If KVM works, this takes one or two milliseconds.
//!
//! Passing is necessary for a kernel to run, but not sufficient.

use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

// The module with the VM has a replacement on other architectures.
#[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), path = "no_test_vm.rs")]
mod test_vm;

use test_vm::attempt;

/// Result of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// /dev/kvm runs kernels.
    Usable,
    /// There is no KVM on this machine.
    Absent {
        /// The reason, for a message.
        why: String,
    },
    /// This process may not open /dev/kvm.
    NoPermission {
        /// The remedy, for a message.
        hint: String,
    },
    /// KVM runs the VM, but lacks something that an unmodified kernel needs.
    Unsupported {
        /// The reason why the probe stopped.
        stop: Stop,
    },
    /// KVM exists and does not work.
    Broken {
        /// The last exit of the VM, or the failed call.
        exit: String,
    },
    /// KVM runs kernels, but emulates their instructions one by one.
    Slow {
        /// Ticks of the time stamp counter that a loop took in the guest's user mode.
        guest: u64,
        /// Ticks that the same loop took on the host.
        host: u64,
    },
}

/// Reason why /dev/kvm cannot run an unmodified kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The probe does not support the host's architecture.
    Architecture,
    /// KVM lacks this capability or device.
    Lacks(String),
    /// The guest got an exception or an interrupt that a processor would not raise.
    Fault {
        /// Meaning of the failure of the step.
        failure: &'static str,
        /// The exception and where it was raised, for a message.
        fault: String,
    },
    /// A result differs from the processor's manual.
    Wrong {
        /// Meaning of the failure of the step.
        failure: &'static str,
        /// The result that is wrong, and the meaning of `value`.
        what: &'static str,
        /// The value found.
        value: u64,
    },
}

impl Finding {
    /// Returns true if the microVM can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        *self == Finding::Usable
    }

    /// Returns true if QEMU may be able to use this KVM although the microVM cannot, because QEMU does not
    /// need the missing feature or emulates it.
    #[must_use]
    pub fn may_work_for_qemu(&self) -> bool {
        matches!(self, Finding::Unsupported { stop: Stop::Lacks(_) | Stop::Architecture })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Usable => write!(f, "/dev/kvm runs kernels"),
            Finding::Absent { why } => write!(f, "{why}"),
            Finding::NoPermission { hint } => write!(f, "no permission for /dev/kvm: {hint}"),
            Finding::Unsupported { stop } => write!(f, "/dev/kvm cannot run kernels: {stop}"),
            Finding::Broken { exit } => write!(f, "/dev/kvm does not work: {exit}"),
            Finding::Slow { guest, host } => write!(
                f,
                "/dev/kvm is too slow: a program takes {} times as long as outside, \
                 so its instructions are emulated",
                guest / (*host).max(1)
            ),
        }
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Architecture => {
                write!(f, "the probe does not support {}", std::env::consts::ARCH)
            }
            Stop::Lacks(what) => write!(f, "it has no {what}"),
            Stop::Fault { failure, fault } => write!(f, "{failure} {fault}"),
            Stop::Wrong { failure, what, value } => write!(f, "{failure} ({what} {value:X}h)"),
        }
    }
}

/// Result of the probe, with its steps.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The result.
    pub finding: Finding,
    /// One line for each step and its result.
    pub trace: Vec<String>,
    /// Duration of the probe.
    pub took: Duration,
}

impl Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, tried in {:.1} ms", self.finding, self.took.as_secs_f64() * 1000.0)
    }
}

/// Probes /dev/kvm. Takes a millisecond or two where it works. A guest that hangs costs 50 ms, more on
/// slow machines.
///
/// Afterwards, only the handler of the kick signal remains installed.
#[must_use]
pub fn probe() -> Probe {
    let start = Instant::now();
    let mut trace = Vec::new();
    // In a separate thread, because the probe changes the signal mask and creates a timer.
    let finding = thread::scope(|scope| {
        thread::Builder::new()
            .name("kvm-probe".to_owned())
            .spawn_scoped(scope, || attempt(&mut trace))
            .map_or_else(
                |error| Finding::Broken { exit: format!("cannot start a thread: {error}") },
                |thread| thread.join().expect("the probe does not panic"),
            )
    });
    Probe { finding, trace, took: start.elapsed() }
}

/// Probes at the first call in this process, and returns that result at later calls.
pub fn cached() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(probe)
}
