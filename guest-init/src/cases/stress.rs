// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch in many threads at once. `--append sudbox.stress=100` makes the cases 100 times as long (with a
//! `--timeout` to match); `--repeat` runs them repeatedly in new processes.

use super::inheritance::{EXECUTED, execute, program};
use crate::arch::{self, Reg, Registers};
use crate::case::{Case, Check, Failure, Need, case_not_in_core};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use sudbox_protocol::Feature;

const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";
const NEEDS_VM_AND_CPUS: &[Need] = &[Need::Vm, Need::Cpus(2)];

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "stress/flips",
        "in threads that each flip their own selector, each call obeys the selector of its thread",
        DISPATCH_FUNCTION,
        flips,
    )
    .needs(NEEDS_VM_AND_CPUS),
    case_not_in_core(
        "stress/flips-by-others",
        "while other threads flip its selector, each call is either executed or dispatched",
        DISPATCH_FUNCTION,
        flips_by_others,
    )
    .needs(NEEDS_VM_AND_CPUS),
    case_not_in_core(
        "stress/fork-and-exec",
        "processes that fork in a handler, or execute a program while other threads dispatch, are not armed",
        "begin_new_exec()",
        fork_and_exec,
    )
    .needs(NEEDS_VM_AND_CPUS),
    case_not_in_core(
        "stress/tracer-sets",
        "a tracer that repeatedly arms and disarms one thread changes no other",
        "syscall_user_dispatch_set_config()",
        tracer_sets,
    )
    .features(&[Feature::Dispatch, Feature::PtraceConfig])
    .needs(NEEDS_VM_AND_CPUS),
];

/// The data of one thread, on its own cache lines.
#[repr(align(128))]
struct ThreadData {
    selector: AtomicU8,
    /// The number of dispatches handled.
    handled_dispatches: AtomicU32,
    /// The number of calls issued.
    issued_calls: AtomicU32,
    /// The number of calls with a wrong effect.
    wrong_calls: AtomicU32,
    has_ended: AtomicU8,
}

/// The number of threads.
const THREADS: usize = 4;
static THREAD_DATA: [ThreadData; THREADS] = [const {
    ThreadData {
        selector: AtomicU8::new(ALLOW),
        handled_dispatches: AtomicU32::new(0),
        issued_calls: AtomicU32::new(0),
        wrong_calls: AtomicU32::new(0),
        has_ended: AtomicU8::new(0),
    }
}; THREADS];

/// The register of an unused argument, which carries the index of the thread.
const INDEX_REGISTER: Reg = Reg::ARGUMENTS[5];

/// The data of the thread whose index is in [`INDEX_REGISTER`].
fn data_of(registers: &Registers) -> Option<&'static ThreadData> {
    THREAD_DATA.get(usize::try_from(registers[INDEX_REGISTER]).unwrap_or(usize::MAX))
}

/// Handler body: counts the dispatch for the thread whose index is in the registers.
fn count_dispatch(dispatch: Dispatch<'_>) {
    if let Some(data) = data_of(&dispatch.frame.registers) {
        data.handled_dispatches.fetch_add(1, Ordering::SeqCst);
    }
}

/// `count` times the factor of the boot argument `sudbox.stress=`, if there is one.
fn scale_by_boot_argument(count: u32) -> u32 {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let factor = line.split_whitespace().find_map(|word| word.strip_prefix("sudbox.stress="));
    factor
        .and_then(|factor| factor.parse().ok())
        .map_or(count, |factor| count.saturating_mul(factor))
}

/// The observed outcome of a call.
#[derive(PartialEq, Eq)]
struct CallObservation {
    /// The number of dispatches during the call.
    dispatches: u32,
    is_executed: bool,
    /// Whether the result register has the value that belongs to the outcome, and the argument registers
    /// are unchanged.
    are_registers_right: bool,
}

impl CallObservation {
    const EXECUTED: CallObservation =
        CallObservation { dispatches: 0, is_executed: true, are_registers_right: true };
    const DISPATCHED: CallObservation =
        CallObservation { dispatches: 1, is_executed: false, are_registers_right: true };

    /// Whether the call was either executed or dispatched, with the right registers.
    fn is_consistent(&self) -> bool {
        *self == Self::EXECUTED || *self == Self::DISPATCHED
    }
}

