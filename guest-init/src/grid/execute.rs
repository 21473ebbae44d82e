// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tries points on this kernel and keeps what is seen of each.
//!
//! Points that leave their task alive are tried one after the other in one task; the first that
//! does not ends it. In such a task only gates and calls from inside are used: nothing may allocate,
//! format or panic.

use super::dimension::{
    Armed, Handling, Parent, Pending, Point, Rseq, Seccomp, Sysctl, Task, Tracer,
};
use super::ground::{Ground, STACK};
use super::model::{self, FILTERED, Frame, PATIENCE, REAL_TIME, Sight, TRAPPED, Told};
use super::surroundings::Surroundings;
use super::trace;
use crate::arch::{self, Context, Gate, Reg, Registers};
use crate::case::Failure;
use crate::filter::{self, statement};
use crate::shared::Seen;
use crate::support::{PAGE, broken};
use crate::sys::{self, Action, Change};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Most sights of a point that are kept.
const KEPT: usize = 48;

/// Most points of one task.
const POINTS: usize = 64;

/// Pages of a task's stack: signal frames nest on it.
const STACK_PAGES: usize = 24;

/// What is seen of one point.
#[repr(C)]
struct Record {
    count: AtomicU32,
    /// Whether the point is through and its task lives.
    done: AtomicU32,
    sights: [UnsafeCell<Sight>; KEPT],
}

/// What a task, its tracer and its parent share.
#[repr(C)]
pub(super) struct Board {
    effect: [AtomicU32; 4],
    /// The index of the point that is tried.
    pub(super) current: AtomicU32,
    /// Whether the tracer is to keep what it sees.
    pub(super) active: AtomicU32,
    /// Set when a thread may begin: its number; then, when the tracer is there.
    pub(super) thread: AtomicU32,
    pub(super) attached: AtomicU32,
    /// Set when the tracer has seen how the thread ended. Until then its process lives: once that
    /// exits, its code is told for the thread's.
    reaped: AtomicU32,
    /// 0 when the thread is gone.
    thread_lives: AtomicU32,
    records: [Record; POINTS],
    /// Calls of the task before its first point, and of its parent behind its last.
    aside: Record,
}

static BOARD: AtomicPtr<Board> = AtomicPtr::new(std::ptr::null_mut());
static GROUND: AtomicPtr<Ground> = AtomicPtr::new(std::ptr::null_mut());

/// The byte that the handler of SIGSYS sets to ALLOW.
static SELECTOR: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());
/// The registers of the call that may be dispatched.
static CALL: AtomicPtr<Registers> = AtomicPtr::new(std::ptr::null_mut());
/// Whether sights go to [`Board::aside`].
static ASIDE: AtomicBool = AtomicBool::new(false);
/// How often the handler ran in this point.
static HANDLED: AtomicU32 = AtomicU32::new(0);

/// The selector of an armed parent.
static PARENT_SELECTOR: AtomicU8 = AtomicU8::new(0);

pub(super) fn board() -> &'static Board {
    // SAFETY: `prepare` made it; zero bytes are valid where they are read: a sight is read only
    // when it was written.
    unsafe { &*BOARD.load(Ordering::SeqCst) }
}

pub(super) fn ground() -> &'static Ground {
    // SAFETY: `prepare` made it, and it is never freed.
    unsafe { &*GROUND.load(Ordering::SeqCst) }
}

/// Makes memory for all that follows.
pub(super) fn prepare(offers: super::ground::Offers) -> Result<(), Failure> {
    let length = size_of::<Board>().next_multiple_of(PAGE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let board = sys::map_at(0x2000_0000, length, flags, -1).map_err(broken("mmap"))?;
    if board as u64 >> 32 != 0 {
        return Err(Failure::Broken("no memory below 4 GiB".into()));
    }
    BOARD.store(board.cast(), Ordering::SeqCst);
    let handlers = [on_sigsys as *const () as u64, on_plain_sigsys as *const () as u64];
    let ground = Ground::new(offers, board as u64, handlers)?;
    GROUND.store(Box::into_raw(Box::new(ground)), Ordering::SeqCst);
    handle(Handling::Handler).map_err(broken("rt_sigaction"))
}

/// The record that a sight belongs to now.
fn record() -> &'static Record {
    if ASIDE.load(Ordering::SeqCst) {
        return &board().aside;
    }
    &board().records[board().current.load(Ordering::SeqCst) as usize % POINTS]
}

