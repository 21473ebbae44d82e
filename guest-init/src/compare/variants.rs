// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the variants of a scenario in a task, and records the state that the task itself can read.
//!
//! After arming, no function here allocates or panics, since the task may be a thread without the C library,
//! and every system call outside the allowed range may be dispatched.

use super::record::{Moment, Record};
use super::scenario::{
    AltStack, Arming, Cause, Filter, History, SMALL_STACK_LENGTH, STACK_LENGTH, Scenario, VARIANTS,
    Variant,
};
use super::{proc, stacks};
use crate::arch::{self, CallInstruction, Floating, FrameFormat, Reg, Registers, WatchedCallSite};
use crate::filter::{self, statement};
use crate::support::*;
use crate::sys::{self, SigAction};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// The record to which the handler adds fields; null if the handler must add none.
static RECORD: AtomicPtr<Record> = AtomicPtr::new(std::ptr::null_mut());
/// The scenario whose watched call the next handler makes; null if the handler makes no call.
static REPEATED_SCENARIO: AtomicPtr<Scenario> = AtomicPtr::new(std::ptr::null_mut());
/// Index of the current variant.
static VARIANT_INDEX: AtomicUsize = AtomicUsize::new(0);
/// Whether the registers of the call follow the 32-bit convention.
static HAS_COMPAT_CONVENTION: AtomicBool = AtomicBool::new(false);
/// Whether handlers are installed with frames in [`FrameFormat::Compat`].
static HAS_COMPAT_FRAMES: AtomicBool = AtomicBool::new(false);
/// The number of signals handled in the current variant.
static HANDLED_SIGNALS: AtomicU32 = AtomicU32::new(0);
/// The process id and the thread id of the calling task, which are arguments of the call.
static TASK_IDS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// The value that a record contains in place of the process id and the thread id of the calling task.
pub(super) const ID_PLACEHOLDER: u64 = 0x1d;

/// Exit code of a task that ran to its end.
pub(crate) const COMPLETED: i32 = 0;
/// Exit code of a task that could not arm.
pub(crate) const NOT_ARMED: i32 = 90;
/// Exit code of a task that could not install its filter.
pub(crate) const NOT_FILTERED: i32 = 91;
/// Exit code of a task whose preparation failed at another step.
pub(crate) const NOT_PREPARED: i32 = 92;

/// The registers of the watched call: a `rt_tgsigqueueinfo(2)` that queues to its caller the
/// siginfo that a dispatch of the call would give.
pub(super) fn watched_call_registers(
    convention: CallInstruction,
    site: WatchedCallSite,
    variant: &Variant,
) -> Registers {
    let ids = [sys::getpid(), sys::gettid()].map(|id| u64::from(id.cast_unsigned()));
    for (task_id, id) in TASK_IDS.iter().zip(ids) {
        task_id.store(id, Ordering::SeqCst);
    }
    let signal = u64::from(WATCHED_SIGNAL.load(Ordering::SeqCst).cast_unsigned());
    let siginfo = SIGINFO.as_ptr() as u64;
    let (mut regs, audit_arch) =
        arch::queue_signal_call(convention, [ids[0], ids[1], signal, siginfo]);
    store_siginfo(site, &regs, audit_arch);
    if let Some(flags) = Reg::FLAGS {
        regs[flags] |= variant.processor_flags;
    }
    let is_on_alternate =
        matches!(variant.alt_stack, AltStack::Current | AltStack::CurrentAutoDisarm);
    /// The distance of the stack pointer from the end of the stack, in bytes.
    const DISTANCE_FROM_END: u64 = 256;
    regs[Reg::Sp] = stacks::top(is_on_alternate) - DISTANCE_FROM_END - variant.misalignment;
    regs
}

/// The signal mask that handlers write to their frames: the signals that variants block, SIGTTIN
/// and a real-time signal. Bit N is signal N + 1.
const EDITED_MASK: u64 = 1 << 9 | 1 << 13 | 1 << 47 | 1 << 63 | 1 << 20 | 1 << 40;

/// The signal of [`Cause::QueuedOtherSignal`]. No variant blocks it.
const OTHER_SIGNAL: i32 = libc::SIGUSR2;

/// The signal that the watched call queues.
static WATCHED_SIGNAL: AtomicI32 = AtomicI32::new(libc::SIGSYS);

