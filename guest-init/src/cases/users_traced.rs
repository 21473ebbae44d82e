// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracers of programs that use dispatch. They are modelled on real ones: a tracer that saves and restores
//! a process, as CRIU does, and a tracer that records a process, as rr does.

use crate::arch::{self, Registers};
use crate::case::{Case, Check, Failure, case_not_in_core};
use crate::ptrace::{self, CALL_STOP};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Config, StopKind, Tracee, pause_for_tracer};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "users/checkpoint",
        "if a tracer saves a process and restores it into another process, its calls are dispatched there as \
         before",
        "syscall_user_dispatch_set_config()",
        checkpoint,
    )
    .features(&[Feature::Dispatch, Feature::PtraceConfig]),
    case_not_in_core(
        "users/recorder",
        "a tracer of all calls observes the entry and exit of each allowed call, and only SIGSYS for a \
         dispatched call",
        "syscall_trace_enter()",
        recorder,
    ),
];

const CONT: u32 = libc::PTRACE_CONT;

/// The program to save. At its second pause the selector is at BLOCK. The calls after that pause depend on
/// values in the program's memory and on its stack.
fn saved_program() -> i32 {
    // One decimal digit for each call: 1 for executed, 2 for dispatched.
    let mut outcomes = 0u64;
    pause_for_tracer();
    let mut all_right = arm().is_ok();
    // Issues a call with this selector value, or with the current one.
    let mut issue_call = |value: Option<u8>| {
        let (regs, before) = (fresh_umask_call(), dispatch_count());
        value.inspect(|value| set_selector(*value));
        let is_blocked = SELECTOR.load(Ordering::SeqCst) == BLOCK;
        let after = arch::gate().issue(&regs);
        let dispatched = dispatch_count() - before;
        outcomes = outcomes * 10 + 1 + u64::from(dispatched);
        let (has_effect, kept) = (take_umask_effect(), is_result_kept(&after, &regs));
        all_right &= has_effect != is_blocked && kept == is_blocked;
    };
    issue_call(Some(BLOCK));
    issue_call(Some(ALLOW));
    set_selector(BLOCK);
    pause_for_tracer();
    issue_call(None);
    issue_call(Some(ALLOW));
    issue_call(Some(BLOCK));
    set_selector(ALLOW);
    exit_code(all_right && outcomes == 21212)
}

/// The private writable mappings of a process (`/proc/PID/maps`).
fn private_memory(pid: i32) -> Result<Vec<Range<u64>>, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).map_err(broken("maps"))?;
    let ranges = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        if !words.next()?.starts_with("rw-p") && !line.contains("rwxp") {
            return None;
        }
        let parse_hex = |text| u64::from_str_radix(text, 16).ok();
        Some(parse_hex(start)?..parse_hex(end)?)
    });
    Ok(ranges.collect())
}

/// Opens the memory of a stopped tracee (`/proc/PID/mem`).
fn memory_of(tracee: &Tracee) -> Result<std::fs::File, Failure> {
    let path = format!("/proc/{}/mem", tracee.pid);
    std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(broken("mem"))
}

/// The state of a saved process.
struct SavedProcess {
    registers: arch::TraceeRegisters,
    floating_registers: Vec<u8>,
    config: Config,
    /// The start and the bytes of each private writable mapping.
    memory: Vec<(u64, Vec<u8>)>,
}

/// Saves the state of a stopped tracee.
fn save(tracee: &Tracee) -> Result<SavedProcess, Failure> {
    let floating_registers = tracee.register_set(libc::NT_PRFPREG)?;
    let file = memory_of(tracee)?;
    let mut memory = Vec::new();
    for range in private_memory(tracee.pid)? {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        file.read_exact_at(&mut bytes, range.start).map_err(broken("reading memory"))?;
        memory.push((range.start, bytes));
    }
    let (registers, config) = (tracee.registers()?, tracee.config()?);
    Ok(SavedProcess { registers, floating_registers, config, memory })
}

/// Restores a saved state into a stopped tracee.
fn restore(tracee: &Tracee, saved: &SavedProcess) -> Check {
    let file = memory_of(tracee)?;
    for (start, bytes) in &saved.memory {
        file.write_all_at(bytes, *start).map_err(broken("writing memory"))?;
    }
    tracee.set_register_set(libc::NT_PRFPREG, &saved.floating_registers)?;
    tracee.set_registers(&saved.registers)?;
    expect_equal("setting the saved configuration", tracee.set_config(&saved.config), Ok(()))?;
    expect_equal("configuration after it", tracee.config()?, saved.config)
}

/// Makes the stopped tracee issue a call outside the allowed range, as CRIU does to read state that only the
/// process itself can read. The tracer disarms the tracee for the call, and then restores its configuration.
fn call_in_tracee(tracee: &Tracee) -> Check {
    let (registers, config) = (tracee.registers()?, tracee.config()?);
    expect_equal("setting OFF", tracee.set_config(&Config::default()), Ok(()))?;
    let mut at_call = registers;
    at_call.set_call(arch::gate().call_address(), call_number(libc::SYS_getppid));
    tracee.set_registers(&at_call)?;
    tracee.expect_call(libc::PTRACE_SYSCALL, 0, StopKind::Entry, libc::SYS_getppid)?;
    tracee.expect_call(libc::PTRACE_SYSCALL, 0, StopKind::Exit, libc::SYS_getppid)?;
    let after_call = tracee.registers()?;
    let own_pid = u64::from(sys::getpid().cast_unsigned());
    expect_equal("result of the tracee's getppid", after_call.result, own_pid)?;
    expect_equal_hex(
        "next instruction",
        after_call.instruction_pointer,
        arch::gate().compared_address(),
    )?;
    tracee.set_registers(&registers)?;
    expect_equal("restoring the configuration", tracee.set_config(&config), Ok(()))
}

