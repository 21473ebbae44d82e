// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch after fork, clone and exec.

use crate::arch;
use crate::case::{Case, Check, Failure, case};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU8, Ordering};
use sudbox_protocol::Feature;

const COPY_FUNCTION: &str = "dup_task_struct()";
const EXEC_FUNCTION: &str = "begin_new_exec()";
const NEEDS_PTRACE_CONFIG: &[Feature] = &[Feature::Dispatch, Feature::PtraceConfig];

pub(super) const CASES: &[Case] = &[
    case(
        "inheritance/fork",
        "a forked child is not armed, its parent still is",
        COPY_FUNCTION,
        fork,
    ),
    case(
        "inheritance/vfork",
        "a child that shares memory is not armed, its parent still is",
        COPY_FUNCTION,
        vfork,
    ),
    case(
        "inheritance/clone3",
        "a child of clone3 is not armed, its parent still is",
        COPY_FUNCTION,
        clone3,
    ),
    case(
        "inheritance/thread",
        "a new thread is not armed, its creator still is",
        COPY_FUNCTION,
        thread,
    ),
    case(
        "inheritance/threads-independent",
        "each thread has its own configuration",
        "task_set_syscall_user_dispatch()",
        threads_independent,
    ),
    case(
        "inheritance/off-is-own",
        "OFF in one thread, or in a child that shares its memory, leaves all other tasks armed",
        "task_set_syscall_user_dispatch()",
        off_affects_one_thread,
    ),
    case(
        "inheritance/exec-disarms",
        "after exec the process is not armed",
        EXEC_FUNCTION,
        exec_disarms,
    ),
    case(
        "inheritance/failed-exec-keeps",
        "an execve that fails leaves dispatch armed",
        EXEC_FUNCTION,
        failed_exec_keeps,
    ),
    case(
        "inheritance/child-reads-off",
        "a forked child's configuration has mode OFF",
        "syscall_user_dispatch_get_config()",
        child_reads_off,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case(
        "inheritance/child-reads-nothing-stale",
        "a forked child's configuration does not contain its parent's range and selector",
        COPY_FUNCTION,
        child_reads_nothing_stale,
    )
    .features(NEEDS_PTRACE_CONFIG)
    .known_bugs(&["stale-config-after-clear"]),
];

/// The index of the shared word with the outcome of a call of another task: [`EXECUTED_CALL`] or
/// [`DISPATCHED_CALL`]; 0 before the call.
const OUTCOME: usize = 1;
const EXECUTED_CALL: u64 = 1;
const DISPATCHED_CALL: u64 = 2;

/// Issues a call in the child, with the selector at BLOCK, and stores its [`OUTCOME`].
extern "C" fn call_outside(_: u64) -> u64 {
    let regs = fresh_umask_call();
    let before = dispatch_count();
    let _ = arch::gate().issue(&regs);
    let executed = take_umask_effect() && dispatch_count() == before;
    set_shared_word(OUTCOME, if executed { EXECUTED_CALL } else { DISPATCHED_CALL });
    0
}

/// Checks that the call of [`call_outside`] in the child was executed, and that this process is still armed.
fn expect_child_not_armed() -> Check {
    expect_equal("SIGSYS handled in the child", dispatch_count(), 0)?;
    ensure(shared_word(OUTCOME) == EXECUTED_CALL, "the child's call is executed", || {
        match shared_word(OUTCOME) {
            0 => "the call did not return".into(),
            _ => "it was dispatched".into(),
        }
    })?;
    expect_dispatched(&arch::gate())
}

fn fork() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let child = spawn_child(|| {
        set_selector(BLOCK);
        i32::try_from(call_outside(0)).unwrap_or(1)
    })?;
    expect_success(wait_for_change(child)?)?;
    expect_child_not_armed()
}

/// The clone(2) flags of a child that shares memory with its parent while the parent waits.
fn sharing_flags(flags: i32) -> u64 {
    u64::from((flags | libc::CLONE_VM | libc::CLONE_VFORK).cast_unsigned())
}

/// Checks that a child that shares memory exited with 0 and was not armed. `clone_result` is the result of
/// the call that created the child.
fn expect_sharing_child_not_armed(clone_result: i64) -> Check {
    set_selector(ALLOW);
    let child = sys::split_result(clone_result).map_err(broken("clone"))?;
    expect_success(wait_for_change(i32::try_from(child).map_err(broken("clone"))?)?)?;
    expect_child_not_armed()
}

fn vfork() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let stack = prepare_task_stack(call_outside, 0)?;
    let arguments = [sharing_flags(libc::SIGCHLD), stack, 0, 0];
    set_selector(BLOCK);
    // SAFETY: the stack was prepared and stays.
    expect_sharing_child_not_armed(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) })
}