/// The `siginfo_t` that the watched call queues.
static SIGINFO: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Stores in [`SIGINFO`] the siginfo that a dispatch of this call gives (`trigger_sigsys()`).
fn store_siginfo(site: WatchedCallSite, regs: &Registers, audit_arch: u32) {
    let number = number_read_by_kernel(regs[Reg::NUMBER]).cast_unsigned();
    let word_of = |first: u32, second: u32| {
        let [a, b] = [first, second].map(u32::to_ne_bytes);
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
    };
    let words = [
        // si_signo, si_errno
        word_of(WATCHED_SIGNAL.load(Ordering::SeqCst).cast_unsigned(), 0),
        // si_code, padding
        word_of(SYS_USER_DISPATCH.cast_unsigned(), 0),
        // si_call_addr
        arch::watched_call_compared_address(site),
        // si_syscall, si_arch
        word_of(number, audit_arch),
    ];
    for (siginfo_word, word) in SIGINFO.iter().zip(words) {
        siginfo_word.store(word, Ordering::SeqCst);
    }
}

/// The registers with [`ID_PLACEHOLDER`] in place of the task's ids in the argument registers. Ids in the
/// registers `unreplaced` stay.
fn replace_ids(
    registers: &Registers,
    convention: CallInstruction,
    unreplaced: &[Reg],
) -> Registers {
    let mut registers = *registers;
    for (reg, id) in arch::first_argument_registers(convention).into_iter().zip(&TASK_IDS) {
        if registers[reg] == id.load(Ordering::SeqCst) && !unreplaced.contains(&reg) {
            registers[reg] = ID_PLACEHOLDER;
        }
    }
    registers
}

/// The memory of a value as bytes.
fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: callers pass arrays of numbers only, which have no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Records registers, segment registers and floating point state. Ids in the registers `unreplaced` stay.
fn record_cpu_state(record: &Record, moment: Moment, state: &arch::CpuState, unreplaced: &[Reg]) {
    let registers = replace_ids(&state.registers, convention(), unreplaced);
    record.put(moment, "registers", bytes_of(&registers));
    record.put(moment, "segments", state.segments());
    record.put(moment, "floating", state.floating());
}

/// Records the task's signal mask, pending signals, alternate stack and segment bases. Reads them by system
/// calls inside the allowed range.
fn record_task_state(record: &Record, moment: Moment) {
    record.put_result(moment, "mask", sys::sigmask(libc::SIG_BLOCK, 0));
    let mut pending = 0u64;
    let mut stack = [0u64; 3];
    // SAFETY: writes the mask and the description of the stack.
    unsafe {
        let _ = sys::call(libc::SYS_rt_sigpending, &[&raw mut pending as u64, 8]);
        let _ = sys::call(libc::SYS_sigaltstack, &[0, stack.as_mut_ptr() as u64]);
    }
    record.put_number(moment, "pending", pending);
    record.put(moment, "alternate stack", bytes_of(&stack));
    record.put(moment, "bases", bytes_of(&arch::segment_bases()));
}

/// The names of the two stacks, as values of the field `the frame's stack`.
const STACK_NAMES: [&str; 2] = ["the stack", "the alternate stack"];
/// The names of the fields with the changes of the two stacks.
const CHANGE_NAMES: [&str; 2] = ["change of the stack", "change of the alternate stack"];
/// Names of the parts of the stack that holds a frame, in the order of [`arch::Frame::split_area`].
const PART_NAMES: [&str; 4] =
    ["below the frame", "after the frame", "floating point frame", "above the frame"];
/// Maximum number of signals of a variant that are recorded; later ones are only counted.
const MAX_RECORDED_SIGNALS: u32 = 8;

/// The instruction whose calling convention the watched call's registers follow.
fn convention() -> CallInstruction {
    if HAS_COMPAT_CONVENTION.load(Ordering::SeqCst) {
        CallInstruction::Compat
    } else {
        CallInstruction::Native
    }
}

/// The format of the signal frames of handlers.
fn frame_format() -> FrameFormat {
    if HAS_COMPAT_FRAMES.load(Ordering::SeqCst) { FrameFormat::Compat } else { FrameFormat::Native }
}

