// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs points on this kernel and collects their observations.
//!
//! A task runs points one after the other until a point ends the task. The task can make system calls only
//! from gates and inside the allowed range, so its code must not allocate, format or panic.
//!
//! A *control call* is a call whose dispatch does not depend on the points. The task makes one before
//! its first point, and the task's parent makes one after the last point.

use super::dimension::{Parent, Point, Rseq, Seccomp, Sysctl, Task, Tracer};
use super::observation::Observation;
use super::run_point::{self, getresuid_call, issue_call, run_point, set_disposition};
use super::shared_state::{
    IN_CONTROL_CALL, MAX_POINTS, observe, shared_state, store_and_wake, wait_while,
};
use super::system_state::SystemState;
use super::{dimension::Disposition, trace};
use crate::arch::{self, Reg};
use crate::case::Failure;
use crate::support::{PAGE_SIZE, broken};
use crate::sys::{self, WaitStatus};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// The size in pages of a task's stack. Signal frames nest on the stack.
const STACK_PAGES: usize = 24;

/// The selector of an armed parent.
static PARENT_SELECTOR: AtomicU8 = AtomicU8::new(0);

/// The observations of a task that ran points.
#[derive(Debug)]
pub(super) struct TaskResult {
    /// The observations of each point that was begun.
    pub(super) points: Vec<Vec<Observation>>,
    /// The observations of the control calls of the task and of its parent.
    pub(super) control: Vec<Observation>,
}

/// The argument of a task that runs points.
struct TaskInput<'a> {
    points: &'a [Point],
}

/// Whether one task can run both points.
#[must_use]
pub(super) fn can_share_task(a: &Point, b: &Point) -> bool {
    a.task() == b.task()
        && a.tracer() == b.tracer()
        && a.seccomp() == Seccomp::None
        && b.seccomp() == Seccomp::None
        && a.rseq() == b.rseq()
        && a.parent() == b.parent()
        && a.monitor() == b.monitor()
        && a.sysctl() == b.sysctl()
}

/// Runs points in one task: at most [`MAX_POINTS`] points, up to the first point that ends the task. All
/// points must be able to share a task ([`can_share_task`]).
///
/// # Errors
/// [`Failure::Broken`] if the task cannot be started or traced.
pub(super) fn execute(
    points: &[Point],
    system_state: &mut SystemState,
) -> Result<TaskResult, Failure> {
    let Some(first) = points.first() else {
        return Ok(TaskResult { points: Vec::new(), control: Vec::new() });
    };
    let points = &points[..points.len().min(MAX_POINTS)];
    let shared = shared_state();
    shared.clear(points.len());
    let input = TaskInput { points };
    let arms_itself = first.parent() == Parent::Armed && first.task() != Task::Thread;
    system_state.set_monitor(first)?;
    if arms_itself {
        if first.sysctl() == Sysctl::Denies {
            system_state.set_sysctl(&Point::default())?;
        }
        arm_parent();
    }
    system_state.set_sysctl(first)?;
    let process = start_task(first.task(), &input)?;
    let is_traced = first.tracer() != Tracer::None;
    let end = if is_traced { trace::trace_task(process, points) } else { wait_for_end(process) };
    let end = end.inspect_err(|_| {
        // The task must not outlive its input.
        let _ = sys::kill(process, libc::SIGKILL);
        let _ = sys::wait(process, libc::__WALL);
    })?;
    // A traced first thread waits for this word before it makes its control call.
    store_and_wake(&shared.is_thread_reaped, 1);
    let process_end =
        if is_traced && first.task() == Task::Thread { Some(wait_for_end(process)?) } else { None };
    IN_CONTROL_CALL.store(false, Ordering::SeqCst);
    let current = shared.current_index();
    if shared.records[current].is_complete.load(Ordering::SeqCst) == 0 {
        observe(match end {
            WaitStatus::Exited(0) if first.task() == Task::Thread && !is_traced => {
                Observation::ThreadGone
            }
            WaitStatus::Exited(code) => Observation::Exited(code),
            WaitStatus::Killed { signal, .. } => Observation::Killed(signal),
            WaitStatus::Stopped(signal) => Observation::SetupFailed(signal),
        });
        match process_end {
            None => {}
            Some(WaitStatus::Exited(code)) => observe(Observation::ProcessEnded(code)),
            Some(WaitStatus::Killed { signal, .. }) => {
                observe(Observation::ProcessEnded(128 + signal))
            }
            Some(WaitStatus::Stopped(signal)) => observe(Observation::SetupFailed(signal)),
        }
    }
    if first.task() != Task::Thread {
        make_parent_control_call(arms_itself);
    }
    let points = shared.records[..=current].iter().map(|record| record.observations()).collect();
    Ok(TaskResult { points, control: shared.control.observations() })
}