fn clone3() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let stack = prepare_task_stack(call_outside, 0)?;
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls. The
    // child's stack pointer is `stack` + `stack_size`, which must be the end of the prepared stack.
    let stack_size = 0x1000;
    let signal = u64::from(libc::SIGCHLD.cast_unsigned());
    let arguments = [sharing_flags(0), 0, 0, 0, signal, stack - stack_size, stack_size, 0];
    let pointer = arguments.as_ptr() as u64;
    let size = size_of_val(&arguments) as u64;
    set_selector(BLOCK);
    // SAFETY: the stack was prepared and stays.
    expect_sharing_child_not_armed(unsafe {
        arch::spawn(call_number(libc::SYS_clone3), [pointer, size, 0, 0])
    })
}

fn thread() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let stack = prepare_task_stack(call_outside, 0)?;
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD;
    let arguments = [u64::from(flags.cast_unsigned()), stack, 0, 0];
    set_selector(BLOCK);
    // SAFETY: the stack was prepared and stays.
    let thread = unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) };
    while shared_word(OUTCOME) == 0 && thread > 0 {
        sys::sched_yield();
    }
    set_selector(ALLOW);
    sys::split_result(thread).map_err(broken("clone"))?;
    expect_child_not_armed()
}

/// The selector of another thread.
static OTHER_SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);

/// The index of the shared word by which two threads take turns. An odd value means that it is the turn of
/// the other thread, an even value that it is the turn of the first thread. At the end of its turn a thread
/// increments the word.
const TURN: usize = 0;

/// A thread that arms with [`OTHER_SELECTOR`]. Then, at each of its turns, it issues a call and stores the
/// [`OUTCOME`]. If it cannot arm, it sets [`TURN`] to `u64::MAX`.
extern "C" fn thread_with_other_selector(_: u64) -> u64 {
    let inside = arch::inside();
    let length = inside.end - inside.start;
    let regs = arch::Registers::for_call(call_number(libc::SYS_getppid), [0; 6]);
    if sys::set_dispatch(MODE_EXCLUSIVE, inside.start, length, selector_address(&OTHER_SELECTOR))
        .is_err()
    {
        set_shared_word(TURN, u64::MAX);
        return 0;
    }
    set_shared_word(TURN, 2);
    for round in 1..=ROUNDS {
        await_shared_word(TURN, 2 * round + 1);
        let before = dispatch_count();
        let _ = arch::gate().issue(&regs);
        set_shared_word(
            OUTCOME,
            if dispatch_count() == before { EXECUTED_CALL } else { DISPATCHED_CALL },
        );
        set_shared_word(TURN, 2 * round + 2);
    }
    0
}

/// The number of calls of [`thread_with_other_selector`].
const ROUNDS: u64 = 4;

fn threads_independent() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    spawn_thread(thread_with_other_selector, 0)?;
    while shared_word(TURN) == 0 {
        sys::sched_yield();
    }
    expect_equal("the other thread armed", shared_word(TURN), 2)?;
    // The rounds cover all four combinations of the two selectors.
    for round in 1..=ROUNDS {
        let (is_own_blocked, is_other_blocked) = (round & 1 == 1, round & 2 == 2);
        OTHER_SELECTOR.store(if is_other_blocked { BLOCK } else { ALLOW }, Ordering::SeqCst);
        set_selector(if is_own_blocked { BLOCK } else { ALLOW });
        set_shared_word(TURN, 2 * round + 1);
        await_shared_word(TURN, 2 * round + 2);
        let other_call_outcome = shared_word(OUTCOME);
        let before = dispatch_count();
        let regs = fresh_umask_call();
        let _ = arch::gate().issue(&regs);
        let dispatched = dispatch_count() - before;
        set_selector(ALLOW);
        expect_equal(
            "the other thread's call, 1 executed, 2 dispatched",
            other_call_outcome,
            if is_other_blocked { DISPATCHED_CALL } else { EXECUTED_CALL },
        )?;
        let expected = u32::from(is_own_blocked);
        expect_equal("SIGSYS handled for this thread's call", dispatched, expected)?;
        expect_equal("effect of this thread's call", take_umask_effect(), !is_own_blocked)?;
    }
    disarm()
}

/// The index of the shared word with the command for [`controlled_thread`]: [`ARM`], [`DISARM`] or [`CALL`].
const COMMAND: usize = 2;
const ARM: u64 = 1;
const DISARM: u64 = 2;
const CALL: u64 = 3;
/// The value of [`OUTCOME`] after a command that failed.
const FAILED_COMMAND: u64 = 3;

/// A thread that at each of its turns carries out the [`COMMAND`]. The thread arms with [`OTHER_SELECTOR`],
/// and stores the [`OUTCOME`] of its calls.
extern "C" fn controlled_thread(_: u64) -> u64 {
    let inside = arch::inside();
    let length = inside.end - inside.start;
    let regs = arch::Registers::for_call(call_number(libc::SYS_getppid), [0; 6]);
    for round in 0.. {
        await_shared_word(TURN, 2 * round + 1);
        let succeeded = match shared_word(COMMAND) {
            ARM => sys::set_dispatch(
                MODE_EXCLUSIVE,
                inside.start,
                length,
                selector_address(&OTHER_SELECTOR),
            )
            .is_ok(),
            DISARM => sys::set_dispatch(MODE_OFF, 0, 0, 0).is_ok(),
            _ => {
                let before = dispatch_count();
                let _ = arch::gate().issue(&regs);
                set_shared_word(
                    OUTCOME,
                    if dispatch_count() == before { EXECUTED_CALL } else { DISPATCHED_CALL },
                );
                true
            }
        };
        if !succeeded {
            set_shared_word(OUTCOME, FAILED_COMMAND);
        }
        set_shared_word(TURN, 2 * round + 2);
    }
    0
}