/// Issues getcpu(2), which writes a number that only this thread sees, and observes its outcome.
fn observe_call(index: u64, data: &ThreadData) -> CallObservation {
    let cpu = AtomicU32::new(u32::MAX);
    let call = libc::SYS_getcpu;
    let regs = Registers::for_call(call_number(call), [cpu.as_ptr() as u64, 0, 0, 0, 0, index]);
    let before = data.handled_dispatches.load(Ordering::SeqCst);
    let after = arch::gate().issue(&regs);
    let dispatches = data.handled_dispatches.load(Ordering::SeqCst) - before;
    let is_executed = cpu.load(Ordering::SeqCst) != u32::MAX;
    data.issued_calls.fetch_add(1, Ordering::SeqCst);
    let is_result_right =
        if is_executed { after.result() == 0 } else { is_result_kept(&after, &regs) };
    let are_registers_right = is_result_right
        && Reg::ARGUMENTS.iter().all(|reg| *reg == Reg::RESULT || after[*reg] == regs[*reg]);
    CallObservation { dispatches, is_executed, are_registers_right }
}

impl ThreadData {
    /// Arms the calling thread with this selector. Returns whether the kernel accepted this.
    fn arm(&self) -> bool {
        let selector = selector_address(&self.selector);
        sys::set_dispatch(MODE_EXCLUSIVE, arch::inside().start, inside_length(), selector).is_ok()
    }

    fn count_wrong_call(&self) {
        self.wrong_calls.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets the selector to ALLOW, and marks the thread as ended.
    fn mark_ended(&self) {
        self.selector.store(ALLOW, Ordering::SeqCst);
        self.has_ended.store(1, Ordering::SeqCst);
    }
}

/// The next number of a linear congruential generator with this state.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    *state >> 40
}

/// The index of the shared word that starts the threads.
const MAY_BEGIN: usize = 0;
/// The index of the shared word with the number of calls of each thread.
const CALLS_PER_THREAD: usize = 1;
/// The index of the shared word that stops the threads.
const MUST_STOP: usize = 2;

/// A thread that flips its own selector before each call. It ends after [`CALLS_PER_THREAD`] calls, or when
/// [`MUST_STOP`] is set.
extern "C" fn flip_own_selector(index: u64) -> u64 {
    let data = &THREAD_DATA[usize::try_from(index).unwrap_or(0)];
    let mut random_state = index + 1;
    await_shared_word(MAY_BEGIN, 1);
    if !data.arm() {
        data.count_wrong_call();
    }
    while u64::from(data.issued_calls.load(Ordering::SeqCst)) < shared_word(CALLS_PER_THREAD)
        && shared_word(MUST_STOP) == 0
    {
        let blocked = next_random(&mut random_state) & 1 == 1;
        data.selector.store(if blocked { BLOCK } else { ALLOW }, Ordering::SeqCst);
        let expected =
            if blocked { CallObservation::DISPATCHED } else { CallObservation::EXECUTED };
        if observe_call(index, data) != expected {
            data.count_wrong_call();
        }
        // With fewer CPUs than threads the yield lets the other threads run.
        sys::sched_yield();
    }
    data.mark_ended();
    0
}

/// A thread whose selector other threads flip.
extern "C" fn call_while_others_flip(index: u64) -> u64 {
    let data = &THREAD_DATA[usize::try_from(index).unwrap_or(0)];
    await_shared_word(MAY_BEGIN, 1);
    if !data.arm() {
        data.count_wrong_call();
    }
    while u64::from(data.issued_calls.load(Ordering::SeqCst)) < shared_word(CALLS_PER_THREAD) {
        if !observe_call(index, data).is_consistent() {
            data.count_wrong_call();
        }
    }
    data.mark_ended();
    0
}

/// Starts the threads with the indices from `first` on, each of which makes `calls` calls.
fn start_threads(run: extern "C" fn(u64) -> u64, first: usize, calls: u32) -> Check {
    for index in first..THREADS {
        spawn_thread(run, index as u64)?;
    }
    set_shared_word(CALLS_PER_THREAD, calls.into());
    set_shared_word(MAY_BEGIN, 1);
    Ok(())
}

fn have_all_ended(threads: &[ThreadData]) -> bool {
    threads.iter().all(|data| data.has_ended.load(Ordering::SeqCst) == 1)
}

/// The sum of a counter over all threads.
fn sum_over_threads(field: impl Fn(&ThreadData) -> &AtomicU32) -> u32 {
    THREAD_DATA.iter().map(|data| field(data).load(Ordering::SeqCst)).sum()
}

