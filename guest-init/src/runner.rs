// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The guest's side of the conversation over any byte stream, and the life of a case's child.
//!
//! The runner must have one thread: it forks.

use crate::bench;
use crate::case::{Case, Check, Failure, Run};
use crate::conversation::{ConversationError, receive};
use crate::probe::Machine;
use crate::program;
use crate::shared::{self, shared};
use crate::sys::{self, Change};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;
use sudbox_protocol::{
    CaseResult, FrameReader, GuestMessage, HostMessage, Plan, PlannedCase, ResultKind,
};

/// How long descendants may take to die of SIGKILL before the runner goes on without them.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a case's child says that it left a report.
const REPORTED: i32 = 0;
/// The child could not set itself up.
const NOT_SET_UP: i32 = 100;
/// The child panicked.
const PANICKED: i32 = 101;

/// Brings the process to the state in which the kernel starts one: signals, alternate stack,
/// restartable sequences, whatever a runtime did to them. The children inherit it.
///
/// # Errors
/// If the shared memory cannot be had.
pub fn prepare() -> Result<(), ConversationError> {
    for signal in (1..=64).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
        // SAFETY: the default action is always right.
        let _ = unsafe { sys::sigaction(signal, &sys::Action::default()) };
    }
    // SAFETY: nothing runs on the stack that is taken away: no handler is left.
    let _ = unsafe { sys::sigaltstack(0, 0, libc::SS_DISABLE) };
    crate::rseq::unregister();
    // The runner takes note of deaths with rt_sigtimedwait(2), and of a host that went away by
    // the error of a write.
    let blocked = sys::bit(libc::SIGCHLD) | sys::bit(libc::SIGPIPE);
    let _ = sys::sigmask(libc::SIG_SETMASK, blocked);
    // SAFETY: a flag of this process.
    let _ = unsafe { sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    shared::create().map_err(ConversationError::Setup)
}

/// The whole conversation, from the greeting to the acknowledgement of the account, or a program in
/// place of cases. Cases are
/// looked up in `table`; walks, which x86-64 alone has, are in no table.
///
/// # Errors
/// [`ConversationError`] as soon as the other side fails.
pub fn converse<S: Read + Write + AsFd>(
    stream: &mut S,
    machine: &Machine,
    table: &[&[Case]],
) -> Result<(), ConversationError> {
    let mut frames = FrameReader::default();
    stream.write_all(&GuestMessage::Hello(machine.hello()).to_frame())?;
    let plan = match receive(stream, &mut frames)? {
        HostMessage::Plan(plan) => plan,
        HostMessage::Execute(wanted) => return program::run(stream, &mut frames, &wanted),
        other => {
            return Err(ConversationError::Protocol(format!("{other:?} where a plan was due")));
        }
    };
    let account = run_plan(stream, &mut frames, machine, table, &plan)?;
    match receive(stream, &mut frames)? {
        HostMessage::Acknowledge if account == plan.cases.len() => Ok(()),
        other => {
            Err(ConversationError::Protocol(format!("{other:?} where an acknowledgement was due")))
        }
    }
}

/// Runs the cases and sends the account. What one case has to say, its end and the start of the
/// next are one write: a packet and an interrupt each cost more than most cases.
fn run_plan<S: Read + Write>(
    stream: &mut S,
    frames: &mut FrameReader,
    machine: &Machine,
    table: &[&[Case]],
    plan: &Plan,
) -> Result<usize, ConversationError> {
    let mut account = Vec::new();
    let mut out = Vec::new();
    for (index, planned) in (0u32..).zip(&plan.cases) {
        out.extend_from_slice(&GuestMessage::Start { case: index }.to_frame());
        stream.write_all(&out)?;
        out.clear();
        match receive(stream, frames)? {
            HostMessage::Go { case } if case == index => {}
            other => {
                return Err(ConversationError::Protocol(format!(
                    "{other:?} where go {index} was due"
                )));
            }
        }
        let start = sys::now();
        let (said, result) = run_one(machine, table, index, planned);
        let micros = u64::try_from((sys::now() - start).as_micros()).unwrap_or(u64::MAX);
        account.push(result.kind());
        for message in said {
            out.extend_from_slice(&message.to_frame());
        }
        out.extend_from_slice(&GuestMessage::End { case: index, result, micros }.to_frame());
    }
    let cases = account.len();
    out.extend_from_slice(&GuestMessage::Account(account).to_frame());
    stream.write_all(&out)?;
    Ok(cases)
}

