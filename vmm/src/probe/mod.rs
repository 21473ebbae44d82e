// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The probe: tests whether /dev/kvm can run a kernel, by a small VM that uses the same functions of
//! the processor as a kernel.
//!
//! The existence and the capabilities of /dev/kvm do not show that KVM runs kernels: a PVM
//! hypervisor offers the whole interface and every capability, but runs only kernels that were
//! written for PVM. The probe therefore runs a VM with one vCPU, which uses system registers, user
//! mode, page tables, a timer interrupt and a page fault. If KVM works, the probe takes one or two
//! milliseconds.
//!
//! If the probe fails, no kernel can run. If the probe succeeds, a kernel may still fail.

use std::fmt::{self, Display};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// On architectures without a microVM, `no_test_vm.rs` replaces this module.
#[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), path = "no_test_vm.rs")]
mod test_vm;

use test_vm::run_probe;

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
        /// The reason.
        reason: UnsupportedReason,
    },
    /// KVM exists and does not work.
    Broken {
        /// The last exit of the VM, or the failed call.
        cause: String,
    },
    /// KVM runs kernels, but emulates their instructions one by one.
    Slow {
        /// Ticks of the time stamp counter that a loop took in the guest's user mode.
        guest_ticks: u64,
        /// Ticks of the time stamp counter that the same loop took on the host.
        host_ticks: u64,
    },
}

/// Reason why /dev/kvm cannot run an unmodified kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnsupportedReason {
    /// The probe does not support the host's architecture.
    Architecture,
    /// KVM lacks this capability or device.
    MissingFeature(String),
    /// The guest got an exception or an interrupt that a processor would not raise.
    UnexpectedFault {
        /// Consequence of the failed step, for a message.
        failure: &'static str,
        /// The exception and its address, for a message.
        fault: String,
    },
    /// A result differs from the processor's manual.
    WrongResult {
        /// Consequence of the failed step, for a message.
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

    /// Returns true if QEMU may be able to use KVM although the microVM cannot: QEMU may not need
    /// the missing feature, or may emulate it.
    #[must_use]
    pub fn may_work_for_qemu(&self) -> bool {
        matches!(
            self,
            Finding::Unsupported {
                reason: UnsupportedReason::MissingFeature(_) | UnsupportedReason::Architecture
            }
        )
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Usable => write!(f, "/dev/kvm runs kernels"),
            Finding::Absent { why } => write!(f, "{why}"),
            Finding::NoPermission { hint } => write!(f, "no permission for /dev/kvm: {hint}"),
            Finding::Unsupported { reason } => write!(f, "/dev/kvm cannot run kernels: {reason}"),
            Finding::Broken { cause } => write!(f, "/dev/kvm does not work: {cause}"),
            Finding::Slow { guest_ticks, host_ticks } => write!(
                f,
                "/dev/kvm is too slow: a program takes {} times as long as on the host, \
                 because KVM emulates its instructions",
                guest_ticks / (*host_ticks).max(1)
            ),
        }
    }
}

impl Display for UnsupportedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnsupportedReason::Architecture => {
                write!(f, "the probe does not support {}", std::env::consts::ARCH)
            }
            UnsupportedReason::MissingFeature(feature) => write!(f, "it has no {feature}"),
            UnsupportedReason::UnexpectedFault { failure, fault } => write!(f, "{failure} {fault}"),
            UnsupportedReason::WrongResult { failure, what, value } => {
                write!(f, "{failure} ({what} {value:X}h)")
            }
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
    pub duration: Duration,
}

impl Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, tried in {:.1} ms", self.finding, self.duration.as_secs_f64() * 1000.0)
    }
}

/// Maximum duration of the probe. Longer than a probe on an emulated machine under load, whose `KVM_RUN` returns
/// at the timer's signal.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Probes /dev/kvm. Takes one or two milliseconds if KVM works, and 50 ms if the guest hangs. Slow
/// hosts need more time. A KVM that does not answer within 20 s is [`Finding::Broken`]; the thread that waits for
/// it is left behind.
///
/// After the probe, only the handler of the kick signal remains installed.
#[must_use]
pub fn probe() -> Probe {
    let start = Instant::now();
    let (finding, trace) = run_in_thread(PROBE_LIMIT, || {
        let mut trace = Vec::new();
        (run_probe(&mut trace), trace)
    });
    Probe { finding, trace, duration: start.elapsed() }
}

/// Runs `run` in a thread, because the probe changes the signal mask and creates a timer, and waits for at most
/// `limit`: an ioctl of a broken KVM may not return, not even at a signal.
fn run_in_thread(
    limit: Duration,
    run: impl FnOnce() -> (Finding, Vec<String>) + Send + 'static,
) -> (Finding, Vec<String>) {
    let broken = |cause: String| (Finding::Broken { cause }, Vec::new());
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("kvm-probe".to_owned()).spawn(move || {
        // Nobody receives a late result.
        let _ = sender.send(run());
    });
    if let Err(error) = thread {
        return broken(format!("cannot start a thread: {error}"));
    }
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            broken(format!("no answer within {} s", limit.as_secs()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => broken("the probe panicked".to_owned()),
    }
}

/// Probes /dev/kvm at the first call in this process. Later calls return the result of the first
/// call.
pub fn cached_probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kvm_that_does_not_answer_is_broken() {
        let (finding, _) = run_in_thread(Duration::from_secs(1), || {
            loop {
                thread::park();
            }
        });
        assert_eq!(finding, Finding::Broken { cause: "no answer within 1 s".to_owned() });
        let answer = (Finding::Usable, vec!["a step".to_owned()]);
        let expected = answer.clone();
        assert_eq!(run_in_thread(Duration::from_secs(60), || answer), expected);
    }
}
