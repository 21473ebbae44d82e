// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Executes a sequence on this kernel and records the observed events.
//!
//! From the first step on, all tasks issue system calls only through gates and in the allowed
//! range, so they must not allocate, format or panic.

use super::model::{Event, EventKind, INITIAL_UMASK, number_and_arguments, registers};
use super::operations::{Call, CallSite, Disposition, Layout, NewTask, Operation, Step};
use crate::arch::{self, Reg, UserContext};
use crate::case::Failure;
use crate::oracle::Config;
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::shared::SigsysRecord;
use crate::support::{spawn_child, wait_for_change};
use crate::sys::{self, Action, Change};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Maximum number of events that are recorded. Generated sequences have far fewer.
const MAX_EVENTS: usize = 1024;

/// Seconds after which SIGALRM kills a sequence, which normally takes milliseconds.
const TIME_LIMIT_SECONDS: u64 = 3;

/// Pages of the stack of a child or thread, on which signal frames nest.
const STACK_PAGES: usize = 32;

/// The memory of an event.
#[repr(C)]
struct EventSlot {
    /// 1 when the event is written completely.
    complete: AtomicU32,
    event: UnsafeCell<Event>,
}

/// The memory that all processes of a sequence share, zeroed before each sequence.
#[repr(C)]
struct EventLog {
    count: AtomicU32,
    /// The configuration that a traced task asks its tracer to set: mode, offset, length, selector.
    requested_configuration: UnsafeCell<[u64; 4]>,
    slots: [EventSlot; MAX_EVENTS],
}

/// The address of the events, which [`map_event_log`] maps.
static EVENT_LOG: AtomicPtr<EventLog> = AtomicPtr::new(std::ptr::null_mut());

/// The selectors of a sequence.
static SELECTORS: [AtomicU8; 2] = [AtomicU8::new(0), AtomicU8::new(0)];

/// A step in progress, for the signal handlers.
struct StepInProgress<'a> {
    step: &'a Step,
    /// Whether the step runs in a tracee.
    is_tracee: bool,
    /// The number of dispatches of the step's call.
    dispatches: AtomicU32,
}

/// The step whose call is in progress in this task, for the handler of SIGSYS.
static STEP_OF_CALL: AtomicPtr<StepInProgress<'static>> = AtomicPtr::new(std::ptr::null_mut());
/// The step that raises SIGUSR1, for the handler of SIGUSR1.
static STEP_OF_SIGUSR1: AtomicPtr<StepInProgress<'static>> = AtomicPtr::new(std::ptr::null_mut());

/// The layout of this program.
pub(super) fn layout() -> Layout {
    let inside = arch::inside();
    Layout {
        compared_addresses: [
            inside.start + arch::CALL_LENGTH,
            arch::gate().compared_address(),
            arch::second_gate().compared_address(),
            arch::compat_gate().compared_address(),
        ],
        inside,
        selectors: [SELECTORS[0].as_ptr() as u64, SELECTORS[1].as_ptr() as u64],
        unmapped_address: 0x10,
        kernel_address: arch::KERNEL_ADDRESS,
    }
}

/// Maps the memory for the events.
pub(super) fn map_event_log() -> sys::Result<()> {
    if EVENT_LOG.load(Ordering::SeqCst).is_null() {
        EVENT_LOG.store(sys::map_shared(size_of::<EventLog>())?.cast(), Ordering::SeqCst);
    }
    Ok(())
}

fn event_log() -> &'static EventLog {
    // SAFETY: `map_event_log` maps it before any sequence. Zeros are valid in all fields that are
    // read before they are written, and an event is read only when it is complete.
    unsafe { &*EVENT_LOG.load(Ordering::SeqCst) }
}

/// Records an event of a step.
fn record(step: u16, kind: EventKind) {
    let slot = event_log().count.fetch_add(1, Ordering::SeqCst) as usize;
    if let Some(slot) = event_log().slots.get(slot) {
        // SAFETY: the counter gives each slot to one task only.
        unsafe { *slot.event.get() = Event { step, kind } };
        slot.complete.store(1, Ordering::SeqCst);
    }
}

