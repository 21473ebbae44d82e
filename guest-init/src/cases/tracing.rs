// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch under tracepoints and audit: a dispatched call causes no event but those of its signal, and
//! tracing does not change dispatch.

use super::audit::Audit;
use super::tracefs::Tracefs;
use super::{ptrace, registers};
use crate::arch::{self, Registers};
use crate::case::{Case, Check, Failure, Need, case_not_in_core};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use sudbox_protocol::Feature;

const ENTER_FUNCTION: &str = "syscall_trace_enter()";
const EXIT_FUNCTION: &str = "syscall_exit_work()";
const NEEDS_TRACEPOINTS: &[Feature] = &[Feature::Dispatch, Feature::SyscallTracepoints];
const NEEDS_AUDIT: &[Feature] = &[Feature::Dispatch, Feature::Audit];
/// Tracepoints and audit rules are system-wide.
const NEEDS_ROOT_AND_VM: &[Need] = &[Need::Root, Need::Vm];

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "tracing/no-call-events",
        "a dispatched call causes neither sys_enter nor sys_exit; the calls before and after it cause both",
        ENTER_FUNCTION,
        no_call_events,
    )
    .features(NEEDS_TRACEPOINTS)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/signal-events",
        "the SIGSYS of a dispatch causes one signal_generate event, for the thread, and one signal_deliver \
         event; a signal that is pending already, or ignored, causes a signal_generate event that says so",
        "__send_signal_locked()",
        signal_events,
    )
    .features(NEEDS_TRACEPOINTS)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/killed-without-events",
        "a call whose selector kills causes neither sys_enter nor sys_exit",
        EXIT_FUNCTION,
        killed_without_events,
    )
    .features(NEEDS_TRACEPOINTS)
    .needs(NEEDS_ROOT_AND_VM)
    .known_bugs(&["phantom-exit-stop"]),
    case_not_in_core(
        "tracing/dispatch-while-traced",
        "with tracepoints, as without, a dispatched call is not executed and an allowed call is",
        EXIT_FUNCTION,
        dispatch_while_traced,
    )
    .features(NEEDS_TRACEPOINTS)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/ptrace-while-traced",
        "with tracepoints, as without, a tracer has no stop at a dispatched call, and two at the next call",
        EXIT_FUNCTION,
        ptrace_while_traced,
    )
    .features(NEEDS_TRACEPOINTS)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/no-audit-record",
        "a dispatched call causes no audit record; the allowed calls before and after it cause one each",
        ENTER_FUNCTION,
        no_audit_record,
    )
    .features(NEEDS_AUDIT)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/killed-without-audit-record",
        "a call whose selector kills causes no audit record of a system call",
        EXIT_FUNCTION,
        killed_without_audit_record,
    )
    .features(NEEDS_AUDIT)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "tracing/dispatch-while-audited",
        "with an audit rule, as without, a dispatched call is not executed and has no stops for its tracer",
        EXIT_FUNCTION,
        dispatch_while_audited,
    )
    .features(NEEDS_AUDIT)
    .needs(NEEDS_ROOT_AND_VM),
];

// Each umask(2) call has another argument, which identifies the call in events and records.
/// The first call of a child.
const FIRST_CALL: u64 = 0o101;
/// The last call of a child.
const LAST_CALL: u64 = 0o102;
/// The call that is dispatched, or that kills.
const DISPATCHED_CALL: u64 = 0o103;
/// The call that the selector allows.
const CALL_BY_SELECTOR: u64 = 0o104;
/// The call from the allowed range.
const CALL_IN_RANGE: u64 = 0o105;
/// The call of the last audited child. Its record is the last one that a case reads.
const LAST_RECORD: u64 = 0o106;

const EVENTS_OF_EVERY_CALL: [&str; 2] = ["raw_syscalls/sys_enter", "raw_syscalls/sys_exit"];
const EVENTS_OF_CALLS: [&str; 4] = [
    EVENTS_OF_EVERY_CALL[0],
    EVENTS_OF_EVERY_CALL[1],
    "syscalls/sys_enter_umask",
    "syscalls/sys_exit_umask",
];
const EVENTS_OF_SIGNALS: [&str; 3] =
    ["raw_syscalls/sys_enter", "signal/signal_generate", "signal/signal_deliver"];

