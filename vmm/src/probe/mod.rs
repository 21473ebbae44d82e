//! Whether /dev/kvm can run a kernel: found out by running a few instructions of one.
//!
//! Neither that /dev/kvm is there nor what it says of itself answers this. A PVM hypervisor offers
//! the whole interface and every capability, and yet runs no kernel that was not written for it.
//! So a VM of one vCPU does what each kernel does, one step after the other, in a millisecond or two
//! where it works.
//!
//! A pass is necessary for a kernel to run, and not sufficient.

use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod judge;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod kicks;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod open;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod trial;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

/// What /dev/kvm is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It runs kernels.
    Usable,
    /// There is no KVM.
    Absent {
        /// In words.
        why: String,
    },
    /// This process may not use it.
    NoPermission {
        /// What to do about that.
        hint: String,
    },
    /// It works, but not as an unmodified kernel needs it.
    Unsupported {
        /// What stopped the probe.
        stop: Stop,
    },
    /// It is there and does not work.
    Broken {
        /// How the VM ended, or what the host's kernel refused.
        exit: String,
    },
    /// It runs kernels, but emulates their instructions one by one.
    Slow {
        /// Ticks of the processor's counter that a loop took in a program of the guest's.
        guest: u64,
        /// Ticks of the same loop outside.
        host: u64,
    },
}

/// What stands between /dev/kvm and an unmodified kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This program has no payload for the architecture it was built for.
    Architecture,
    /// The interface lacks something.
    Lacks(String),
    /// An exception or an interrupt that a processor would not have given.
    Fault {
        /// What that means for what was being tried.
        failure: &'static str,
        /// Which, and where, in words.
        fault: String,
    },
    /// Something is not as the processor's manual promises.
    Wrong {
        /// What that means for what was being tried.
        failure: &'static str,
        /// What is wrong, and what the value is.
        what: &'static str,
        /// The value.
        value: u64,
    },
}

impl Finding {
    /// Whether the microVM can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        *self == Finding::Usable
    }

    /// Whether QEMU may run kernels on this KVM though the microVM cannot: what is missing is a part
    /// that QEMU can do without, or has itself.
    #[must_use]
    pub fn may_do_for_qemu(&self) -> bool {
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
                write!(f, "no probe for {} yet", std::env::consts::ARCH)
            }
            Stop::Lacks(what) => write!(f, "it has no {what}"),
            Stop::Fault { failure, fault } => write!(f, "{failure} {fault}"),
            Stop::Wrong { failure, what, value } => write!(f, "{failure} ({what} {value:X}h)"),
        }
    }
}

/// What was found, and how.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The answer.
    pub finding: Finding,
    /// One line for each thing that was tried and what came of it.
    pub trace: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, tried in {:.1} ms", self.finding, self.took.as_secs_f64() * 1000.0)
    }
}

/// Opens /dev/kvm and tries it. Takes a millisecond or two where it works; a guest that hangs
/// costs 50 ms, or as much more as this machine is slower than others.
///
/// Leaves nothing behind but the handler of the signal by which vCPUs are kicked.
#[must_use]
pub fn probe() -> Probe {
    let start = Instant::now();
    let mut trace = Vec::new();
    // A thread of its own, so that the caller's signal mask and timers stay as they are.
    let finding = thread::scope(|scope| {
        thread::Builder::new()
            .name("kvm-probe".to_owned())
            .spawn_scoped(scope, || attempt(&mut trace))
            .map_or_else(
                |error| Finding::Broken { exit: format!("no thread to try it in: {error}") },
                |thread| thread.join().expect("the probe does not panic"),
            )
    });
    Probe { finding, trace, took: start.elapsed() }
}

/// Returns the result of this process's first call, which probes.
pub fn cached() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(probe)
}

#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use trial::attempt;

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn attempt(_trace: &mut Vec<String>) -> Finding {
    Finding::Unsupported { stop: Stop::Architecture }
}