/// Executes a sequence in a child process. Returns the observed events in order.
///
/// # Errors
/// If the child cannot be started.
pub(super) fn execute(steps: &[Step]) -> Result<Vec<Event>, Failure> {
    // SAFETY: no other process uses the memory now, and zeros are valid.
    unsafe { EVENT_LOG.load(Ordering::SeqCst).cast::<u8>().write_bytes(0, size_of::<EventLog>()) };
    let child = spawn_child(|| {
        // `struct itimerval` for one signal.
        let timer = [0, 0, TIME_LIMIT_SECONDS, 0];
        let real = u64::from(libc::ITIMER_REAL.cast_unsigned());
        // SAFETY: reads the timer.
        let set_up = unsafe {
            sys::call(libc::SYS_setitimer, &[real, timer.as_ptr() as u64, 0])
                .and_then(|_| sys::call(libc::SYS_umask, &[INITIAL_UMASK]))
        };
        if let Err(error) = set_up
            .and_then(|_| install_usr1_handler())
            .and_then(|()| set_disposition(Disposition::Handler))
        {
            record(0, EventKind::SetupFailed(error.0));
        }
        run_steps(steps, false);
        record_final_umask(0)
    })?;
    record_end(0, wait_for_change(child)?);
    let recorded = (event_log().count.load(Ordering::SeqCst) as usize).min(MAX_EVENTS);
    let complete = event_log().slots[..recorded]
        .iter()
        .take_while(|slot| slot.complete.load(Ordering::SeqCst) == 1);
    // SAFETY: the events are complete, and all writers have ended.
    Ok(complete.map(|slot| unsafe { *slot.event.get() }).collect())
}

/// Records the umask of a process at its end, and returns the process's exit code.
fn record_final_umask(step: u16) -> i32 {
    // SAFETY: touches no memory.
    match unsafe { sys::call(libc::SYS_umask, &[0]) } {
        Ok(mask) => record(step, EventKind::FinalUmask(mask)),
        Err(error) => record(step, EventKind::SetupFailed(error.0)),
    }
    0
}

fn record_end(step: u16, change: Change) {
    record(
        step,
        match change {
            Change::Exited(code) => EventKind::Exited(code),
            Change::Killed { signal, .. } => EventKind::Killed(signal),
            Change::Stopped(signal) => EventKind::Stopped(signal),
        },
    );
}

/// Waits for a child and records its end.
fn await_end(step: u16, child: i32) {
    match sys::wait(child, libc::__WALL) {
        Ok(Some((_, change))) => record_end(step, change),
        Ok(None) => record(step, EventKind::SetupFailed(0)),
        Err(error) => record(step, EventKind::SetupFailed(error.0)),
    }
}

/// Executes steps in this task, which is a tracee if `is_tracee`.
fn run_steps(steps: &[Step], is_tracee: bool) {
    for step in steps {
        let done = match &step.operation {
            Operation::Call { site, call, .. } => {
                issue_call(step, *site, *call, is_tracee);
                Ok(())
            }
            Operation::Flip { byte, value } => {
                SELECTORS[*byte].store(*value, Ordering::SeqCst);
                Ok(())
            }
            Operation::SetDisposition(disposition) => set_disposition(*disposition),
            Operation::SetSigsysBlocked(blocked) => {
                let how = if *blocked { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
                sys::sigmask(how, sys::signal_bit(libc::SIGSYS)).map(drop)
            }
            Operation::RaiseSigusr1(_) => {
                with_step_in_progress(&STEP_OF_SIGUSR1, step, is_tracee, || {
                    sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1)
                })
            }
            Operation::StartTask(new_task, body) => start_task(step.number, *new_task, body),
            Operation::SetByTracer(arguments) if is_tracee => {
                // SAFETY: the tracer reads it only while this task is stopped.
                unsafe {
                    *event_log().requested_configuration.get() = layout().arguments(*arguments)
                };
                sys::kill(sys::getpid(), libc::SIGSTOP)
            }
            Operation::SetByTracer(_) => Ok(()),
        };
        if let Err(error) = done {
            record(step.number, EventKind::SetupFailed(error.0));
        }
    }
}