pub(super) fn see(sight: Sight) {
    let record = record();
    let at = record.count.fetch_add(1, Ordering::SeqCst) as usize;
    if let Some(place) = record.sights.get(at) {
        // SAFETY: the counter gives each place away once.
        unsafe { *place.get() = sight };
    }
}

fn seen(record: &Record) -> Vec<Sight> {
    let count = (record.count.load(Ordering::SeqCst) as usize).min(KEPT);
    // SAFETY: whoever wrote them is stopped or dead.
    record.sights[..count].iter().map(|sight| unsafe { *sight.get() }).collect()
}

/// What was seen of a task that tried points.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Of each point that was begun.
    pub(super) points: Vec<Vec<Sight>>,
    /// What the task's own first call and its parent's last showed.
    pub(super) aside: Vec<Sight>,
}

/// What a new task is given.
struct Errand<'a> {
    points: &'a [Point],
}

/// What points must have in common to be tried in one task.
#[must_use]
pub(super) fn companions(a: &Point, b: &Point) -> bool {
    a.task() == b.task()
        && a.tracer() == b.tracer()
        && a.seccomp() == Seccomp::None
        && b.seccomp() == Seccomp::None
        && a.rseq() == b.rseq()
        && a.parent() == b.parent()
        && a.watch() == b.watch()
        && a.sysctl() == b.sysctl()
}

/// Tries these points, [`companions`] all, in one task, at most [`POINTS`].
///
/// # Errors
/// If the task cannot be had.
pub(super) fn execute(
    points: &[Point],
    surroundings: &mut Surroundings,
) -> Result<Outcome, Failure> {
    let Some(first) = points.first() else {
        return Ok(Outcome { points: Vec::new(), aside: Vec::new() });
    };
    let points = &points[..points.len().min(POINTS)];
    let board = board();
    for record in board.records[..points.len()].iter().chain([&board.aside]) {
        record.count.store(0, Ordering::SeqCst);
        record.done.store(0, Ordering::SeqCst);
    }
    let words = [&board.current, &board.active, &board.thread, &board.attached, &board.reaped];
    for word in words {
        word.store(0, Ordering::SeqCst);
    }
    let errand = Errand { points };
    let armed = first.parent() == Parent::Armed && first.task() != Task::Thread;
    surroundings.observe(first)?;
    if armed {
        if first.sysctl() == Sysctl::Denies {
            surroundings.permit(&Point::default())?;
        }
        arm_parent();
    }
    surroundings.permit(first)?;
    let process = begin(first.task(), &errand)?;
    let tracer = first.tracer();
    let traced = tracer != Tracer::None;
    let end = if traced { trace::follow(process, points) } else { end_of(process) };
    let end = end.inspect_err(|_| {
        // It must not outlive what it was given.
        let _ = sys::kill(process, libc::SIGKILL);
        let _ = sys::wait(process, libc::__WALL);
    })?;
    // The first thread of a traced one has calls to make when that is gone.
    announce(&board.reaped, 1);
    let whole = traced && first.task() == Task::Thread;
    let whole = if whole { Some(end_of(process)?) } else { None };
    ASIDE.store(false, Ordering::SeqCst);
    let current = board.current.load(Ordering::SeqCst) as usize % POINTS;
    if board.records[current].done.load(Ordering::SeqCst) == 0 {
        see(match end {
            Change::Exited(0) if first.task() == Task::Thread && !traced => Sight::ThreadGone,
            Change::Exited(code) => Sight::Exited(code),
            Change::Killed { signal, .. } => Sight::Killed(signal),
            Change::Stopped(signal) => Sight::Trouble(signal),
        });
        match whole {
            None => {}
            Some(Change::Exited(code)) => see(Sight::Process(code)),
            Some(Change::Killed { signal, .. }) => see(Sight::Process(128 + signal)),
            Some(Change::Stopped(signal)) => see(Sight::Trouble(signal)),
        }
    }
    if first.task() != Task::Thread {
        probe_as_parent(armed);
    }
    let points = board.records[..=current].iter().map(seen).collect();
    Ok(Outcome { points, aside: seen(&board.aside) })
}

