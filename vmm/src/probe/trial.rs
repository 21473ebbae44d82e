//! The trial itself, the same on every architecture: what /dev/kvm says of itself, then a VM that
//! does one step after the other. The VM and its steps are the architecture's ([`super::arch`]).

use std::fmt::Display;
use std::time::{Duration, Instant};

use kvm_bindings::{KVM_API_VERSION, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryError, GuestMemoryMmap,
};

use super::arch::memory::{GIVEN, SIZE};
use super::arch::{Guest, KICK_LOOPS, LOOP, NEEDED, STEPS, payload};
use super::judge::{End, Said, Speed, judge};
use super::kicks::Kicks;
use super::{Finding, Stop, open};

/// One of the things that are tried, in an order of the architecture's.
#[derive(Debug)]
pub(super) struct Step {
    /// What it means that this works.
    pub(super) success: &'static str,
    /// What it means that this does not work.
    pub(super) failure: &'static str,
}

/// What the guest left `KVM_RUN` for.
pub(super) enum Turn {
    /// It wrote a letter: a step is done, or [`STOPPED`].
    Letter(u8),
    /// Something else, in KVM's words.
    Other(String),
}

/// Written instead of a step's letter when the report says why.
pub(super) const STOPPED: u8 = b'!';

/// What the last step finds in the page that it maps, [`GIVEN`], and what it writes there.
pub(super) const BEFORE: u64 = 0x5375_6442_6f78_2131;
pub(super) const AFTER: u64 = 0x5375_6442_6f78_2132;

/// Kicks without a step in between after which the guest counts as hung. More than one, because a
/// guest that shares its processor with others may not have run since the last.
const PATIENCE: u32 = 5;

/// The least time between two kicks: with [`PATIENCE`], a guest that hangs costs 50 ms.
const KICK: Duration = Duration::from_millis(10);

/// See [`super::probe`].
pub(super) fn attempt(trace: &mut Vec<String>) -> Finding {
    match examine(trace) {
        Ok(finding) | Err(finding) => finding,
    }
}

/// The whole probe; an early end is an error.
fn examine(trace: &mut Vec<String>) -> Result<Finding, Finding> {
    let kvm = Kvm::new().map_err(|error| {
        trace.push(format!("open /dev/kvm: {error}"));
        open::refused(&error.into(), &open::Node::look())
    })?;
    trace.push("open /dev/kvm: done".to_owned());
    interface(&kvm, trace)?;

    let start = Instant::now();
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)])
        .map_err(refused("mapping memory"))?;
    payload::write(&memory).map_err(refused("writing to memory"))?;
    let vm = kvm.create_vm().map_err(|error| open::no_vm(&error.into()))?;
    provide(&vm, &memory)?;
    let mut guest = Guest::make(&kvm, &vm)?;
    trace.push(format!("VM with interrupt controllers and a vCPU: {}", time(start.elapsed())));

    let (host, loop_time) = payload::speed_here();
    let period = KICK.max(loop_time * KICK_LOOPS);
    let kicks = Kicks::start(period)
        .map_err(|error| Finding::Broken { exit: format!("no timer to end it: {error}") })?;
    let (done, end) = run(&mut guest, trace);
    drop(kicks);

    let (mut said, ticks) = guest.report(&memory).map_err(refused("reading its memory"))?;
    if end == End::Done && said == Said::Nothing {
        said = written_through(&memory).map_err(refused("reading its memory"))?;
    }
    if done > LOOP {
        trace.push(format!("loop in a program: {ticks} ticks, outside: {host} ticks"));
    }
    Ok(judge(&STEPS, done, &end, said, Speed { guest: ticks, host }))
}

/// What /dev/kvm says of itself.
fn interface(kvm: &Kvm, trace: &mut Vec<String>) -> Result<(), Finding> {
    let version = kvm.get_api_version();
    trace.push(format!("API version: {version}"));
    if version < 0 {
        return Err(Finding::Broken { exit: "it is not the device of KVM".to_owned() });
    }
    if version.cast_unsigned() != KVM_API_VERSION {
        let lacks = format!("API version {KVM_API_VERSION}, but {version}");
        return Err(Finding::Unsupported { stop: Stop::Lacks(lacks) });
    }
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(capability, _)| !kvm.check_extension(*capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        trace.push(format!("capabilities: all {} that are needed", NEEDED.len()));
        Ok(())
    } else {
        let missing = missing.join(", ");
        trace.push(format!("capabilities: no {missing}"));
        Err(Finding::Unsupported { stop: Stop::Lacks(missing) })
    }
}

/// The finding for a call that the host's kernel refused.
pub(super) fn refused<E: Display>(what: &'static str) -> impl Fn(E) -> Finding {
    move |error| Finding::Broken { exit: format!("{what}: {error}") }
}

/// Gives the VM its memory.
fn provide(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), Finding> {
    let userspace_addr =
        memory.get_host_address(GuestAddress(0)).map_err(refused("finding memory"))?.addr() as u64;
    let region = kvm_userspace_memory_region {
        memory_size: SIZE as u64,
        userspace_addr,
        ..Default::default()
    };
    // SAFETY: The mapping has this size, and in `examine` it lives longer than VM and vCPU.
    unsafe { vm.set_user_memory_region(region) }.map_err(refused("KVM_SET_USER_MEMORY_REGION"))
}

/// Looks whether the last step wrote to the page that it mapped.
///
/// # Errors
/// If the memory is smaller than [`SIZE`].
pub(super) fn written_through(memory: &GuestMemoryMmap) -> Result<Said, GuestMemoryError> {
    let value = memory.read_obj(GuestAddress(GIVEN))?;
    Ok(if value == AFTER {
        Said::Nothing
    } else {
        Said::Wrong { what: "a write to the page that was mapped is lost: value", value }
    })
}

/// Lets the guest run. Returns how many steps it did, and how that ended.
fn run(guest: &mut Guest, trace: &mut Vec<String>) -> (usize, End) {
    let mut kicks = 0;
    let mut start = Instant::now();
    let mut steps = (b'A'..).zip(&STEPS).enumerate();
    let mut next = steps.next();
    while let Some((done, (letter, step))) = next {
        let label = char::from(letter);
        let turn = guest.turn();
        let with_place = |words: &str| End::Exit(format!("{words}, {}", guest.place()));
        let end = match turn {
            Ok(Turn::Letter(written)) if written == letter => {
                trace.push(format!("{label} {}: {}", step.success, time(start.elapsed())));
                (kicks, start) = (0, Instant::now());
                next = steps.next();
                continue;
            }
            Ok(Turn::Letter(STOPPED)) => End::Reported,
            Ok(Turn::Letter(other)) => with_place(&format!("the letter {other:#x} out of turn")),
            Ok(Turn::Other(words)) => with_place(&words),
            Err(error) if error.errno() == libc::EINTR => {
                kicks += 1;
                if kicks < PATIENCE {
                    continue;
                }
                End::Hang { place: guest.place() }
            }
            Err(error) => with_place(&format!("KVM_RUN: {error}")),
        };
        trace.push(format!("{label} {}: no, after {}", step.success, time(start.elapsed())));
        return (done, end);
    }
    (STEPS.len(), End::Done)
}

/// A time for people, in milliseconds.
fn time(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