/// Runs a function while `holder` holds the step in progress for the handlers.
fn with_step_in_progress<T>(
    holder: &AtomicPtr<StepInProgress<'static>>,
    step: &Step,
    is_tracee: bool,
    run: impl FnOnce() -> T,
) -> T {
    let mut current = StepInProgress { step, is_tracee, dispatches: AtomicU32::new(0) };
    // Handlers use the step only while `run` runs, so the static lifetime is not used.
    let before = holder.swap((&raw mut current).cast(), Ordering::SeqCst);
    let result = run();
    holder.store(before, Ordering::SeqCst);
    result
}

/// Issues the call of a step and records the return of the call.
fn issue_call(step: &Step, site: CallSite, call: Call, is_tracee: bool) {
    let gate = match site {
        CallSite::Inside => {
            let (number, arguments) = number_and_arguments(site, call, &layout());
            // SAFETY: none of these calls touches memory; the selector is only read.
            let result = unsafe { arch::issue_inside(number, arguments) }.cast_unsigned();
            record(step.number, EventKind::Returned { result, preserved: true });
            return;
        }
        CallSite::FirstGate => arch::gate(),
        CallSite::SecondGate => arch::second_gate(),
        CallSite::CompatGate => arch::compat_gate(),
    };
    let regs = registers(site, call, &layout());
    let after = with_step_in_progress(&STEP_OF_CALL, step, is_tracee, || gate.issue(&regs));
    let preserved = Reg::ALL.into_iter().all(|reg| {
        let may_differ = [Reg::RESULT, Reg::Sp, Reg::INSTRUCTION_POINTER].contains(&reg);
        may_differ || Reg::CLOBBERED_BY_CALL.contains(&reg) || after[reg] == regs[reg]
    });
    record(step.number, EventKind::Returned { result: after[Reg::RESULT], preserved });
}

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut UserContext) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (*info, &mut *frame) };
    let registers = frame.registers;
    let seen = SigsysRecord { info, registers, flags: 0, stack: 0, frame_mask: 0 };
    // SAFETY: `with_step_in_progress` sets the step while a call is issued, and the step outlives
    // the call.
    let current = unsafe { STEP_OF_CALL.load(Ordering::SeqCst).as_ref() };
    let event = EventKind::Dispatched {
        number: seen.number(),
        code: seen.code(),
        errno: seen.errno(),
        arch: seen.arch(),
        call_address: seen.call_address(),
        result: registers[Reg::RESULT],
    };
    let Some(current) = current else { return record(0, event) };
    record(current.step.number, event);
    let Operation::Call { handler, reissues, .. } = &current.step.operation else { return };
    if current.dispatches.fetch_add(1, Ordering::SeqCst) > 0 {
        return;
    }
    run_steps(handler, current.is_tracee);
    if *reissues {
        frame.registers[Reg::INSTRUCTION_POINTER] -= arch::CALL_LENGTH;
    }
}

extern "C" fn on_sigusr1(_: i32, _: *const u8, _: *mut UserContext) {
    // SAFETY: `with_step_in_progress` sets the step until the signal is handled.
    if let Some(current) = unsafe { STEP_OF_SIGUSR1.load(Ordering::SeqCst).as_ref() } {
        run_steps(current.step.body(), current.is_tracee);
    }
}

fn set_disposition(disposition: Disposition) -> sys::Result<()> {
    let handler = on_sigsys as *const () as u64;
    let (handler, flags) = match disposition {
        Disposition::Handler => (handler, 0),
        Disposition::NoDefer => (handler, libc::SA_NODEFER),
        Disposition::ResetHand => (handler, libc::SA_RESETHAND),
        Disposition::Default => (0, 0),
        Disposition::Ignored => (1, 0),
    };
    install_handler(libc::SIGSYS, handler, flags)
}

fn install_usr1_handler() -> sys::Result<()> {
    install_handler(libc::SIGUSR1, on_sigusr1 as *const () as u64, libc::SA_NODEFER)
}