/// The registers of a umask(2).
fn umask_call(mode: u64) -> Registers {
    Registers::for_call(call_number(libc::SYS_umask), [mode, 0, 0, 0, 0, 0])
}

/// Issues umask(2) inside the allowed range. Returns the previous umask.
fn umask_inside(mode: u64) -> u64 {
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_umask, &[mode]) }.unwrap_or(u64::MAX)
}

/// Makes the calls of a child: [`FIRST_CALL`], [`DISPATCHED_CALL`], [`CALL_BY_SELECTOR`], [`CALL_IN_RANGE`]
/// and [`LAST_CALL`]. Returns the exit code.
fn make_calls() -> i32 {
    if arm().is_err() {
        return SETUP_FAILED;
    }
    umask_inside(FIRST_CALL);
    let dispatched = issue_blocked(&arch::gate(), &umask_call(DISPATCHED_CALL));
    let by_selector = arch::gate().issue(&umask_call(CALL_BY_SELECTOR));
    let in_range = umask_inside(CALL_IN_RANGE);
    let last = umask_inside(LAST_CALL);
    exit_code(
        is_result_kept(&dispatched, &umask_call(DISPATCHED_CALL))
            && by_selector.result() == FIRST_CALL.cast_signed()
            && in_range == CALL_BY_SELECTOR
            && last == CALL_IN_RANGE,
    )
}

/// Arms with the selector at this address, sets [`SELECTOR`] to `value`, and makes a call that must kill the
/// process.
fn call_that_kills(selector: u64, value: u8) -> i32 {
    if arm_with_selector(selector).is_err() {
        return SETUP_FAILED;
    }
    umask_inside(FIRST_CALL);
    set_selector(value);
    let _ = arch::gate().issue(&umask_call(DISPATCHED_CALL));
    umask_inside(LAST_CALL);
    0
}

fn killed_by_value() -> i32 {
    call_that_kills(selector_address(&SELECTOR), INVALID)
}

fn killed_by_fault() -> i32 {
    const UNREADABLE: u64 = 1;
    call_that_kills(UNREADABLE, ALLOW)
}

/// Runs each function in a child while these trace events are enabled. Returns for each child its id, how it ended,
/// and its events from [`FIRST_CALL`] up to [`LAST_CALL`], or to its end.
fn trace<const N: usize>(
    events: &[&str],
    runs: [fn() -> i32; N],
) -> Result<[(i32, WaitStatus, Vec<String>); N], Failure> {
    let tracefs = Tracefs::start(events)?;
    let mut children = Vec::new();
    for run in runs {
        let child = spawn_child(run)?;
        children.push((child, wait_for_change(child)?));
    }
    let events_of_children = tracefs.stop(std::array::from_fn::<_, N, _>(|i| children[i].0))?;
    let mut results = Vec::new();
    for ((child, status), mut events) in children.into_iter().zip(events_of_children) {
        // The index of the event at the entry of the umask(2) with this argument.
        let entry_of = |mode: u64| {
            let prefixes = [
                format!("sys_enter: NR {} ({mode:x},", libc::SYS_umask),
                format!("sys_umask(mask: {mode:x})"),
            ];
            events.iter().position(|event| prefixes.iter().any(|prefix| event.starts_with(prefix)))
        };
        let end = entry_of(LAST_CALL).unwrap_or(events.len());
        let Some(begin) = entry_of(FIRST_CALL) else {
            return Err(mismatch("events of an allowed call", format!("{events:?}")));
        };
        events.truncate(end);
        results.push((child, status, events.split_off(begin)));
    }
    results.try_into().map_err(|_| Failure::Broken("a child is missing".into()))
}

/// Checks that there are as many events as prefixes, and that each event begins with its prefix.
fn expect_events(events: &[String], prefixes: &[&str]) -> Check {
    let mut pairs = events.iter().zip(prefixes);
    let all_match =
        events.len() == prefixes.len() && pairs.all(|(event, prefix)| event.starts_with(prefix));
    ensure(all_match, &format!("events {prefixes:?}"), || format!("{events:?}"))
}