/// The Rust part of the handler of every signal, which the assembly part calls on a separate stack.
#[unsafe(no_mangle)]
extern "C" fn sudbox_record_signal(
    signal: i32,
    info: *const [u8; 128],
    context: *mut arch::UserContext,
) {
    let repeated_scenario = REPEATED_SCENARIO.swap(std::ptr::null_mut(), Ordering::SeqCst);
    if !repeated_scenario.is_null() {
        // SAFETY: `repeat_in_handler` stored the address of a scenario that lives as long as the
        // process.
        let scenario = unsafe { &*repeated_scenario };
        call_once(scenario, selector_at_call(scenario));
    }
    let record = RECORD.load(Ordering::SeqCst);
    if record.is_null() {
        return;
    }
    // SAFETY: `run_variants` stored the address before it installed the handler.
    let record = unsafe { *record };
    let count = HANDLED_SIGNALS.fetch_add(1, Ordering::SeqCst);
    let variant = VARIANTS.get(VARIANT_INDEX.load(Ordering::SeqCst)).unwrap_or(&VARIANTS[0]);
    let moment = Moment { variant: variant.name, step: "handler", count };
    if count < MAX_RECORDED_SIGNALS {
        record.put_number(moment, "signal", u64::from(signal.cast_unsigned()));
        let state = arch::state_at_handler_entry();
        record_cpu_state(&record, moment, &state, &arch::HANDLER_ARGUMENTS);
        // SAFETY: the arguments are those of this handler.
        let mut frame = unsafe { arch::Frame::copy_of(frame_format(), &state, info, context) };
        let registers = replace_ids(&frame.registers(), convention(), &[]);
        frame.set_registers(&registers);
        let in_frame = Moment { step: "frame", ..moment };
        record.put(in_frame, "registers", bytes_of(&registers));
        record.put_number(in_frame, "mask", frame.mask());
        record.put(moment, "deviations of the frame", frame.deviations());
        // The frame is between the stack pointers of the handler and of the interrupted code.
        let [frame_start, frame_end] = [state.registers[Reg::Sp], registers[Reg::Sp]];
        let written_words = stacks::written_outside(frame_start, frame_end);
        if let Some(written_words) = written_words.filter(|_| count == 0) {
            record.put_number(moment, "words written outside the frame", written_words);
        }
        record.put(moment, "frame", &frame.bytes);
        let areas = stacks::contents().into_iter().zip(stacks::changes_since_copy());
        for (index, (stack, changes)) in areas.enumerate() {
            match frame.split_area(stack) {
                Some(parts) => {
                    record.put(moment, "the frame's stack", STACK_NAMES[index].as_bytes());
                    for (part, name) in parts.into_iter().zip(PART_NAMES) {
                        record.put(moment, name, part);
                    }
                }
                // Record only the changes: the stack may contain the frame of an earlier handler, with ids
                // in its registers.
                None if arch::CAN_CHOOSE_STACK => record.put(moment, CHANGE_NAMES[index], changes),
                None => {}
            }
        }
        record_task_state(&record, moment);
        if variant.edits_frame {
            let edited = Moment { step: "edited", ..moment };
            record.put_number(edited, "mask", EDITED_MASK);
            // SAFETY: the frame is that of this handler, and is not used again before its return.
            if let Some(floating) = unsafe { frame.edit(EDITED_MASK) } {
                record.put(edited, "floating", floating.bytes());
            }
        }
    }
    // SAFETY: the kernel passes the handler its frame.
    unsafe { arch::clear_trap_flag(frame_format(), &arch::state_at_handler_entry(), context) };
    stacks::copy_stacks();
}

/// Installs the recording handler. Returns whether the kernel accepted it.
fn install_recording_handler_with(signal: i32, flags: i32, mask: u64) -> bool {
    if frame_format() == FrameFormat::Compat {
        return arch::install_compat_recording_handler(signal, flags, mask);
    }
    install_handler(signal, arch::recording_handler(), flags, mask)
}