fn end_of(process: i32) -> Result<Change, Failure> {
    let waited = sys::wait(process, libc::__WALL).map_err(broken("wait4"))?;
    waited.map(|(_, change)| change).ok_or_else(|| Failure::Broken("wait4 gave nothing".into()))
}

/// Starts the task. Gives its process.
fn begin(task: Task, errand: &Errand<'_>) -> Result<i32, Failure> {
    let errand = std::ptr::from_ref(errand) as u64;
    let child = match task {
        Task::Forked => {
            // SAFETY: the child uses no locks.
            match unsafe { sys::fork() }.map_err(broken("fork"))? {
                0 => {
                    run(errand);
                    sys::exit(0)
                }
                child => return Ok(child),
            }
        }
        Task::Thread => spawn(libc::CLONE_VM | libc::SIGCHLD, lead, errand, 0),
        Task::Init => spawn(libc::CLONE_VM | libc::CLONE_NEWPID | libc::SIGCHLD, run, errand, 0),
        Task::Vfork => spawn(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, run, errand, 0),
        Task::Child | Task::Session => spawn(libc::CLONE_VM | libc::SIGCHLD, run, errand, 0),
    };
    child.map_err(broken("clone"))
}

/// Starts a task that shares memory, on one of two stacks.
fn spawn(
    flags: i32,
    run: extern "C" fn(u64) -> u64,
    errand: u64,
    stack: usize,
) -> sys::Result<i32> {
    static STACKS: [AtomicPtr<u8>; 2] =
        [AtomicPtr::new(std::ptr::null_mut()), AtomicPtr::new(std::ptr::null_mut())];
    let length = STACK_PAGES * PAGE;
    if STACKS[stack].load(Ordering::SeqCst).is_null() {
        STACKS[stack].store(sys::map(length, false)?, Ordering::SeqCst);
    }
    // SAFETY: mapped above, and whoever ran on it before is gone.
    let place =
        unsafe { std::slice::from_raw_parts_mut(STACKS[stack].load(Ordering::SeqCst), length) };
    let top = arch::prepare_stack(place, run, errand);
    let arguments = [u64::from(flags.cast_unsigned()), top, 0, 0];
    // SAFETY: the stack was prepared and stays.
    let child = unsafe { arch::spawn(libc::SYS_clone.cast_unsigned(), arguments) };
    sys::split(child).map(|child| i32::try_from(child).unwrap_or(-1))
}