fn run_one(
    machine: &Machine,
    table: &[&[Case]],
    index: u32,
    planned: &PlannedCase,
) -> (Vec<GuestMessage>, CaseResult) {
    let listed = table.iter().copied().flatten().find(|case| case.id == planned.id);
    let listed = listed.or_else(|| crate::walk::by_id(&planned.id));
    let listed = listed.or_else(|| bench::TABLE.iter().find(|case| case.id == planned.id));
    let Some(case) = listed else {
        return (vec![], CaseResult::Broken(format!("no case is called {}", planned.id)));
    };
    // In this order: a kernel feature that needs a CPU feature is not absent for the lack of that.
    if let Some(need) = machine.lacks(case.needs) {
        return (vec![], CaseResult::Unmet(need.to_string()));
    }
    if let Some(feature) = machine.without(case.features) {
        return (vec![], CaseResult::Absent(feature));
    }
    run_child(case, index, Duration::from_millis(planned.deadline_ms.into()))
}

/// Runs a case in a child of its own and makes sure that nothing of it is left.
fn run_child(case: &Case, index: u32, deadline: Duration) -> (Vec<GuestMessage>, CaseResult) {
    shared().clear();
    let runner = sys::getpid();
    // SAFETY: the runner has one thread.
    let child = match unsafe { sys::fork() } {
        Ok(0) => be_child(case, index, runner),
        Ok(child) => child,
        Err(error) => return (vec![], CaseResult::Broken(format!("fork: {error}"))),
    };
    let change = await_child(child, deadline);
    let left = clean_up(child, change.is_none());
    let (mut said, result) = judge(change, &shared().report());
    match left {
        Ok(()) => (said, result),
        Err(what) if result.kind() == ResultKind::Pass => {
            let expected = "SIGKILL ends what a case leaves behind".into();
            (said, CaseResult::Fail { expected, got: what })
        }
        Err(text) => {
            said.push(GuestMessage::Log { case: index, text });
            (said, result)
        }
    }
}

fn be_child(case: &Case, index: u32, runner: i32) -> ! {
    // The session is the child's own, so that nothing that it starts can be missed or can hit
    // the runner; the rest is inherited from `prepare`.
    // SAFETY: flags of this process; the name is terminated and read only.
    let ready = unsafe {
        let name = format!("case-{index}\0");
        sys::call(libc::SYS_setsid, &[])
            .and_then(|_| sys::prctl(libc::PR_SET_NAME, name.as_ptr() as u64, 0, 0, 0))
            .and_then(|_| sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0))
            .and_then(|_| sys::sigmask(libc::SIG_SETMASK, 0))
    };
    if ready.is_err() {
        sys::exit(NOT_SET_UP);
    }
    // The runner may have died before the death signal was asked for.
    // SAFETY: touches no memory.
    if unsafe { sys::call(libc::SYS_getppid, &[]) } != Ok(u64::from(runner.cast_unsigned())) {
        sys::exit(NOT_SET_UP);
    }
    let outcome: Check = check(case.run);
    let result = match outcome {
        Ok(()) => CaseResult::Pass,
        Err(Failure::Mismatch { expected, got }) => CaseResult::Fail { expected, got },
        Err(Failure::Unmet(what)) => CaseResult::Unmet(what),
        Err(Failure::Broken(why)) => CaseResult::Broken(why),
    };
    let mut report = Vec::new();
    for text in crate::support::take_logs() {
        report.extend_from_slice(&GuestMessage::Log { case: index, text }.to_frame());
    }
    if let Some(measurement) = bench::take() {
        report.extend_from_slice(&GuestMessage::Measured { case: index, measurement }.to_frame());
    }
    let end = GuestMessage::End { case: index, result, micros: 0 };
    report.extend_from_slice(&end.to_frame());
    shared().leave_report(&report);
    sys::exit(REPORTED);
}

