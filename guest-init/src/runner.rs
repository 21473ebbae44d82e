// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the cases that the host plans, each in a child process, and reports their results.
//!
//! The runner forks, so it must have one thread.

use crate::bench;
use crate::case::{Case, Check, Failure, Run};
use crate::conversation::{ConversationError, receive};
use crate::grid::Product;
use crate::probe::Environment;
use crate::program;
use crate::recording;
use crate::shared::{self, shared};
use crate::sys::{self, WaitStatus};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;
use sudbox_protocol::{
    CaseResult, FrameReader, GuestMessage, HostMessage, Plan, PlannedCase, ResultKind,
};

/// Time that the processes of a case may take to die of SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Exit code of a case's child that has stored a report.
const REPORTED: i32 = 0;
/// Exit code of a child that could not set itself up.
const NOT_SET_UP: i32 = 100;
/// Exit code of a child that panicked.
const PANICKED: i32 = 101;

/// Maps the shared memory, and resets the state that children inherit (signal dispositions, the alternate
/// stack and rseq) to that of a newly executed process.
///
/// # Errors
/// [`ConversationError::Setup`] if the shared memory cannot be mapped.
pub fn prepare() -> Result<(), ConversationError> {
    for signal in (1..=64).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
        // SAFETY: SIG_DFL has no handler.
        let _ = unsafe { sys::sigaction(signal, &sys::SigAction::default()) };
    }
    // SAFETY: no handler is left that could run on the stack.
    let _ = unsafe { sys::sigaltstack(0, 0, libc::SS_DISABLE) };
    crate::rseq::unregister();
    // The runner waits for SIGCHLD with rt_sigtimedwait(2), and notices by the error of a write that
    // the host has closed the connection.
    let blocked = sys::signal_bit(libc::SIGCHLD) | sys::signal_bit(libc::SIGPIPE);
    let _ = sys::sigmask(libc::SIG_SETMASK, blocked);
    // SAFETY: takes no pointers.
    let _ = unsafe { sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    shared::create().map_err(ConversationError::Setup)
}

/// Sends Hello to the host and carries out its answer: runs the cases of a plan, or a program. Returns after
/// the host has acknowledged the last message. `table` has the cases, except for random walks, points of the
/// grid and benchmarks.
///
/// # Errors
/// [`ConversationError`] if the connection or the host fails.
pub fn converse<S: Read + Write + AsFd>(
    stream: &mut S,
    environment: &Environment,
    table: &[&[Case]],
) -> Result<(), ConversationError> {
    let mut frames = FrameReader::default();
    stream.write_all(&GuestMessage::Hello(environment.hello()).to_frame())?;
    let plan = match receive(stream, &mut frames)? {
        HostMessage::Plan(plan) => plan,
        HostMessage::Record(plan) => {
            recording::start().map_err(ConversationError::Setup)?;
            plan
        }
        HostMessage::Execute(program) => return program::run(stream, &mut frames, &program),
        other => {
            return Err(ConversationError::Protocol(format!("{other:?} instead of a plan")));
        }
    };
    let results = run_plan(stream, &mut frames, environment, table, &plan)?;
    match receive(stream, &mut frames)? {
        HostMessage::Acknowledge if results == plan.cases.len() => Ok(()),
        other => {
            Err(ConversationError::Protocol(format!("{other:?} instead of an acknowledgement")))
        }
    }
}

/// Runs the cases and sends the list of their results. Returns the number of cases. One write sends the
/// messages of a case and the `Start` of the next, since a vsock packet and its interrupt take longer than
/// most cases.
fn run_plan<S: Read + Write>(
    stream: &mut S,
    frames: &mut FrameReader,
    environment: &Environment,
    table: &[&[Case]],
    plan: &Plan,
) -> Result<usize, ConversationError> {
    let mut results = Vec::new();
    let mut outgoing = Vec::new();
    for (index, planned) in (0u32..).zip(&plan.cases) {
        outgoing.extend_from_slice(&GuestMessage::Start { case: index }.to_frame());
        stream.write_all(&outgoing)?;
        outgoing.clear();
        match receive(stream, frames)? {
            HostMessage::Go { case } if case == index => {}
            other => {
                return Err(ConversationError::Protocol(format!(
                    "{other:?} instead of Go {index}"
                )));
            }
        }
        recording::begin_case(index);
        let start = sys::now();
        let (messages, result, vm_is_usable) = run_case(environment, table, index, planned);
        let micros = u64::try_from((sys::now() - start).as_micros()).unwrap_or(u64::MAX);
        results.push(result.kind());
        for message in messages {
            outgoing.extend_from_slice(&message.to_frame());
        }
        outgoing.append(&mut recording::case_frames());
        outgoing.extend_from_slice(&GuestMessage::End { case: index, result, micros }.to_frame());
        if !vm_is_usable && environment.is_vm {
            outgoing.extend_from_slice(&GuestMessage::VmSpent { case: index }.to_frame());
            stream.write_all(&outgoing)?;
            let other = receive(stream, frames)?;
            return Err(ConversationError::Protocol(format!("{other:?} to a guest that is spent")));
        }
    }
    let cases = results.len();
    outgoing.extend_from_slice(&GuestMessage::AllResults(results).to_frame());
    stream.write_all(&outgoing)?;
    Ok(cases)
}