/// The first thread of a process whose second tries points.
extern "C" fn lead(errand: u64) -> u64 {
    // SAFETY: the parent passes the address of its errand, and waits.
    let points = unsafe { &*(errand as *const Errand<'_>) }.points;
    let armed = points.first().is_some_and(|point| point.parent() == Parent::Armed);
    if armed {
        arm_parent();
    }
    let board = board();
    board.thread_lives.store(1, Ordering::SeqCst);
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    if let Err(error) = spawn(flags, run, errand, 1) {
        see(Sight::Trouble(error.0));
        sys::exit(1);
    }
    while board.thread_lives.load(Ordering::SeqCst) != 0 {
        wait_while(&board.thread_lives, 1);
    }
    let traced = points.first().is_some_and(|point| point.tracer() != Tracer::None);
    while traced && board.reaped.load(Ordering::SeqCst) == 0 {
        wait_while(&board.reaped, 0);
    }
    probe_as_parent(armed);
    sys::exit(0)
}

/// Sleeps while this says so, or a little less long.
pub(super) fn wait_while(word: &AtomicU32, value: u32) {
    let at = word.as_ptr() as u64;
    // SAFETY: sleeps while the word has that value.
    let _ = unsafe {
        sys::call(libc::SYS_futex, &[at, libc::FUTEX_WAIT.cast_unsigned().into(), value.into(), 0])
    };
}

/// Sets a word and wakes whoever waits for that.
pub(super) fn announce(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::SeqCst);
    let at = word.as_ptr() as u64;
    // SAFETY: wakes sleepers only.
    let _ =
        unsafe { sys::call(libc::SYS_futex, &[at, libc::FUTEX_WAKE.cast_unsigned().into(), 1, 0]) };
}

fn arm_parent() {
    PARENT_SELECTOR.store(0, Ordering::SeqCst);
    let inside = arch::inside();
    let selector = PARENT_SELECTOR.as_ptr() as u64;
    if let Err(error) = sys::set_dispatch(1, inside.start, inside.end - inside.start, selector) {
        see(Sight::Trouble(error.0));
    }
}

/// What the parent's own call shows behind all points: it must be what its own configuration says.
fn probe_as_parent(armed: bool) {
    ASIDE.store(true, Ordering::SeqCst);
    // The threads of a process share what becomes of SIGSYS.
    if let Err(error) = handle(Handling::Handler) {
        see(Sight::Trouble(error.0));
    }
    probe(true);
    if armed && let Err(error) = sys::set_dispatch(0, 0, 0, 0) {
        see(Sight::Trouble(error.0));
    }
    ASIDE.store(false, Ordering::SeqCst);
}

/// A call with the parent's selector at BLOCK, kept aside.
fn probe(own: bool) {
    SELECTOR.store((&raw const PARENT_SELECTOR).cast_mut(), Ordering::SeqCst);
    HANDLED.store(0, Ordering::SeqCst);
    PARENT_SELECTOR.store(1, Ordering::SeqCst);
    let registers = effect_call();
    let (result, executed) = issue(&arch::second_gate(), &registers);
    PARENT_SELECTOR.store(0, Ordering::SeqCst);
    let result = Some(result[Reg::RESULT]).filter(|_| own);
    see(Sight::Behind { result, kept: true, executed });
}

fn effect_call() -> Registers {
    let [a, b, c] = ground().layout.effect;
    Registers::call(libc::SYS_getresuid.cast_unsigned(), [a, b, c, 0, 0, 0])
}

/// What no user has for an id.
const NOBODY: u32 = 0xa5a5_a5a5;

/// Issues a call and says whether it had its effect.
fn issue(gate: &Gate, registers: &Registers) -> (Registers, bool) {
    let effect = &board().effect[..3];
    effect.iter().for_each(|word| word.store(NOBODY, Ordering::SeqCst));
    CALL.store(std::ptr::from_ref(registers).cast_mut(), Ordering::SeqCst);
    let behind = gate.issue(registers);
    (behind, effect.iter().all(|word| word.load(Ordering::SeqCst) != NOBODY))
}

/// The task that tries points.
extern "C" fn run(errand: u64) -> u64 {
    // SAFETY: the parent passes the address of its errand, and waits.
    let points = unsafe { &*(errand as *const Errand<'_>) }.points;
    let Some(first) = points.first() else { return 0 };
    if let Err(error) = settle(first) {
        see(Sight::Trouble(error.0));
        return 1;
    }
    for (index, point) in (0u32..).zip(points) {
        board().current.store(index, Ordering::SeqCst);
        HANDLED.store(0, Ordering::SeqCst);
        if let Err(error) = try_out(point) {
            see(Sight::Trouble(error.0));
        }
        let record = &board().records[index as usize % POINTS];
        record.done.store(1, Ordering::SeqCst);
        board().active.store(0, Ordering::SeqCst);
        if point.seccomp() == Seccomp::Strict {
            break;
        }
    }
    0
}

/// What a task does before its first point.
fn settle(first: &Point) -> sys::Result<()> {
    let board = board();
    if first.task() == Task::Thread {
        let word = board.thread_lives.as_ptr() as u64;
        // SAFETY: the kernel clears the word when this thread ends.
        unsafe { sys::call(libc::SYS_set_tid_address, &[word]) }?;
    }
    if first.task() == Task::Session {
        // SAFETY: touches no memory.
        unsafe { sys::call(libc::SYS_setsid, &[]) }?;
    }
    // Who is born of an armed task is not armed.
    ASIDE.store(true, Ordering::SeqCst);
    probe(false);
    ASIDE.store(false, Ordering::SeqCst);
    if first.rseq() == Rseq::Registered {
        register_rseq()?;
    }
    let tracer = first.tracer();
    let number = sys::gettid().cast_unsigned();
    if tracer.seizes() {
        announce(&board.thread, number);
        while board.attached.load(Ordering::SeqCst) == 0 {
            wait_while(&board.attached, 0);
        }
    } else if tracer != Tracer::None {
        crate::ptrace::trace_me()?;
        announce(&board.thread, number);
    }
    Ok(())
}

/// An area of restartable sequences for the task's life.
fn register_rseq() -> sys::Result<()> {
    #[repr(C, align(32))]
    struct Area(UnsafeCell<[u32; 8]>);
    // SAFETY: the kernel alone writes to it, on behalf of the one task that registers it.
    unsafe impl Sync for Area {}
    static AREA: Area = Area(UnsafeCell::new([0; 8]));
    // SAFETY: the area is 32 bytes and stays; nobody else uses it.
    unsafe {
        (*AREA.0.get()) = [0, u32::MAX, 0, 0, 0, 0, 0, 0];
        let area = AREA.0.get() as u64;
        sys::call(libc::SYS_rseq, &[area, 32, 0, arch::RSEQ_SIGNATURE]).map(drop)
    }
}

/// One point, from the setting of signals to the clearing away of all.
fn try_out(point: &Point) -> sys::Result<()> {
    let ground = ground();
    let layout = &ground.layout;
    let kind = point.selector() as usize;
    SELECTOR.store(std::ptr::null_mut(), Ordering::SeqCst);
    if let Some(byte) = ground.bytes[kind] {
        byte.store(0, Ordering::SeqCst);
        SELECTOR.store(std::ptr::from_ref(byte).cast_mut(), Ordering::SeqCst);
    }
    prepare_signals(point)?;
    filter_calls(point)?;
    let set = |arguments: [u64; 4]| {
        let [mode, offset, length, selector] = arguments;
        let answer = sys::set_dispatch(mode, offset, length, selector);
        see(Sight::Set(answer.map_or_else(|error| error.0, |()| 0)));
    };
    match point.armed() {
        Armed::Again => set(model::earlier(layout)),
        Armed::After => {
            set(model::earlier(layout));
            set([0; 4]);
        }
        Armed::Once | Armed::Tracer => {}
    }
    if point.armed() != Armed::Tracer {
        set(model::arguments(point, layout));
    }
    // From here on no call from inside may be needed: it may be dispatched itself.
    if point.tracer() != Tracer::None {
        board().active.store(1, Ordering::SeqCst);
        sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP)?;
    }
    if point.seccomp() == Seccomp::Strict {
        // SAFETY: strict mode is the task's own.
        unsafe { sys::prctl(libc::PR_SET_SECCOMP, 1, 0, 0, 0) }?;
    }
    let registers = model::registers(point, layout);
    let Some(gate) = layout.entry(point.entry()) else { return Ok(()) };
    let say = |value: u8| {
        if let Some(byte) = ground.bytes[kind] {
            byte.store(value, Ordering::SeqCst);
        }
    };
    for _ in 0..point.times().count() {
        say(point.value());
        let (behind, executed) = issue(&gate, &registers);
        say(0);
        let kept = is_kept(&behind, &registers, gate.after(), point.tracer().steps());
        see(Sight::Behind { result: Some(behind[Reg::RESULT]), kept, executed });
    }
    if point.seccomp() == Seccomp::Strict {
        board().active.store(0, Ordering::SeqCst);
        // It knows no exit_group(2).
        board().records[board().current.load(Ordering::SeqCst) as usize % POINTS]
            .done
            .store(1, Ordering::SeqCst);
        loop {
            // SAFETY: ends the task.
            let _ = unsafe { sys::call(libc::SYS_exit, &[0]) };
        }
    }
    let (_, executed) = issue(&layout.next_gate(point.entry()), &effect_call());
    see(Sight::Next { executed });
    sys::set_dispatch(0, 0, 0, 0)?;
    clear_signals(point)
}

/// Whether all registers that the call keeps hold what they held. A step leaves its mark among
/// those that the instruction overwrites.
fn is_kept(got: &Registers, due: &Registers, after: u64, steps: bool) -> bool {
    let same = |reg: Reg| got[reg] == due[reg];
    let arguments = Reg::ARGUMENTS.into_iter().filter(|reg| *reg != Reg::RESULT);
    let scratch = Reg::SCRATCH.map(|reg| got[reg]);
    Reg::preserved().filter(|reg| *reg != Reg::Sp).chain(arguments).all(same)
        && (steps || due.scratch_behind(after).contains(&scratch))
}

/// Blocks and raises what is to be pending, and sets what becomes of SIGSYS.
fn prepare_signals(point: &Point) -> sys::Result<()> {
    let handling = point.handling();
    let raise = |signal: i32| sys::tgkill(sys::getpid(), sys::gettid(), signal);
    let mut blocked = 0;
    if matches!(handling, Handling::Blocked | Handling::IgnoredBlocked) {
        blocked |= sys::bit(libc::SIGSYS);
    }
    let pending = match point.pending() {
        Pending::Nothing | Pending::NoRoom => None,
        Pending::Other => Some(libc::SIGUSR1),
        Pending::Same => Some(libc::SIGSYS),
        Pending::Fault => Some(libc::SIGSEGV),
        Pending::RealTime => Some(REAL_TIME),
    };
    if let Some(signal) = pending {
        blocked |= sys::bit(signal);
    }
    if blocked != 0 {
        sys::sigmask(libc::SIG_SETMASK, blocked)?;
    }
    if let Some(signal) = pending {
        match signal {
            libc::SIGSYS => handle(Handling::Handler)?,
            libc::SIGUSR1 | REAL_TIME => install(signal, on_other as *const () as u64, 0)?,
            _ => {}
        }
        raise(signal)?;
    }
    if point.pending() == Pending::NoRoom {
        limit_pending(0)?;
    }
    let stack = match handling {
        Handling::OnStack => Some((ground().stacks[0], 0)),
        Handling::AutoDisarm => Some((ground().stacks[0], SS_AUTODISARM)),
        Handling::BadStack => Some((ground().stacks[1], 0)),
        _ => None,
    };
    if let Some((stack, flags)) = stack {
        // SAFETY: memory that stays; of the second stack, that nothing can run there is the point.
        unsafe { sys::sigaltstack(stack, STACK as u64, flags) }?;
    }
    handle(handling)
}

/// `SS_AUTODISARM` (include/uapi/linux/signal.h).
const SS_AUTODISARM: i32 = i32::MIN;

/// Sets how many signals of this user may be pending, as far as that is allowed.
fn limit_pending(limit: u64) -> sys::Result<()> {
    let mut limits = [0u64; 2];
    let which = u64::from(libc::RLIMIT_SIGPENDING);
    // SAFETY: reads and writes the two limits.
    unsafe {
        sys::call(libc::SYS_prlimit64, &[0, which, 0, limits.as_mut_ptr() as u64])?;
        limits[0] = limit.min(limits[1]);
        sys::call(libc::SYS_prlimit64, &[0, which, limits.as_ptr() as u64, 0])?;
    }
    Ok(())
}

/// Lets nothing be left of a point's signals: SIGUSR1 and the real-time one are handled now.
fn clear_signals(point: &Point) -> sys::Result<()> {
    match point.pending() {
        Pending::NoRoom => limit_pending(u64::MAX)?,
        // What is ignored is pending no more.
        Pending::Same => install(libc::SIGSYS, 1, 0)?,
        Pending::Fault => {
            install(libc::SIGSEGV, 1, 0)?;
            install(libc::SIGSEGV, 0, 0)?;
        }
        _ => {}
    }
    if point.pending() != Pending::Nothing
        || matches!(point.handling(), Handling::Blocked | Handling::IgnoredBlocked)
    {
        sys::sigmask(libc::SIG_SETMASK, 0)?;
    }
    if matches!(point.handling(), Handling::OnStack | Handling::AutoDisarm | Handling::BadStack) {
        // SAFETY: nothing runs on it.
        unsafe { sys::sigaltstack(0, 0, libc::SS_DISABLE) }?;
    }
    Ok(())
}

/// Installs the filter that decides on the call under test, by its address.
fn filter_calls(point: &Point) -> sys::Result<()> {
    let action = match point.seccomp() {
        Seccomp::None | Seccomp::Strict => return Ok(()),
        Seccomp::Allow => libc::SECCOMP_RET_ALLOW,
        Seccomp::Errno => libc::SECCOMP_RET_ERRNO | FILTERED.cast_unsigned(),
        Seccomp::Trap => libc::SECCOMP_RET_TRAP | TRAPPED.cast_unsigned(),
        Seccomp::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let Some(gate) = ground().layout.entry(point.entry()) else { return Ok(()) };
    // The low half of `seccomp_data.instruction_pointer`.
    let place = 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let low = u32::try_from(gate.after() & 0xffff_ffff).unwrap_or(0);
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, place),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, low),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, 0).map(drop)
}