/// Installs a handler. Returns whether the kernel accepted it.
fn install_handler(signal: i32, handler: u64, flags: i32, mask: u64) -> bool {
    let action = SigAction {
        handler,
        flags: u64::from(flags.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask,
    };
    // SAFETY: the address is that of a handler.
    unsafe { sys::sigaction(signal, &action) }.is_ok()
}

/// Sets the alternate stack of a variant.
fn set_alt_stack(alt_stack: AltStack) {
    const SS_AUTODISARM: i32 = 1 << 31;
    let (start, flags) = match alt_stack {
        AltStack::None => (0, libc::SS_DISABLE),
        AltStack::NotRequested | AltStack::Requested | AltStack::Current => {
            (stacks::alternate_start(), 0)
        }
        AltStack::AutoDisarm | AltStack::CurrentAutoDisarm => {
            (stacks::alternate_start(), SS_AUTODISARM)
        }
        AltStack::ReadOnly => (stacks::read_only_start(), 0),
        AltStack::Small => (stacks::alternate_start(), 0),
    };
    let length = if alt_stack == AltStack::Small { SMALL_STACK_LENGTH } else { STACK_LENGTH };
    // SAFETY: memory that is never unmapped.
    let _ = unsafe { sys::sigaltstack(start, length as u64, flags) };
}

/// Runs the variant with this index, and records the task's state before, during and after the call.
/// `floating` is the pattern and the initial floating point state.
fn run_variant(record: &Record, scenario: &Scenario, index: usize, floating: &[Floating; 2]) {
    let [pattern_floating, initial_floating] = floating;
    let Some(variant) = VARIANTS.get(index) else { return };
    let site = WatchedCallSite { instruction: scenario.instruction, has_breakpoint: false };
    VARIANT_INDEX.store(index, Ordering::SeqCst);
    HANDLED_SIGNALS.store(0, Ordering::SeqCst);
    stacks::fill_with_pattern();
    let signal =
        if scenario.cause == Cause::QueuedOtherSignal { OTHER_SIGNAL } else { libc::SIGSYS };
    WATCHED_SIGNAL.store(signal, Ordering::SeqCst);
    install_recording_handler_with(signal, variant.handler_flags, variant.handler_mask);
    set_alt_stack(variant.alt_stack);
    let _ = sys::sigmask(libc::SIG_SETMASK, variant.blocked);
    let must_be_pending = |signal: &i32| {
        variant.are_blocked_pending && variant.blocked & sys::signal_bit(*signal) != 0
    };
    let (process, thread) = (sys::getpid(), sys::gettid());
    for signal in (1..=64).filter(must_be_pending) {
        let _ = sys::tgkill(process, thread, signal);
    }
    let regs = watched_call_registers(scenario.convention, site, variant);
    stacks::copy_stacks();
    let floating = if variant.has_initial_floating { initial_floating } else { pattern_floating };
    let moment = Moment { variant: variant.name, step: "given", count: 0 };
    record.put(moment, "registers", bytes_of(&replace_ids(&regs, convention(), &[])));
    record.put(moment, "floating", floating.bytes());
    record_task_state(record, moment);
    if let Some(first_signal) = variant.first_signal(signal) {
        record.put_number(moment, "signal", u64::from(first_signal.cast_unsigned()));
        record.put_number(moment, "events", 1);
    }
    set_selector(selector_at_call(scenario));
    // SAFETY: the stacks are used by this call and its signal frames only.
    let state = unsafe { arch::watched_call(site, &regs, floating) };
    set_selector(ALLOW);
    let moment = Moment { variant: variant.name, step: "after", count: 0 };
    record.put_number(moment, "events", HANDLED_SIGNALS.load(Ordering::SeqCst).into());
    record_cpu_state(record, moment, &state, &[]);
    if arch::CAN_CHOOSE_STACK {
        for (changes, name) in stacks::changes_since_copy().into_iter().zip(CHANGE_NAMES) {
            record.put(moment, name, changes);
        }
    }
    record_task_state(record, moment);
    for signal in (1..=64).filter(must_be_pending) {
        let _ = sys::sigtimedwait(sys::signal_bit(signal), std::time::Duration::ZERO);
    }
    let _ = sys::sigmask(libc::SIG_SETMASK, 0);
    set_alt_stack(AltStack::None);
}

/// Makes a call that is dispatched, without recording anything.
fn make_unrecorded_dispatch() {
    set_selector(BLOCK);
    let _ = arch::gate().issue(&Registers::for_call(call_number(libc::SYS_getpid), [0; 6]));
    set_selector(ALLOW);
}

/// Installs a handler of SIGSYS that does nothing. Returns whether the kernel accepted it.
fn install_empty_handler() -> bool {
    extern "C" fn nothing(_: i32, _: *const u8, _: *mut arch::UserContext) {}
    install_handler(libc::SIGSYS, nothing as *const () as u64, libc::SA_SIGINFO, 0)
}

/// Installs the scenario's filter. Returns whether the kernel accepted it.
pub(super) fn set_filter(scenario: &Scenario) -> bool {
    let action = match scenario.filter {
        Filter::None => return true,
        Filter::AllowAll => libc::SECCOMP_RET_ALLOW,
        Filter::TrapWatchedCall => libc::SECCOMP_RET_TRAP,
    };
    let (regs, _) = arch::queue_signal_call(scenario.convention, [0; 4]);
    let number = number_read_by_kernel(regs[Reg::NUMBER]).cast_unsigned();
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, 0).is_ok()
}