/// Makes [`controlled_thread`] carry out these commands. Returns the [`OUTCOME`] of its last call.
fn send_commands(round: &mut u64, commands: &[u64]) -> u64 {
    for command in commands {
        set_shared_word(COMMAND, *command);
        set_shared_word(TURN, 2 * *round + 1);
        await_shared_word(TURN, 2 * *round + 2);
        *round += 1;
    }
    shared_word(OUTCOME)
}

fn off_affects_one_thread() -> Check {
    const OTHER_CALL: &str = "the other thread's call, 1 executed, 2 dispatched";
    handle_dispatches(do_nothing)?;
    arm()?;
    OTHER_SELECTOR.store(BLOCK, Ordering::SeqCst);
    spawn_thread(controlled_thread, 0)?;
    let mut round = 0;
    expect_equal(OTHER_CALL, send_commands(&mut round, &[ARM, CALL]), DISPATCHED_CALL)?;
    // OFF in another thread.
    expect_equal(OTHER_CALL, send_commands(&mut round, &[DISARM, CALL]), EXECUTED_CALL)?;
    expect_dispatched(&arch::gate())?;
    // OFF in a child that shares memory, and in a child that does not.
    let disarm_child = || exit_code(sys::set_dispatch(MODE_OFF, 0, 0, 0).is_ok());
    expect_success(run_vforked(disarm_child)?)?;
    expect_success(wait_for_change(spawn_child(disarm_child)?)?)?;
    expect_dispatched(&arch::gate())?;
    // OFF in the first thread.
    expect_equal(OTHER_CALL, send_commands(&mut round, &[ARM, CALL]), DISPATCHED_CALL)?;
    disarm()?;
    expect_executed_despite_block(&arch::gate())?;
    expect_equal(OTHER_CALL, send_commands(&mut round, &[CALL]), DISPATCHED_CALL)
}

/// The exit code of the executed program.
pub(crate) const EXECUTED: u8 = 23;

fn exec_disarms() -> Check {
    let fd = program()?;
    handle_dispatches(do_nothing)?;
    let status = run_vforked(|| {
        // There is no selector, so every call of a program that stayed armed would be dispatched, and kill
        // the program, which has no handler of SIGSYS.
        if arm_with_selector(0).is_err() {
            return SETUP_FAILED;
        }
        execute(fd);
        SETUP_FAILED
    })?;
    expect_equal(
        "the program",
        status.to_string(),
        WaitStatus::Exited(i32::from(EXECUTED)).to_string(),
    )
}

/// Creates a file with a program that exits with [`EXECUTED`] if its system calls are executed.
pub(crate) fn program() -> Result<i32, Failure> {
    let image = arch::tiny_program(EXECUTED);
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let file = u64::from(fd.cast_unsigned());
    // The program duplicates descriptor 0, so put the file there.
    // SAFETY: the image is live.
    unsafe {
        sys::call(libc::SYS_write, &[file, image.as_ptr() as u64, image.len() as u64])
            .map_err(broken("write"))?;
        sys::call(libc::SYS_dup3, &[file, 0, 0]).map_err(broken("dup3"))?;
    }
    Ok(fd)
}

/// Executes the program in this file. Returns only if the kernel refuses.
pub(crate) fn execute(fd: i32) {
    let empty_list = [0u64];
    let list = empty_list.as_ptr() as u64;
    let flags = libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: the path and the two lists are empty and terminated.
    let _ = unsafe {
        sys::call(
            libc::SYS_execveat,
            &[fd.cast_unsigned().into(), c"".as_ptr() as u64, list, list, flags.into()],
        )
    };
}

fn failed_exec_keeps() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let empty_list = [0u64];
    let list = empty_list.as_ptr() as u64;
    for path in [c"/no/such/program", c"/"] {
        // SAFETY: the path and the two lists are terminated.
        let result = unsafe { sys::call(libc::SYS_execve, &[path.as_ptr() as u64, list, list]) };
        ensure(result.is_err(), "execve fails", || format!("{result:?}"))?;
        expect_dispatched(&arch::gate())?;
    }
    Ok(())
}

/// The configuration of a forked child of an armed process.
fn child_config() -> Result<Config, Failure> {
    arm()?;
    let child = Tracee::start(|| {
        pause_for_tracer();
        0
    })?;
    let config = child.config()?;
    child.kill()?;
    Ok(config)
}

fn child_reads_off() -> Check {
    expect_equal("mode", child_config()?.mode, MODE_OFF)
}

fn child_reads_nothing_stale() -> Check {
    handle_dispatches(do_nothing)?;
    expect_equal("the child's configuration", child_config()?, Config::default())?;
    expect_dispatched(&arch::gate())
}
