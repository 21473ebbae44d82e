// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the probe: checks the capabilities of /dev/kvm, then runs a VM whose code, the payload,
//! executes one step after the other. Each architecture has its own VM and steps ([`arch`]).

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod judge;
mod kick_timer;
mod open;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

use std::fmt::Display;
use std::time::{Duration, Instant};

use kvm_bindings::{KVM_API_VERSION, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryError, GuestMemoryMmap,
};

use super::{Finding, UnsupportedReason};
use arch::memory::{MAPPED_PAGE, MEMORY_SIZE};
use arch::{CAPABILITIES, Guest, LOOPS_PER_KICK, STEPS, TIMED_STEP, payload};
use judge::{LoopTicks, PayloadEnd, PayloadReport, judge};
use kick_timer::KickTimer;

/// A step of the payload.
#[derive(Debug)]
struct Step {
    /// Description of the successful step, for the trace.
    success: &'static str,
    /// Consequence of the failed step, for a message.
    failure: &'static str,
}

/// Result of one `KVM_RUN`.
enum PayloadExit {
    /// The payload wrote a letter: that of the step that it has completed, `A` for the first step,
    /// or [`STOP_LETTER`].
    Letter(u8),
    /// Another exit, as kvm-ioctls formats it.
    Other(String),
}

/// Letter that the payload writes when it stops early. The payload's report has the reason.
const STOP_LETTER: u8 = b'!';

/// First word of [`MAPPED_PAGE`], the page that the last step maps, before the step.
const PATTERN_BEFORE: u64 = 0x5375_6442_6f78_2131;
/// First word of [`MAPPED_PAGE`] after the last step.
const PATTERN_AFTER: u64 = 0x5375_6442_6f78_2132;

/// Number of kicks without a completed step after which the guest counts as hung. One kick is not
/// enough, because on a busy processor the guest may not have run since the last kick.
const KICKS_UNTIL_HUNG: u32 = 5;

/// Minimum time between two kicks. With [`KICKS_UNTIL_HUNG`], a hang is detected after 50 ms.
const KICK_PERIOD: Duration = Duration::from_millis(10);

/// Runs the probe; see [`super::probe`]. Adds a line to `trace` for each step of the probe.
pub(super) fn run_probe(trace: &mut Vec<String>) -> Finding {
    match try_run_probe(trace) {
        Ok(finding) | Err(finding) => finding,
    }
}

/// Runs the probe.
///
/// # Errors
/// The finding, if the payload could not be run.
fn try_run_probe(trace: &mut Vec<String>) -> Result<Finding, Finding> {
    let kvm = Kvm::new().map_err(|error| {
        trace.push(format!("open /dev/kvm: {error}"));
        open::explain_open(&error.into(), &open::DeviceNode::examine())
    })?;
    trace.push("open /dev/kvm: done".to_owned());
    check_capabilities(&kvm, trace)?;

    let start = Instant::now();
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)])
        .map_err(call_failed("mapping memory"))?;
    payload::write(&memory).map_err(call_failed("writing to memory"))?;
    let vm = kvm.create_vm().map_err(|error| open::explain_create_vm(&error.into()))?;
    set_memory_region(&vm, &memory)?;
    let mut guest = Guest::create(&kvm, &vm)?;
    trace.push(format!(
        "VM with interrupt controllers and a vCPU: {}",
        format_milliseconds(start.elapsed())
    ));

    let (host_ticks, loop_time) = payload::time_loop_on_host();
    let period = KICK_PERIOD.max(loop_time * LOOPS_PER_KICK);
    let kick_timer = KickTimer::start(period)
        .map_err(|error| Finding::Broken { cause: format!("cannot make a timer: {error}") })?;
    let (completed_steps, end) = run(&mut guest, trace);
    drop(kick_timer);

    let (mut report, guest_ticks) =
        guest.report(&memory).map_err(call_failed("reading its memory"))?;
    if end == PayloadEnd::Done && report == PayloadReport::NothingWrong {
        report = check_last_write(&memory).map_err(call_failed("reading its memory"))?;
    }
    if completed_steps > TIMED_STEP {
        trace.push(format!("loop in user mode: {guest_ticks} ticks, on the host: {host_ticks}"));
    }
    Ok(judge(
        &STEPS,
        completed_steps,
        &end,
        report,
        LoopTicks { guest: guest_ticks, host: host_ticks },
    ))
}