fn no_call_events() -> Check {
    handle_dispatches(do_nothing)?;
    let [(_, status, events)] = trace(&EVENTS_OF_CALLS, [make_calls])?;
    expect_success(status)?;
    let (umask_events, raw_events): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event.starts_with("sys_umask"));
    let nr = libc::SYS_umask;
    // The number in the sys_exit event of the handler's sigreturn. On some architectures sigreturn has
    // restored the number register before that event, which then has the number of the dispatched call.
    let number_at_exit = arch::number_after_sigreturn(nr);
    let kept_result = match result_left_by_bug() {
        None => umask_call(DISPATCHED_CALL).result().to_string(),
        // On kernels with the bug this case accepts any result.
        Some(_) => String::new(),
    };
    let enter = |mode: u64| format!("sys_enter: NR {nr} ({mode:x},");
    let exit = |result: u64| format!("sys_exit: NR {nr} = {result}");
    expect_events(
        &raw_events,
        &[
            &enter(FIRST_CALL),
            &format!("sys_exit: NR {nr} = "),
            // The dispatched call causes no event. The next two are those of the handler's sigreturn.
            &format!("sys_enter: NR {} (", libc::SYS_rt_sigreturn),
            &format!("sys_exit: NR {number_at_exit} = {kept_result}"),
            &enter(CALL_BY_SELECTOR),
            &exit(FIRST_CALL),
            &enter(CALL_IN_RANGE),
            &exit(CALL_BY_SELECTOR),
        ],
    )?;
    // The arguments in hexadecimal: 0o101 is 0x41.
    let mut expected = vec![
        "sys_umask(mask: 41)",
        "sys_umask -> ",
        "sys_umask(mask: 44)",
        "sys_umask -> 0x41",
        "sys_umask(mask: 45)",
        "sys_umask -> 0x44",
    ];
    if number_at_exit == nr {
        expected.insert(2, "sys_umask -> 0x43");
    }
    expect_events(&umask_events, &expected)
}

/// Makes the first and the last call of a child, and in between sends itself signals: SIGSYS, which is blocked, twice
/// to the thread and once to the process, and SIGURG, which is ignored. Returns the exit code.
fn send_signals() -> i32 {
    let (process, thread) = (sys::getpid(), sys::gettid());
    let is_blocked = sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(libc::SIGSYS)).is_ok();
    umask_inside(FIRST_CALL);
    let sent = sys::tgkill(process, thread, libc::SIGSYS)
        .and_then(|()| sys::tgkill(process, thread, libc::SIGSYS))
        .and_then(|()| sys::kill(process, libc::SIGSYS))
        .and_then(|()| sys::tgkill(process, thread, libc::SIGURG));
    umask_inside(LAST_CALL);
    exit_code(is_blocked && sent.is_ok())
}