fn flips() -> Check {
    handle_dispatches(count_dispatch)?;
    start_threads(flip_own_selector, 0, scale_by_boot_argument(200))?;
    while !have_all_ended(&THREAD_DATA) {
        sys::sched_yield();
    }
    expect_equal(
        "calls that did not obey their selector",
        sum_over_threads(|data| &data.wrong_calls),
        0,
    )?;
    expect_equal(
        "SIGSYS handled in all threads",
        dispatch_count(),
        sum_over_threads(|data| &data.handled_dispatches),
    )
}

fn flips_by_others() -> Check {
    handle_dispatches(count_dispatch)?;
    let mut random_state = 5;
    start_threads(call_while_others_flip, 0, scale_by_boot_argument(200))?;
    while !have_all_ended(&THREAD_DATA) {
        for data in &THREAD_DATA {
            let must_block = next_random(&mut random_state) & 1 == 1
                && data.has_ended.load(Ordering::SeqCst) == 0;
            data.selector.store(if must_block { BLOCK } else { ALLOW }, Ordering::SeqCst);
        }
    }
    expect_equal(
        "calls neither executed nor dispatched, or both",
        sum_over_threads(|data| &data.wrong_calls),
        0,
    )?;
    expect_equal(
        "SIGSYS handled in all threads",
        dispatch_count(),
        sum_over_threads(|data| &data.handled_dispatches),
    )
}

/// The index of the thread whose handler forks.
const FORKING_THREAD: u64 = 1;
/// The number of forks.
const FORKS: u32 = 2;

/// Handler body: counts the dispatch. In the thread [`FORKING_THREAD`] the handler also forks, and
/// checks that the child is not armed.
fn count_and_fork(dispatch: Dispatch<'_>) {
    let is_forking_thread = dispatch.frame.registers[INDEX_REGISTER] == FORKING_THREAD;
    count_dispatch(dispatch);
    let data = &THREAD_DATA[1];
    if !is_forking_thread || data.handled_dispatches.load(Ordering::SeqCst) > FORKS {
        return;
    }
    // SAFETY: the child takes no locks.
    match unsafe { sys::fork() } {
        Ok(0) => {
            let observation = observe_call(FORKING_THREAD, data);
            sys::exit(exit_code(observation == CallObservation::EXECUTED));
        }
        Ok(child) => {
            let result = sys::wait(child, libc::__WALL);
            if result != Ok(Some((child, WaitStatus::Exited(0)))) {
                data.count_wrong_call();
            }
        }
        Err(_) => data.count_wrong_call(),
    }
}

/// A thread whose calls are all dispatched, until execve(2) ends it.
extern "C" fn make_blocked_calls(index: u64) -> u64 {
    let data = &THREAD_DATA[usize::try_from(index).unwrap_or(0)];
    if !data.arm() {
        data.count_wrong_call();
    }
    data.selector.store(BLOCK, Ordering::SeqCst);
    loop {
        if observe_call(index, data) != CallObservation::DISPATCHED {
            data.count_wrong_call();
        }
        sys::sched_yield();
    }
}

/// The exit code of a child in which a call had the wrong outcome.
const WRONG_CALL: i32 = 98;

/// Executes the program in the file `fd`, once each other thread has made more than [`FORKS`] calls.
extern "C" fn execute_when_others_are_busy(fd: u64) -> u64 {
    let is_busy = |data: &ThreadData| data.handled_dispatches.load(Ordering::SeqCst) > FORKS;
    while !THREAD_DATA[1..].iter().all(is_busy) {
        sys::sched_yield();
    }
    if sum_over_threads(|data| &data.wrong_calls) != 0 {
        sys::exit(WRONG_CALL);
    }
    let data = &THREAD_DATA[0];
    if data.arm() {
        data.selector.store(BLOCK, Ordering::SeqCst);
        execute(i32::try_from(fd).unwrap_or(-1));
    }
    sys::exit(SETUP_FAILED)
}