/// Runs the check of a case.
fn check(run: Run) -> Check {
    match run {
        Run::Check(check) => check(),
        Run::Walk(seed) => crate::walk::check(seed),
        Run::Compare(way) => crate::compare::check(way),
    }
}

/// How a panic in a child of the runner ends it, so that the runner hears of it. To be called
/// by the panic hook in any process but the runner's own.
pub fn end_of_panicked_child(what: &str) -> ! {
    let result = CaseResult::Broken(format!("the case panicked: {what}"));
    let end = GuestMessage::End { case: 0, result, micros: 0 };
    shared().leave_report(&end.to_frame());
    sys::exit(PANICKED);
}

/// Waits for the child's death, without reaping it; `None` when the deadline comes first.
fn await_child(child: i32, deadline: Duration) -> Option<Change> {
    let end = sys::now() + deadline;
    loop {
        if let Some(change) = peek(child) {
            return Some(change);
        }
        let left = end.checked_sub(sys::now())?;
        // Any answer, also an error, leads to another look at the child.
        let _ = sys::sigtimedwait(sys::bit(libc::SIGCHLD), left);
    }
}

/// How the child died, which stays a zombie so that its process group keeps its number.
fn peek(child: i32) -> Option<Change> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zero is a valid siginfo, which the call fills.
    let (answer, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = child.cast_unsigned();
        let answer = libc::waitid(libc::P_PID, id, &raw mut info, options);
        (answer, info)
    };
    // SAFETY: waitid fills these fields.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if answer != 0 || pid != child {
        return None;
    }
    Some(match info.si_code {
        libc::CLD_EXITED => Change::Exited(status),
        code => Change::Killed { signal: status, core: code == libc::CLD_DUMPED },
    })
}

/// Ends and reaps all that is left of a case: the child, its group, and what left the group,
/// which is the runner's child by now, as it is the reaper of its descendants.
fn clean_up(child: i32, alive: bool) -> Result<(), String> {
    if alive {
        let _ = sys::kill(child, libc::SIGKILL);
    }
    let _ = sys::kill(-child, libc::SIGKILL);
    let end = sys::now() + PATIENCE;
    loop {
        match sys::wait(-1, libc::WNOHANG | libc::__WALL) {
            Ok(Some(_)) => {}
            Err(_) => return Ok(()),
            Ok(None) => {
                kill_stray();
                let Some(left) = end.checked_sub(sys::now()) else {
                    return Err("a process of the case does not die of SIGKILL".into());
                };
                // Somebody dies soon and says so; a look now and then serves those whose parent
                // does not let go of them at once.
                let _ =
                    sys::sigtimedwait(sys::bit(libc::SIGCHLD), left.min(Duration::from_millis(50)));
            }
        }
    }
}

/// Kills every descendant. PID 1 owns the machine; any other runner looks for its children.
fn kill_stray() {
    if sys::getpid() == 1 {
        let _ = sys::kill(-1, libc::SIGKILL);
        return;
    }
    let me = sys::getpid();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything, so count from its end: state, parent.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent.and_then(|p| p.parse::<i32>().ok()) == Some(me) {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// From how the child ended and what it left behind to what it said and its result.
fn judge(change: Option<Change>, report: &[u8]) -> (Vec<GuestMessage>, CaseResult) {
    let mut said = Vec::new();
    let mut result = None;
    let mut frames = FrameReader::default();
    frames.push(report);
    while let Ok(Some(body)) = frames.next_body() {
        match GuestMessage::decode(&body) {
            Ok(GuestMessage::End { result: end, .. }) => result = Some(end),
            Ok(message) => said.push(message),
            Err(_) => {}
        }
    }
    let result = match (change, result) {
        (None, _) => CaseResult::Hang,
        (Some(Change::Exited(REPORTED | PANICKED)), Some(result)) => result,
        (Some(Change::Exited(NOT_SET_UP)), None) => {
            CaseResult::Broken("the case's child could not set itself up".into())
        }
        (Some(change), _) => CaseResult::Fail {
            expected: "the case ends by itself".into(),
            got: format!("its process {change}"),
        },
    };
    (said, result)
}