/// Checks API version and capabilities.
fn check_capabilities(kvm: &Kvm, trace: &mut Vec<String>) -> Result<(), Finding> {
    let version = kvm.get_api_version();
    trace.push(format!("API version: {version}"));
    if version < 0 {
        return Err(Finding::Broken { cause: "it is not the device of KVM".to_owned() });
    }
    if version.cast_unsigned() != KVM_API_VERSION {
        let missing = format!("API version {KVM_API_VERSION}, but version {version}");
        return Err(Finding::Unsupported { reason: UnsupportedReason::MissingFeature(missing) });
    }
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(capability, _)| !kvm.check_extension(*capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        trace.push(format!("capabilities: all {} that are needed", CAPABILITIES.len()));
        Ok(())
    } else {
        let missing = missing.join(", ");
        trace.push(format!("capabilities: no {missing}"));
        Err(Finding::Unsupported { reason: UnsupportedReason::MissingFeature(missing) })
    }
}

/// Returns a function that converts the error of a failed call to the finding. `action` names the
/// call.
fn call_failed<E: Display>(action: &'static str) -> impl Fn(E) -> Finding {
    move |error| Finding::Broken { cause: format!("{action}: {error}") }
}

/// Adds the memory to the VM.
fn set_memory_region(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), Finding> {
    let userspace_addr =
        memory.get_host_address(GuestAddress(0)).map_err(call_failed("finding memory"))?.addr()
            as u64;
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY_SIZE as u64,
        userspace_addr,
        ..Default::default()
    };
    // SAFETY: The mapping has this size, and in `try_run_probe` the mapping lives longer than VM
    // and vCPU.
    unsafe { vm.set_user_memory_region(region) }.map_err(call_failed("KVM_SET_USER_MEMORY_REGION"))
}

/// Checks that the write of the last step reached [`MAPPED_PAGE`].
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`].
fn check_last_write(memory: &GuestMemoryMmap) -> Result<PayloadReport, GuestMemoryError> {
    let value = memory.read_obj(GuestAddress(MAPPED_PAGE))?;
    Ok(if value == PATTERN_AFTER {
        PayloadReport::NothingWrong
    } else {
        PayloadReport::WrongResult { result_name: "a write to the new page is lost: value", value }
    })
}

/// Runs the payload. Returns the number of completed steps and the payload's end.
fn run(guest: &mut Guest, trace: &mut Vec<String>) -> (usize, PayloadEnd) {
    let mut kicks = 0;
    let mut start = Instant::now();
    let mut steps = (b'A'..).zip(&STEPS).enumerate();
    let mut next_step = steps.next();
    while let Some((completed_steps, (letter, step))) = next_step {
        let label = char::from(letter);
        let exit = guest.run();
        let with_registers =
            |description: &str| PayloadEnd::Exit(format!("{description}, {}", guest.describe()));
        let end = match exit {
            Ok(PayloadExit::Letter(written)) if written == letter => {
                trace.push(format!(
                    "{label} {}: {}",
                    step.success,
                    format_milliseconds(start.elapsed())
                ));
                (kicks, start) = (0, Instant::now());
                next_step = steps.next();
                continue;
            }
            Ok(PayloadExit::Letter(STOP_LETTER)) => PayloadEnd::Reported,
            Ok(PayloadExit::Letter(other)) => {
                with_registers(&format!("the unexpected letter {other:#x}"))
            }
            Ok(PayloadExit::Other(description)) => with_registers(&description),
            Err(error) if error.errno() == libc::EINTR => {
                kicks += 1;
                if kicks < KICKS_UNTIL_HUNG {
                    continue;
                }
                PayloadEnd::Hang { registers: guest.describe() }
            }
            Err(error) => with_registers(&format!("KVM_RUN: {error}")),
        };
        trace.push(format!(
            "{label} {}: failed after {}",
            step.success,
            format_milliseconds(start.elapsed())
        ));
        return (completed_steps, end);
    }
    (STEPS.len(), PayloadEnd::Done)
}

/// Formats a time in milliseconds.
fn format_milliseconds(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