/// Finds a case, and runs the case if the machine and the kernel meet its needs. Returns the case's
/// messages and result, and whether the kernel is as before the case: all processes of the case have ended,
/// and the case has undone its [`KernelChange`](crate::shared::KernelChange)s.
fn run_case(
    environment: &Environment,
    table: &[&[Case]],
    index: u32,
    planned: &PlannedCase,
) -> (Vec<GuestMessage>, CaseResult, bool) {
    let id = &planned.id;
    let case = table.iter().copied().flatten().find(|case| case.id == id);
    let case = case.or_else(|| crate::walk::by_id(id));
    let case = case.or_else(|| crate::grid::by_id(id));
    let case = case.or_else(|| bench::TABLE.iter().find(|case| case.id == id));
    let Some(case) = case else {
        return (vec![], CaseResult::Broken(format!("this guest-init has no case {id}")), true);
    };
    // Check needs before features: a kernel lacks some features because its CPU lacks them, and then the
    // result must be an unmet need.
    if let Some(need) = environment.first_unmet(case.needs) {
        return (vec![], CaseResult::Unmet(need.to_string()), true);
    }
    if let Some(feature) = environment.first_missing(case.features) {
        return (vec![], CaseResult::Absent(feature), true);
    }
    if let Run::Compare(_) = case.run
        && let Err(failure) = crate::compare::references::map()
    {
        return (vec![], CaseResult::Broken(format!("{failure:?}")), true);
    }
    run_forked(case, index, Duration::from_millis(planned.deadline_ms.into()))
}

/// Forks a child process that runs a case, and kills all processes that the case leaves behind. Returns the
/// case's messages and result, and whether the kernel is as before the case (see [`run_case`]).
fn run_forked(
    case: &Case,
    index: u32,
    deadline: Duration,
) -> (Vec<GuestMessage>, CaseResult, bool) {
    shared().clear();
    let runner = sys::getpid();
    // SAFETY: the runner has one thread.
    let child = match unsafe { sys::fork() } {
        Ok(0) => child_main(case, index, runner),
        Ok(child) => child,
        Err(error) => return (vec![], CaseResult::Broken(format!("fork: {error}")), true),
    };
    let change = await_child(child, deadline);
    if change.is_none() {
        let _ = sys::kill(child, libc::SIGKILL);
    }
    let cleaned_up = kill_and_reap_all(child);
    let (mut messages, result) = read_report(change, &shared().report());
    match cleaned_up {
        Ok(()) => (messages, result, !shared().is_kernel_changed()),
        Err(message) if result.kind() == ResultKind::Pass => {
            let expected = "SIGKILL kills the processes that a case leaves behind".into();
            (messages, CaseResult::Fail { expected, got: message }, false)
        }
        Err(text) => {
            messages.push(GuestMessage::Log { case: index, text });
            (messages, result, false)
        }
    }
}

/// Runs the check in the case's child, stores the report, and exits.
fn child_main(case: &Case, index: u32, runner: i32) -> ! {
    // In a new session the child cannot signal the runner's process group.
    // SAFETY: the name is terminated, and only read.
    let set_up = unsafe {
        let name = format!("case-{index}\0");
        sys::call(libc::SYS_setsid, &[])
            .and_then(|_| sys::prctl(libc::PR_SET_NAME, name.as_ptr() as u64, 0, 0, 0))
            .and_then(|_| sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0))
            .and_then(|_| sys::sigmask(libc::SIG_SETMASK, 0))
    };
    if set_up.is_err() {
        sys::exit(NOT_SET_UP);
    }
    // If the runner died before PR_SET_PDEATHSIG was in effect, the child has another parent and must end.
    // SAFETY: takes no pointers.
    if unsafe { sys::call(libc::SYS_getppid, &[]) } != Ok(u64::from(runner.cast_unsigned())) {
        sys::exit(NOT_SET_UP);
    }
    bench::begin_case(case.id);
    let result = match run_check(case.run) {
        Ok(()) => CaseResult::Pass,
        Err(Failure::Mismatch { expected, got }) => CaseResult::Fail { expected, got },
        Err(Failure::Unmet(need)) => CaseResult::Unmet(need),
        Err(Failure::Broken(reason)) => CaseResult::Broken(reason),
    };
    let mut report = Vec::new();
    for text in crate::support::take_logs() {
        report.extend_from_slice(&GuestMessage::Log { case: index, text }.to_frame());
    }
    if let Some(measurement) = bench::take_measurement() {
        report.extend_from_slice(&GuestMessage::Measured { case: index, measurement }.to_frame());
    }
    if let Some(digest) = recording::digest() {
        report
            .extend_from_slice(&GuestMessage::ObservationDigest { case: index, digest }.to_frame());
    }
    let end = GuestMessage::End { case: index, result, micros: 0 };
    report.extend_from_slice(&end.to_frame());
    shared().store_report(&report);
    sys::exit(REPORTED);
}