fn install_handler(signal: i32, handler: u64, flags: i32) -> sys::Result<()> {
    let flags = u64::from((flags | libc::SA_SIGINFO).cast_unsigned()) | sys::SA_RESTORER;
    let action = Action { handler, flags, restorer: arch::restorer(), mask: 0 };
    // SAFETY: both addresses are those of signal handlers.
    unsafe { sys::sigaction(signal, &action) }
}

/// Executes steps in a new task and waits for its end.
fn start_task(step: u16, new_task: NewTask, body: &[Step]) -> sys::Result<()> {
    let (call, signal) =
        (STEP_OF_CALL.load(Ordering::SeqCst), STEP_OF_SIGUSR1.load(Ordering::SeqCst));
    let result = match new_task {
        NewTask::Fork => fork_task(|| {
            run_steps(body, false);
            record_final_umask(step)
        })
        .map(|child| await_end(step, child)),
        NewTask::Traced { stops_at_calls } => fork_task(|| {
            // SAFETY: takes no pointers.
            let asked =
                unsafe { sys::call(libc::SYS_ptrace, &[u64::from(libc::PTRACE_TRACEME), 0, 0, 0]) };
            if let Err(error) = asked.and_then(|_| sys::kill(sys::getpid(), libc::SIGSTOP)) {
                record(step, EventKind::SetupFailed(error.0));
            }
            run_steps(body, true);
            record_final_umask(step)
        })
        .and_then(|child| trace_child(step, child, stops_at_calls)),
        NewTask::Vfork => run_vforked(step, body),
        NewTask::Thread => run_thread(body),
    };
    // A child in the same memory may have been killed during a call.
    STEP_OF_CALL.store(call, Ordering::SeqCst);
    STEP_OF_SIGUSR1.store(signal, Ordering::SeqCst);
    result
}

fn fork_task(run: impl FnOnce() -> i32) -> sys::Result<i32> {
    // SAFETY: the child takes no locks.
    match unsafe { sys::fork() }? {
        0 => {
            // SAFETY: takes no pointers.
            let _ = unsafe { sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0) };
            sys::exit(run())
        }
        child => Ok(child),
    }
}

/// The steps of a task that runs on its own stack.
struct TaskBody<'a> {
    /// The number of the step that starts the task.
    step: u16,
    steps: &'a [Step],
    /// 1 when a thread has run the steps.
    done: AtomicU32,
}

impl TaskBody<'_> {
    /// Starts the task with these flags of clone(2). The task's stack is never freed, since nothing
    /// reports when a thread has left its stack.
    fn start(&self, flags: i32, enter: extern "C" fn(u64) -> u64) -> sys::Result<i32> {
        let length = STACK_PAGES * 4096;
        // SAFETY: newly mapped and zeroed.
        let stack = unsafe { std::slice::from_raw_parts_mut(sys::map_private(length)?, length) };
        let top = arch::prepare_stack(stack, enter, std::ptr::from_ref(self) as u64);
        let arguments = [u64::from(flags.cast_unsigned()), top, 0, 0];
        // SAFETY: the stack is prepared and stays mapped.
        let result = unsafe { arch::spawn(libc::SYS_clone.cast_unsigned(), arguments) };
        sys::split_result(result).map(|child| i32::try_from(child).unwrap_or(-1))
    }
}