fn handle(handling: Handling) -> sys::Result<()> {
    let handler = on_sigsys as *const () as u64;
    let (handler, flags) = match handling {
        Handling::Handler | Handling::Blocked => (handler, 0),
        Handling::OnStack | Handling::BadStack | Handling::AutoDisarm => {
            (handler, libc::SA_ONSTACK)
        }
        Handling::NoDefer => (handler, libc::SA_NODEFER),
        Handling::Once => (handler, libc::SA_RESETHAND),
        Handling::Restart => (handler, libc::SA_RESTART),
        Handling::Plain => (on_plain_sigsys as *const () as u64, 0),
        Handling::Ignored | Handling::IgnoredBlocked => (1, 0),
        Handling::Default => (0, 0),
    };
    let information =
        if handler == on_plain_sigsys as *const () as u64 { 0 } else { libc::SA_SIGINFO };
    install(libc::SIGSYS, handler, flags | information)
}

fn install(signal: i32, handler: u64, flags: i32) -> sys::Result<()> {
    let flags = u64::from(flags.cast_unsigned()) | sys::SA_RESTORER;
    let action = Action { handler, flags, restorer: arch::restorer(), mask: 0 };
    // SAFETY: all are handlers, or no handler.
    unsafe { sys::sigaction(signal, &action) }
}

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut Context) {
    let stack = arch::current_stack();
    // SAFETY: the kernel hands a handler with SA_SIGINFO both, on its stack.
    let (info, frame) = unsafe { (*info, &*frame) };
    let registers = frame.registers;
    let seen = Seen { info, registers, flags: 0, stack, frame_mask: frame.mask };
    let on_stack = ground().stacks[0]..ground().stacks[0] + STACK as u64;
    // SAFETY: the registers of the call that is issued, which wait for its end.
    let call = unsafe { CALL.load(Ordering::SeqCst).as_ref() };
    let told = told(&seen);
    let inside = arch::inside();
    let kept = inside.contains(&told.at)
        || call.is_some_and(|call| is_kept(&registers, call, told.at, true));
    see(Sight::Handled(Some(Frame {
        told: Told { at: normal(told.at), ..told },
        on_stack: on_stack.contains(&stack),
        result: registers[Reg::RESULT],
        next: normal(registers[Reg::NEXT]),
        kept,
        mask: frame.mask,
    })));
    handled();
}

extern "C" fn on_plain_sigsys(_: i32) {
    see(Sight::Handled(None));
    handled();
}

/// The end of both handlers.
fn handled() {
    // SAFETY: a byte that stays.
    if let Some(byte) = unsafe { SELECTOR.load(Ordering::SeqCst).as_ref() } {
        byte.store(0, Ordering::SeqCst);
    }
    if HANDLED.fetch_add(1, Ordering::SeqCst) + 1 >= PATIENCE {
        // SAFETY: nothing is there: the point ends here.
        unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
    }
}

extern "C" fn on_other(signal: i32) {
    see(Sight::Signalled(signal));
}

/// An address, or that of the first call from inside for all of those.
pub(super) fn normal(address: u64) -> u64 {
    let inside = arch::inside();
    if inside.contains(&address) { inside.start } else { address }
}

/// What a SIGSYS tells, if a filter or dispatch raised it.
pub(super) fn told(seen: &Seen) -> Told {
    let code = seen.code();
    if !matches!(code, 1 | 2) {
        return Told { code, ..Told::default() };
    }
    Told {
        code,
        errno: seen.errno(),
        number: seen.number(),
        arch: seen.arch(),
        at: seen.call_address(),
    }
}