/// The dispatch configuration for the scenario's cause: mode, offset, length and selector.
pub(super) fn configuration(scenario: &Scenario) -> [u64; 4] {
    let inside = arch::inside().start;
    let selector = selector_address(&SELECTOR);
    match scenario.cause {
        Cause::Dispatch | Cause::SeccompTrap | Cause::QueuedSigsys | Cause::QueuedOtherSignal => {
            [MODE_EXCLUSIVE, inside, inside_length(), selector]
        }
        Cause::DispatchWithoutSelector => [MODE_EXCLUSIVE, inside, inside_length(), 0],
        Cause::InclusiveDispatch => {
            let range = arch::watched_call_range();
            [MODE_INCLUSIVE, range.start, range.end - range.start, 0]
        }
    }
}

/// Sets the dispatch configuration. Returns whether the kernel accepted it.
fn set_configuration(mode: u64, offset: u64, length: u64, selector: u64) -> bool {
    sys::set_dispatch(mode, offset, length, selector).is_ok()
}

/// Arms the calling task as [`Scenario::arming`] says. Returns whether the kernel accepted and refused the
/// requests as expected.
fn arm_task(scenario: &Scenario) -> bool {
    let [mode, offset, length, selector] = configuration(scenario);
    let arm = || set_configuration(mode, offset, length, selector);
    let disarm = || set_configuration(MODE_OFF, 0, 0, 0);
    match scenario.arming {
        Arming::Once => arm(),
        Arming::Twice => arm() && arm(),
        Arming::Toggled => (0..1000).all(|_| arm() && disarm()) && arm(),
        Arming::WithRefusedRequests => {
            set_configuration(MODE_EXCLUSIVE, 0, u64::MAX, 0)
                && arm()
                && !set_configuration(MODE_EXCLUSIVE, 1, u64::MAX, selector)
                && !set_configuration(MODE_OFF, 1, 0, 0)
                && !set_configuration(9, 0, 0, 0)
        }
        Arming::Disarmed => arm() && disarm(),
        Arming::Never | Arming::ByTracer => true,
    }
}

/// Causes the events of the history. Returns whether the kernel accepted all requests.
fn apply_history(history: History) -> bool {
    match history {
        History::None => true,
        History::Dispatches(count) => {
            let accepted = install_empty_handler();
            for _ in 0..count {
                make_unrecorded_dispatch();
            }
            accepted
        }
        History::DispatchInHandler => {
            extern "C" fn dispatch(_: i32, _: *const u8, _: *mut arch::UserContext) {
                make_unrecorded_dispatch();
            }
            let handler = dispatch as *const () as u64;
            install_handler(libc::SIGUSR1, handler, libc::SA_SIGINFO, 0)
                && install_empty_handler()
                && sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1).is_ok()
                && {
                    // SAFETY: the default action.
                    unsafe { sys::sigaction(libc::SIGUSR1, &SigAction::default()) }.is_ok()
                }
        }
    }
}

/// Prepares the task for its first watched call: handlers, filter, arming and history.
///
/// # Errors
/// The exit code that names the step which failed.
pub(super) fn set_up_task(scenario: &Scenario) -> Result<(), i32> {
    HAS_COMPAT_CONVENTION.store(scenario.convention != CallInstruction::Native, Ordering::SeqCst);
    HAS_COMPAT_FRAMES.store(scenario.frames == FrameFormat::Compat, Ordering::SeqCst);
    let flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    let install = |signal| install_recording_handler_with(signal, flags, 0);
    if ![libc::SIGTRAP, libc::SIGSEGV].into_iter().all(install) {
        return Err(NOT_PREPARED);
    }
    if !set_filter(scenario) {
        return Err(NOT_FILTERED);
    }
    if !arm_task(scenario) || !apply_history(scenario.history) {
        return Err(NOT_ARMED);
    }
    Ok(())
}