/// Runs the check of a case.
fn run_check(run: Run) -> Check {
    match run {
        Run::Check(check) => check(),
        Run::Walk(seeds) => crate::walk::check(seeds),
        Run::Compare(index) => crate::compare::check(index),
        Run::Conserve(index) => crate::conserve::check(index),
        Run::Point(point) => crate::grid::check(Product::SinglePoint(point)),
        Run::Random(seed) => crate::grid::check(Product::Random(seed)),
    }
}

/// Reports a panic to the runner and exits. The panic hook calls this in all processes but the runner.
pub fn exit_panicked_child(message: &str) -> ! {
    let result = CaseResult::Broken(format!("the case panicked: {message}"));
    let end = GuestMessage::End { case: 0, result, micros: 0 };
    shared().store_report(&end.to_frame());
    sys::exit(PANICKED);
}

/// Waits until the child ends, without reaping it. `None` after `timeout`.
fn await_child(child: i32, timeout: Duration) -> Option<WaitStatus> {
    let deadline = sys::now() + timeout;
    loop {
        if let Some(status) = child_end(child) {
            return Some(status);
        }
        let remaining = deadline.checked_sub(sys::now())?;
        // The result of the wait is ignored: after a timeout or an error, too, the loop checks the
        // child again.
        let _ = sys::sigtimedwait(sys::signal_bit(libc::SIGCHLD), remaining);
    }
}

/// The end of the child, or `None` if the child still runs. The child stays a zombie, so that its
/// process group ID is not reused.
fn child_end(child: i32) -> Option<WaitStatus> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero siginfo is valid, and the call writes no more than one.
    let (result, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = child.cast_unsigned();
        let result = libc::waitid(libc::P_PID, id, &raw mut info, options);
        (result, info)
    };
    // SAFETY: waitid() sets these fields.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if result != 0 || pid != child {
        return None;
    }
    Some(match info.si_code {
        libc::CLD_EXITED => WaitStatus::Exited(status),
        code => WaitStatus::Killed { signal: status, core: code == libc::CLD_DUMPED },
    })
}

/// Reaps the child, which has ended or has a SIGKILL pending. Kills and reaps its process group and all
/// other descendants. Orphaned descendants become children of the runner, which is a subreaper.
///
/// # Errors
/// A message if a process survives [`KILL_TIMEOUT`].
fn kill_and_reap_all(child: i32) -> Result<(), String> {
    let _ = sys::kill(-child, libc::SIGKILL);
    let deadline = sys::now() + KILL_TIMEOUT;
    loop {
        match sys::wait(-1, libc::WNOHANG | libc::__WALL) {
            Ok(Some(_)) => {}
            Err(_) => return Ok(()),
            Ok(None) => {
                kill_descendants();
                let Some(remaining) = deadline.checked_sub(sys::now()) else {
                    return Err("a process of the case does not die of SIGKILL".into());
                };
                // The kernel sends no SIGCHLD when an orphan becomes the runner's child, so check again after
                // 50 ms.
                let _ = sys::sigtimedwait(
                    sys::signal_bit(libc::SIGCHLD),
                    remaining.min(Duration::from_millis(50)),
                );
            }
        }
    }
}

/// Kills the runner's children; if the runner is PID 1, all other processes.
fn kill_descendants() {
    if sys::getpid() == 1 {
        let _ = sys::kill(-1, libc::SIGKILL);
        return;
    }
    let runner = sys::getpid();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `PID (NAME) STATE PPID ...`, where NAME may contain anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent.and_then(|p| p.parse::<i32>().ok()) == Some(runner) {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// Returns the messages and the result of a case. `child_end` is the end of the case's child, or `None` if
/// the child was killed at the deadline. `report` has the frames that the child stored.
fn read_report(child_end: Option<WaitStatus>, report: &[u8]) -> (Vec<GuestMessage>, CaseResult) {
    let mut messages = Vec::new();
    let mut result = None;
    let mut frames = FrameReader::default();
    frames.push(report);
    while let Ok(Some(body)) = frames.next_body() {
        match GuestMessage::decode(&body) {
            Ok(GuestMessage::End { result: end, .. }) => result = Some(end),
            Ok(message) => messages.push(message),
            Err(_) => {}
        }
    }
    let result = match (child_end, result) {
        (None, _) => CaseResult::Hang,
        (Some(WaitStatus::Exited(REPORTED | PANICKED)), Some(result)) => result,
        (Some(WaitStatus::Exited(NOT_SET_UP)), None) => {
            CaseResult::Broken("the case's child could not set itself up".into())
        }
        (Some(child_end), _) => CaseResult::Fail {
            expected: "the case ends by itself".into(),
            got: format!("its process {child_end}"),
        },
    };
    (messages, result)
}