fn signal_events() -> Check {
    handle_dispatches(do_nothing)?;
    let results = trace(&EVENTS_OF_SIGNALS, [make_calls, send_signals])?;
    let name = std::fs::read_to_string("/proc/self/comm").map_err(broken("comm"))?;
    let name = name.trim_end();
    // The result is one of enum TRACE_SIGNAL_* (include/trace/events/signal.h).
    let generated = |pid: i32, signal: i32, code: i32, group: i32, result: i32| {
        format!(
            "signal_generate: sig={signal} errno=0 code={code} comm={name} pid={pid} grp={group} \
             res={result}"
        )
    };
    let delivered = format!(
        "signal_deliver: sig={} errno=0 code={SYS_USER_DISPATCH} sa_handler={:x} sa_flags=",
        libc::SIGSYS,
        arch::handler_entry_address(handler_address())
    );
    const SENT_TO_THREAD: i32 = libc::SI_TKILL;
    const SENT_TO_PROCESS: i32 = libc::SI_USER;
    const DELIVERED: i32 = 0;
    const IGNORED: i32 = 1;
    const ALREADY_PENDING: i32 = 2;
    let [(first, ..), (second, ..)] = &results;
    let (first, second) = (*first, *second);
    let expected = [
        vec![generated(first, libc::SIGSYS, SYS_USER_DISPATCH, 0, DELIVERED), delivered],
        vec![
            generated(second, libc::SIGSYS, SENT_TO_THREAD, 0, DELIVERED),
            generated(second, libc::SIGSYS, SENT_TO_THREAD, 0, ALREADY_PENDING),
            generated(second, libc::SIGSYS, SENT_TO_PROCESS, 1, DELIVERED),
            generated(second, libc::SIGURG, SENT_TO_THREAD, 0, IGNORED),
        ],
    ];
    for ((_, status, mut events), expected) in results.into_iter().zip(expected) {
        expect_success(status)?;
        events.retain(|event| event.starts_with("signal"));
        expect_events(&events, &expected.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn killed_without_events() -> Check {
    handle_dispatches(do_nothing)?;
    let results = trace(&EVENTS_OF_EVERY_CALL, [killed_by_value, killed_by_fault])?;
    for ((_, status, events), signal) in results.into_iter().zip([libc::SIGSYS, libc::SIGSEGV]) {
        expect_killed(status, signal, 0)?;
        let nr = libc::SYS_umask;
        let enter = format!("sys_enter: NR {nr} ({FIRST_CALL:x},");
        expect_events(&events, &[&enter, &format!("sys_exit: NR {nr} = ")])?;
    }
    Ok(())
}

fn dispatch_while_traced() -> Check {
    let _tracefs = Tracefs::start_without_recording(&EVENTS_OF_EVERY_CALL)?;
    registers::expect_registers_kept()?;
    registers::no_effect()?;
    expect_executed(&arch::gate())
}

fn ptrace_while_traced() -> Check {
    let _tracefs = Tracefs::start_without_recording(&EVENTS_OF_EVERY_CALL)?;
    ptrace::expect_call_stops()
}

/// Runs each function in an audited child, and then a child that makes the call [`LAST_RECORD`]. Returns how
/// the children ended, and the arguments of umask(2) in the records before that of `LAST_RECORD`.
fn audit<const N: usize>(runs: [fn() -> i32; N]) -> Result<(Vec<WaitStatus>, Vec<u64>), Failure> {
    let mut audit = Audit::start(libc::SYS_umask)?;
    let (mut pids, mut statuses) = (Vec::new(), Vec::new());
    for run in runs {
        pids.push(spawn_child(run)?);
        statuses.push(wait_for_change(pids[pids.len() - 1])?);
    }
    let last_child = spawn_child(|| {
        umask_inside(LAST_RECORD);
        0
    })?;
    expect_success(wait_for_change(last_child)?)?;
    pids.push(last_child);
    let records = audit.first_arguments_of(&pids, LAST_RECORD)?;
    audit.stop()?;
    Ok((statuses, records))
}

fn no_audit_record() -> Check {
    handle_dispatches(do_nothing)?;
    let (statuses, records) = audit([make_calls])?;
    expect_success(statuses[0])?;
    expect_equal(
        "records of umask",
        records,
        vec![FIRST_CALL, CALL_BY_SELECTOR, CALL_IN_RANGE, LAST_CALL],
    )
}

fn killed_without_audit_record() -> Check {
    handle_dispatches(do_nothing)?;
    let (statuses, records) = audit([killed_by_value, killed_by_fault])?;
    for (status, signal) in statuses.into_iter().zip([libc::SIGSYS, libc::SIGSEGV]) {
        expect_killed(status, signal, 0)?;
    }
    expect_equal("records of umask", records, vec![FIRST_CALL, FIRST_CALL])
}

fn dispatch_while_audited() -> Check {
    let audit = Audit::start(libc::SYS_umask)?;
    // Only tasks that start while audit is enabled are audited.
    let child = spawn_child(|| {
        exit_code(
            registers::expect_registers_kept()
                .and_then(|()| expect_executed(&arch::gate()))
                .is_ok(),
        )
    })?;
    expect_success(wait_for_change(child)?)?;
    reset_dispatch_count();
    ptrace::expect_call_stops()?;
    audit.stop()
}