/// Installs the recording handler for a signal, with the flags of the first variant. The handler
/// records nothing outside [`run_variants`].
pub(super) fn install_recording_handler(signal: i32) {
    install_recording_handler_with(signal, VARIANTS[0].handler_flags, 0);
}

/// Makes the next handler issue the watched call of this scenario again.
pub(super) fn repeat_in_handler(scenario: &Scenario) {
    REPEATED_SCENARIO.store(std::ptr::from_ref(scenario).cast_mut(), Ordering::SeqCst);
}

/// Makes the watched call of the first variant once, with this selector value and without recording.
pub(super) fn call_once(scenario: &Scenario, selector: u8) {
    call_once_from(
        WatchedCallSite { instruction: scenario.instruction, has_breakpoint: false },
        scenario,
        selector,
    );
}

/// As [`call_once`], right after a breakpoint if the architecture's watched call can have one.
pub(super) fn call_once_at_breakpoint(scenario: &Scenario, selector: u8) {
    let has_breakpoint = arch::HAS_CALL_BREAKPOINTS;
    let site = WatchedCallSite { instruction: scenario.instruction, has_breakpoint };
    call_once_from(site, scenario, selector);
}

/// As [`call_once`], at this site.
fn call_once_from(site: WatchedCallSite, scenario: &Scenario, selector: u8) {
    stacks::fill_with_pattern();
    let regs = watched_call_registers(scenario.convention, site, &VARIANTS[0]);
    let floating = Floating::pattern();
    set_selector(selector);
    // SAFETY: the stacks are used by this call and its signal frames only.
    let _ = unsafe { arch::watched_call(site, &regs, &floating) };
    set_selector(ALLOW);
}

/// Forks with these flags right after a breakpoint, if the architecture has one. Returns the
/// child's process id, or 0 in the child.
pub(super) fn fork_at_breakpoint(flags: i32) -> u64 {
    // The registers of the watched call, with number and arguments of clone(2).
    let breakpoint = WatchedCallSite { instruction: CallInstruction::Native, has_breakpoint: true };
    let mut regs = watched_call_registers(CallInstruction::Native, breakpoint, &VARIANTS[0]);
    let arguments = arch::clone_arguments(u64::from(flags.cast_unsigned()), 0);
    for (reg, value) in Reg::ARGUMENTS.into_iter().zip(arguments.into_iter().chain([0; 4])) {
        regs[reg] = value;
    }
    regs[Reg::NUMBER] = call_number(libc::SYS_clone);
    let site = WatchedCallSite {
        instruction: CallInstruction::Native,
        has_breakpoint: arch::HAS_CALL_BREAKPOINTS,
    };
    // SAFETY: this task uses the stack, and the child has its own copy.
    let after = unsafe { arch::watched_call(site, &regs, &Floating::initial()) };
    after.registers[Reg::RESULT]
}

/// The value of the selector at the watched call.
pub(super) fn selector_at_call(scenario: &Scenario) -> u8 {
    if scenario.cause == Cause::Dispatch { BLOCK } else { ALLOW }
}

/// Runs the scenario's variants in the calling task, then records the task's `/proc` status.
/// Returns the task's exit code.
pub(super) fn run_variants(record: &Record, scenario: &Scenario) -> i32 {
    RECORD.store(std::ptr::from_ref(record).cast_mut(), Ordering::SeqCst);
    if let Err(code) = set_up_task(scenario) {
        return code;
    }
    let floating = [Floating::pattern(), Floating::initial()];
    for (index, variant) in VARIANTS.iter().enumerate() {
        let is_possible = arch::CAN_CHOOSE_STACK || variant.alt_stack == AltStack::None;
        if is_possible && scenario.runs(variant) {
            run_variant(record, scenario, index, &floating);
        }
    }
    proc::record_status(record, Moment { variant: "end", step: "status", count: 0 });
    COMPLETED
}