/// Waits until the process ends. Returns how it ended.
fn wait_for_end(process: i32) -> Result<WaitStatus, Failure> {
    let waited = sys::wait(process, libc::__WALL).map_err(broken("wait4"))?;
    waited.map(|(_, status)| status).ok_or_else(|| Failure::Broken("wait4 gave nothing".into()))
}

/// Starts a task of this kind, which runs the points. Returns the process id.
fn start_task(task: Task, input: &TaskInput<'_>) -> Result<i32, Failure> {
    let input = std::ptr::from_ref(input) as u64;
    let child = match task {
        Task::Forked => {
            // SAFETY: the child uses no locks.
            match unsafe { sys::fork() }.map_err(broken("fork"))? {
                0 => {
                    run_points(input);
                    sys::exit(0)
                }
                child => return Ok(child),
            }
        }
        Task::Thread => {
            spawn_sharing_memory(libc::CLONE_VM | libc::SIGCHLD, run_first_thread, input, 0)
        }
        Task::Init => spawn_sharing_memory(
            libc::CLONE_VM | libc::CLONE_NEWPID | libc::SIGCHLD,
            run_points,
            input,
            0,
        ),
        Task::Vfork => spawn_sharing_memory(
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            run_points,
            input,
            0,
        ),
        Task::Child | Task::Session => {
            spawn_sharing_memory(libc::CLONE_VM | libc::SIGCHLD, run_points, input, 0)
        }
    };
    child.map_err(broken("clone"))
}