fn fork_and_exec() -> Check {
    let fd = program()?;
    handle_dispatches(count_and_fork)?;
    for round in 0..scale_by_boot_argument(2) {
        let child = spawn_child(|| {
            for index in 1..THREADS as u64 {
                if spawn_thread(make_blocked_calls, index).is_err() {
                    return SETUP_FAILED;
                }
            }
            // In even rounds the first thread calls execve(2). In odd rounds another thread does so, and
            // becomes the thread group leader.
            if round % 2 == 0 {
                let _ = execute_when_others_are_busy(fd.cast_unsigned().into());
            } else if spawn_thread(execute_when_others_are_busy, fd.cast_unsigned().into()).is_err()
            {
                return SETUP_FAILED;
            }
            loop {
                sys::sched_yield();
            }
        })?;
        let status = wait_for_change(child)?;
        let expected = WaitStatus::Exited(i32::from(EXECUTED)).to_string();
        expect_equal(&format!("the program in round {round}"), status.to_string(), expected)?;
    }
    Ok(())
}

/// The index of the shared word with the tracer's last setting: twice the round, plus 1 if the tracer armed
/// the tracee.
const TRACER_SETTING: usize = 3;
/// The index of the shared word in which the tracee counts its calls.
const TRACEE_CALLS: usize = 4;

/// Issues calls in the tracee until [`MUST_STOP`] is set. Checks that each call obeys the tracer's setting;
/// if the setting changes during a call, the call may obey either.
fn call_until_stopped(data: &ThreadData) {
    data.selector.store(BLOCK, Ordering::SeqCst);
    while shared_word(MUST_STOP) == 0 {
        let before = shared_word(TRACER_SETTING);
        let observation = observe_call(0, data);
        let after = shared_word(TRACER_SETTING);
        let is_armed = before & 1 == 1;
        let disobeys_setting = before == after && observation.is_executed == is_armed;
        if !observation.is_consistent() || disobeys_setting {
            data.count_wrong_call();
        }
        set_shared_word(TRACEE_CALLS, shared_word(TRACEE_CALLS) + 1);
    }
    data.mark_ended();
}

fn tracer_sets() -> Check {
    handle_dispatches(count_dispatch)?;
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        if start_threads(flip_own_selector, 1, u32::MAX).is_err() {
            return SETUP_FAILED;
        }
        call_until_stopped(&THREAD_DATA[0]);
        while !have_all_ended(&THREAD_DATA) {
            sys::sched_yield();
        }
        let all_counted = dispatch_count() == sum_over_threads(|data| &data.handled_dispatches);
        exit_code(all_counted && sum_over_threads(|data| &data.wrong_calls) == 0)
    })?;
    let armed = Config {
        mode: MODE_EXCLUSIVE,
        selector: selector_address(&THREAD_DATA[0].selector),
        offset: arch::inside().start,
        length: inside_length(),
    };
    let resume = |signal: i32| {
        let signal = u64::from(signal.cast_unsigned());
        tracee.request(libc::PTRACE_CONT, 0, signal).map_err(refused_request("PTRACE_CONT"))
    };
    for round in 1..=u64::from(scale_by_boot_argument(20)) {
        let config = if round % 2 == 1 { armed } else { Config::default() };
        expect_equal("setting", tracee.set_config(&config), Ok(()))?;
        expect_equal("configuration", tracee.config()?, config)?;
        set_shared_word(TRACER_SETTING, (2 * round) | (round % 2));
        let calls_before = shared_word(TRACEE_CALLS);
        resume(0)?;
        // After two calls with this setting, stop the tracee for the next setting.
        let mut is_stop_requested = false;
        loop {
            if !is_stop_requested && shared_word(TRACEE_CALLS) >= calls_before + 2 {
                sys::tgkill(tracee.pid, tracee.pid, libc::SIGUSR2).map_err(broken("tgkill"))?;
                is_stop_requested = true;
            }
            match sys::wait(tracee.pid, libc::WNOHANG | libc::__WALL).map_err(broken("wait4"))? {
                None => sys::sched_yield(),
                Some((_, WaitStatus::Stopped(libc::SIGUSR2))) => break,
                Some((_, WaitStatus::Stopped(libc::SIGSYS))) => drop(resume(libc::SIGSYS)?),
                Some((_, status)) => return Err(unexpected_change(status)),
            }
        }
    }
    expect_equal("setting OFF", tracee.set_config(&Config::default()), Ok(()))?;
    set_shared_word(TRACER_SETTING, 0);
    set_shared_word(MUST_STOP, 1);
    expect_success(tracee.resume(libc::PTRACE_CONT, 0)?)
}

/// The failure of a tracee that stopped or ended unexpectedly.
fn unexpected_change(status: WaitStatus) -> Failure {
    mismatch("the tracee stops for SIGSYS and SIGUSR2 only", format!("it {status}"))
}