fn run_vforked(step: u16, body: &[Step]) -> sys::Result<()> {
    extern "C" fn enter(task: u64) -> u64 {
        // SAFETY: the parent passes the address of a live value, and waits.
        let task = unsafe { &*(task as *const TaskBody<'_>) };
        run_steps(task.steps, false);
        sys::exit(record_final_umask(task.step))
    }
    let task = TaskBody { step, steps: body, done: AtomicU32::new(0) };
    let child = task.start(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, enter)?;
    await_end(step, child);
    Ok(())
}

fn run_thread(body: &[Step]) -> sys::Result<()> {
    extern "C" fn enter(task: u64) -> u64 {
        // SAFETY: the starter passes the address of a live value, and waits until the task is done.
        let task = unsafe { &*(task as *const TaskBody<'_>) };
        run_steps(task.steps, false);
        let done = &raw const task.done as u64;
        task.done.store(1, Ordering::SeqCst);
        // SAFETY: FUTEX_WAKE does not access the memory.
        let _ = unsafe { sys::call(libc::SYS_futex, &[done, private_futex(libc::FUTEX_WAKE), 1]) };
        0
    }
    let task = TaskBody { step: 0, steps: body, done: AtomicU32::new(0) };
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    task.start(flags, enter)?;
    while task.done.load(Ordering::SeqCst) == 0 {
        let at = &raw const task.done as u64;
        // SAFETY: reads the word, which is live.
        let _ = unsafe { sys::call(libc::SYS_futex, &[at, private_futex(libc::FUTEX_WAIT), 0, 0]) };
    }
    Ok(())
}

/// The futex(2) operation for memory of this process alone.
fn private_futex(operation: i32) -> u64 {
    u64::from((operation | libc::FUTEX_PRIVATE_FLAG).cast_unsigned())
}

/// Traces a child to its end: records its stops, delivers its signals, and sets the configurations
/// that it requests.
fn trace_child(step: u16, child: i32, stops_at_calls: bool) -> sys::Result<()> {
    const CALL_STOP: i32 = libc::SIGTRAP | 0x80;
    let pid = u64::from(child.cast_unsigned());
    let request = |request: u64, address: u64, data: u64| {
        // SAFETY: the addresses are those of the structures that the requests read or write.
        unsafe { sys::call(libc::SYS_ptrace, &[request, pid, address, data]) }
    };
    let next_stop = || sys::wait(child, libc::__WALL).map(|change| change.map(|(_, how)| how));
    if next_stop()? != Some(Change::Stopped(libc::SIGSTOP)) {
        return Err(sys::Errno(libc::ESRCH));
    }
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    request(libc::PTRACE_SETOPTIONS.into(), 0, u64::from(options.cast_unsigned()))?;
    let resume = if stops_at_calls { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
    let mut signal = 0;
    loop {
        request(resume.into(), 0, u64::from(i32::cast_unsigned(signal)))?;
        signal = match next_stop()? {
            Some(Change::Stopped(CALL_STOP)) => {
                record_entry(step, &request)?;
                0
            }
            Some(Change::Stopped(libc::SIGSTOP)) => {
                // SAFETY: the tracee wrote it, and is stopped.
                let [mode, offset, length, selector] =
                    unsafe { *event_log().requested_configuration.get() };
                let requested = Config { mode, selector, offset, length };
                let size = size_of::<Config>() as u64;
                let answer = request(PTRACE_SET_DISPATCH, size, &raw const requested as u64);
                record(step, EventKind::SetByTracer(answer.map_or_else(|error| error.0, |_| 0)));
                let mut read = Config::default();
                request(PTRACE_GET_DISPATCH, size, &raw mut read as u64)?;
                record(step, EventKind::ConfigRead(read));
                0
            }
            // SIGCHLD from the tracee's children is not an event of the walk.
            Some(Change::Stopped(libc::SIGCHLD)) => libc::SIGCHLD,
            Some(Change::Stopped(other)) => {
                record(step, EventKind::Stopped(other));
                other
            }
            Some(end) => {
                record_end(step, end);
                return Ok(());
            }
            None => return Err(sys::Errno(libc::ECHILD)),
        };
    }
}

/// Records the entry of a call outside the allowed range; calls inside are not under test. Exits of
/// calls are not recorded, since the known kernel bug `phantom-exit-stop` adds an exit when the
/// selector kills.
fn record_entry(
    step: u16,
    request: &impl Fn(u64, u64, u64) -> sys::Result<u64>,
) -> sys::Result<()> {
    const GET_SYSCALL_INFO: u64 = 0x420e;
    const ENTRY: u64 = 1;
    // `struct ptrace_syscall_info` (include/uapi/linux/ptrace.h): kind, instruction pointer,
    // stack pointer, number.
    let mut info = [0u64; 16];
    request(GET_SYSCALL_INFO, size_of_val(&info) as u64, info.as_mut_ptr() as u64)?;
    let [kind, instruction_pointer, _, number, ..] = info;
    if kind & 0xff == ENTRY && !arch::inside().contains(&instruction_pointer) {
        record(step, EventKind::CallEntry { number, instruction_pointer });
    }
    Ok(())
}