/// Starts a task that shares this process's memory, on the stack with this index (0 or 1).
fn spawn_sharing_memory(
    flags: i32,
    run: extern "C" fn(u64) -> u64,
    input: u64,
    stack: usize,
) -> sys::Result<i32> {
    static STACKS: [AtomicPtr<u8>; 2] =
        [AtomicPtr::new(std::ptr::null_mut()), AtomicPtr::new(std::ptr::null_mut())];
    let length = STACK_PAGES * PAGE_SIZE;
    if STACKS[stack].load(Ordering::SeqCst).is_null() {
        STACKS[stack].store(sys::map_private(length)?, Ordering::SeqCst);
    }
    // SAFETY: the stack is mapped, and the previous task on the stack has ended.
    let bytes =
        unsafe { std::slice::from_raw_parts_mut(STACKS[stack].load(Ordering::SeqCst), length) };
    let top = arch::prepare_stack(bytes, run, input);
    let arguments = [u64::from(flags.cast_unsigned()), top, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    let child = unsafe { arch::spawn(libc::SYS_clone.cast_unsigned(), arguments) };
    sys::split_result(child).map(|child| i32::try_from(child).unwrap_or(-1))
}

/// Runs the first thread of a process whose second thread runs the points.
extern "C" fn run_first_thread(input: u64) -> u64 {
    // SAFETY: the parent passes the address of the task's input, and waits.
    let points = unsafe { &*(input as *const TaskInput<'_>) }.points;
    let is_armed = points.first().is_some_and(|point| point.parent() == Parent::Armed);
    if is_armed {
        arm_parent();
    }
    let shared = shared_state();
    shared.is_thread_alive.store(1, Ordering::SeqCst);
    if let Err(error) = spawn_sharing_memory(sys::THREAD_FLAGS, run_points, input, 1) {
        observe(Observation::SetupFailed(error.0));
        sys::exit(1);
    }
    while shared.is_thread_alive.load(Ordering::SeqCst) != 0 {
        wait_while(&shared.is_thread_alive, 1);
    }
    let is_traced = points.first().is_some_and(|point| point.tracer() != Tracer::None);
    while is_traced && shared.is_thread_reaped.load(Ordering::SeqCst) == 0 {
        wait_while(&shared.is_thread_reaped, 0);
    }
    make_parent_control_call(is_armed);
    sys::exit(0)
}

/// Arms the calling task with [`PARENT_SELECTOR`].
fn arm_parent() {
    PARENT_SELECTOR.store(0, Ordering::SeqCst);
    let inside = arch::inside();
    let selector = PARENT_SELECTOR.as_ptr() as u64;
    if let Err(error) = sys::set_dispatch(1, inside.start, inside.end - inside.start, selector) {
        observe(Observation::SetupFailed(error.0));
    }
}

/// Makes the parent's control call after all points. The call must be dispatched if the parent is armed.
fn make_parent_control_call(is_armed: bool) {
    IN_CONTROL_CALL.store(true, Ordering::SeqCst);
    // The second thread may have changed the disposition, which threads share.
    if let Err(error) = set_disposition(Disposition::Handler) {
        observe(Observation::SetupFailed(error.0));
    }
    let (result, executed) = make_control_call();
    observe(Observation::Returned { result: Some(result), preserved: true, executed });
    if is_armed && let Err(error) = sys::set_dispatch(0, 0, 0, 0) {
        observe(Observation::SetupFailed(error.0));
    }
    IN_CONTROL_CALL.store(false, Ordering::SeqCst);
}

/// Makes a call with the parent's selector at BLOCK. Returns the value of the result register, and
/// whether the call was executed.
fn make_control_call() -> (u64, bool) {
    run_point::set_handler_selector(Some(&PARENT_SELECTOR));
    PARENT_SELECTOR.store(1, Ordering::SeqCst);
    let (after, executed) = issue_call(&arch::second_gate(), &getresuid_call());
    PARENT_SELECTOR.store(0, Ordering::SeqCst);
    (after[Reg::RESULT], executed)
}

/// Runs the points in the calling task.
extern "C" fn run_points(input: u64) -> u64 {
    // SAFETY: the parent passes the address of the task's input, and waits.
    let points = unsafe { &*(input as *const TaskInput<'_>) }.points;
    let Some(first) = points.first() else { return 0 };
    if let Err(error) = set_up_task(first) {
        observe(Observation::SetupFailed(error.0));
        return 1;
    }
    for (index, point) in (0u32..).zip(points) {
        shared_state().current_point.store(index, Ordering::SeqCst);
        if let Err(error) = run_point(point) {
            observe(Observation::SetupFailed(error.0));
        }
        shared_state().records[index as usize % MAX_POINTS].is_complete.store(1, Ordering::SeqCst);
        shared_state().is_recording.store(0, Ordering::SeqCst);
        if point.seccomp() == Seccomp::Strict {
            break;
        }
    }
    0
}

/// Prepares a task before its first point: session, control call, rseq and tracer.
fn set_up_task(first: &Point) -> sys::Result<()> {
    let shared = shared_state();
    if first.task() == Task::Thread {
        let word = shared.is_thread_alive.as_ptr() as u64;
        // SAFETY: the kernel clears the word when this thread ends.
        unsafe { sys::call(libc::SYS_set_tid_address, &[word]) }?;
    }
    if first.task() == Task::Session {
        // SAFETY: touches no memory.
        unsafe { sys::call(libc::SYS_setsid, &[]) }?;
    }
    // A child of an armed task is not armed, so this control call is executed.
    IN_CONTROL_CALL.store(true, Ordering::SeqCst);
    let (_, executed) = make_control_call();
    observe(Observation::Returned { result: None, preserved: true, executed });
    IN_CONTROL_CALL.store(false, Ordering::SeqCst);
    if first.rseq() == Rseq::Registered {
        register_rseq()?;
    }
    let tracer = first.tracer();
    let id = sys::gettid().cast_unsigned();
    if tracer.attaches_by_seize() {
        store_and_wake(&shared.traced_thread_id, id);
        while shared.is_tracer_attached.load(Ordering::SeqCst) == 0 {
            wait_while(&shared.is_tracer_attached, 0);
        }
    } else if tracer != Tracer::None {
        crate::ptrace::trace_me()?;
        store_and_wake(&shared.traced_thread_id, id);
    }
    Ok(())
}

/// Registers an rseq area for the rest of the task's life.
fn register_rseq() -> sys::Result<()> {
    #[repr(C, align(32))]
    struct Area(UnsafeCell<[u32; 8]>);
    // SAFETY: only the kernel writes to the area, for the one task that registers it.
    unsafe impl Sync for Area {}
    static AREA: Area = Area(UnsafeCell::new([0; 8]));
    // SAFETY: the area has 32 bytes and is static; no other task uses it.
    unsafe {
        (*AREA.0.get()) = [0, u32::MAX, 0, 0, 0, 0, 0, 0];
        let area = AREA.0.get() as u64;
        sys::call(libc::SYS_rseq, &[area, 32, 0, arch::RSEQ_SIGNATURE]).map(drop)
    }
}