fn checkpoint() -> Check {
    handle_dispatches(do_nothing)?;
    let old = Tracee::start(saved_program)?;
    old.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    old.resume_to_signal(CONT, libc::SIGSYS, libc::SIGSTOP)?;
    expect_equal("mode", old.config()?.mode, MODE_EXCLUSIVE)?;
    call_in_tracee(&old)?;
    let saved = save(&old)?;
    old.kill()?;
    // The other process has the same memory layout and has never armed. Its own exit code shows if it is
    // not restored.
    const NOT_RESTORED: i32 = 77;
    let new = Tracee::start(|| {
        pause_for_tracer();
        NOT_RESTORED
    })?;
    expect_equal("configuration of the other process", new.config()?, Config::default())?;
    restore(&new, &saved)?;
    reset_dispatch_count();
    new.request(libc::PTRACE_DETACH, 0, 0).map_err(refused_request("PTRACE_DETACH"))?;
    expect_success(wait_for_change(new.pid)?)?;
    expect_equal("SIGSYS handled after the restore", dispatch_count(), 2)
}

/// An event that the tracer records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Entry(i64),
    Exit,
    Signal { number: i64, code: i32 },
    ProcessEnded,
}

/// A step of the recorded program: a call outside the allowed range, a call inside it, or a change of
/// dispatch.
#[derive(Clone, Copy)]
enum Step {
    Outside { call: i64, blocked: bool },
    Inside(i64),
    Disarm,
    Arm,
}

const STEPS: &[Step] = &[
    Step::Outside { call: libc::SYS_umask, blocked: true },
    Step::Outside { call: libc::SYS_getppid, blocked: false },
    Step::Outside { call: libc::SYS_getppid, blocked: true },
    Step::Outside { call: libc::SYS_umask, blocked: true },
    Step::Inside(libc::SYS_getppid),
    Step::Outside { call: -1, blocked: true },
    Step::Outside { call: -1, blocked: false },
    Step::Inside(libc::SYS_sched_yield),
    Step::Disarm,
    Step::Outside { call: libc::SYS_getppid, blocked: false },
    Step::Arm,
    Step::Outside { call: libc::SYS_exit_group, blocked: true },
    Step::Outside { call: libc::SYS_getppid, blocked: false },
];

/// Runs the recorded program.
fn run_steps() -> i32 {
    for step in STEPS {
        match *step {
            Step::Outside { call, blocked } => {
                set_selector(if blocked { BLOCK } else { ALLOW });
                let _ = arch::gate().issue(&Registers::for_call(call_number(call), [0; 6]));
            }
            // SAFETY: takes no pointers.
            Step::Inside(call) => drop(unsafe { sys::call(call, &[]) }),
            Step::Disarm => drop(disarm()),
            Step::Arm => drop(arm()),
        }
    }
    0
}

/// The events that the tracer must record for [`STEPS`].
fn expected_events() -> Vec<Event> {
    let mut events = Vec::new();
    let add_call = |events: &mut Vec<Event>, call| events.extend([Event::Entry(call), Event::Exit]);
    for step in STEPS {
        match *step {
            Step::Outside { call, blocked: true } => {
                let number = number_read_by_kernel(call_number(call)).into();
                events.push(Event::Signal { number, code: SYS_USER_DISPATCH });
                add_call(&mut events, libc::SYS_rt_sigreturn);
            }
            Step::Outside { call, blocked: false } | Step::Inside(call) => {
                add_call(&mut events, call);
            }
            Step::Disarm | Step::Arm => add_call(&mut events, libc::SYS_prctl),
        }
    }
    events.extend([Event::Entry(libc::SYS_exit_group), Event::ProcessEnded]);
    events
}

/// Resumes the tracee with `signal`, and waits for its next stop. Returns the event, and the signal with
/// which to resume the tracee (0 for none).
fn next_event(tracee: &Tracee, signal: i32) -> Result<(Event, i32), Failure> {
    Ok(match tracee.resume(libc::PTRACE_SYSCALL, signal)? {
        WaitStatus::Stopped(CALL_STOP) => match tracee.stop_kind()? {
            StopKind::Entry => (Event::Entry(tracee.registers()?.number.cast_signed()), 0),
            StopKind::Exit => (Event::Exit, 0),
            other => {
                return Err(mismatch(
                    "a stop at the entry or exit of a call",
                    format!("{other:?}"),
                ));
            }
        },
        WaitStatus::Stopped(signal) => {
            let info =
                ptrace::signal_info(tracee.pid).map_err(refused_request("PTRACE_GETSIGINFO"))?;
            let int_at =
                |offset: usize| i32::from_ne_bytes(std::array::from_fn(|i| info[offset + i]));
            // si_syscall and si_code.
            (Event::Signal { number: int_at(24).into(), code: int_at(8) }, signal)
        }
        _ => (Event::ProcessEnded, 0),
    })
}

fn recorder() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        run_steps()
    })?;
    let mut signal = 0;
    for (index, expected) in expected_events().into_iter().enumerate() {
        let (event, next_signal) = next_event(&tracee, signal)?;
        if event != expected {
            let _ = sys::kill(tracee.pid, libc::SIGKILL);
        }
        expect_equal(&format!("event {index}"), event, expected)?;
        signal = next_signal;
    }
    let blocked = STEPS.iter().filter(|step| matches!(step, Step::Outside { blocked: true, .. }));
    expect_equal("SIGSYS handled", dispatch_count() as usize, blocked.count())
}
