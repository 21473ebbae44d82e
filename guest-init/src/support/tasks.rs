// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Starts, ends and synchronises the child processes and threads of cases, and maps their memory.

use super::*;
use crate::arch;
use crate::case::{Check, Failure};
use crate::shared::shared;
use crate::sys::{self, WaitStatus};
use std::sync::atomic::Ordering;

/// The exit code of a child that could not make the preparations for its check.
pub(crate) const SETUP_FAILED: i32 = 99;

/// Runs a function in a child, which exits with the function's result. Returns how the child ended.
///
/// As with vfork(2), the child shares this process's memory, and this process waits. The child has a
/// stack, signal dispositions, a mask and a dispatch configuration of its own. The selector is shared, and
/// is set to ALLOW afterwards. In an emulated machine such a child starts in an eighth of the time of a
/// forked child, since the kernel copies no page tables.
pub(crate) fn run_vforked<F: FnOnce() -> i32>(run: F) -> Result<WaitStatus, Failure> {
    extern "C" fn enter<F: FnOnce() -> i32>(function: u64) -> u64 {
        // SAFETY: the parent passes the address of a live value, and waits.
        let function = unsafe { &mut *(function as *mut Option<F>) };
        sys::exit(function.take().map_or(SETUP_FAILED, |run| run()))
    }
    let mut function = Some(run);
    let stack = prepare_task_stack(enter::<F>, &raw mut function as u64)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arguments = [u64::from(flags.cast_unsigned()), stack, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    let child = sys::split_result(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) });
    set_selector(ALLOW);
    let child = child.map_err(broken("clone"))?;
    wait_for_change(i32::try_from(child).map_err(broken("clone"))?)
}

/// Forks a child that runs a function and exits with its result. Returns the child's process id.
pub(crate) fn spawn_child(run: impl FnOnce() -> i32) -> Result<i32, Failure> {
    // SAFETY: cases that fork have one thread, or their child takes no locks.
    match unsafe { sys::fork() }.map_err(broken("fork"))? {
        0 => {
            // SAFETY: takes no pointers.
            let _ = unsafe { sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0) };
            sys::exit(run())
        }
        child => Ok(child),
    }
}

/// Waits until a child ends or, if it is traced, stops.
pub(crate) fn wait_for_change(child: i32) -> Result<WaitStatus, Failure> {
    let waited = sys::wait(child, libc::__WALL).map_err(broken("wait4"))?;
    waited
        .map(|(_, status)| status)
        .ok_or_else(|| Failure::Broken("wait4 returned no child".into()))
}

/// Checks that a child exited with 0.
pub(crate) fn expect_success(status: WaitStatus) -> Check {
    expect_equal("the child", status.to_string(), WaitStatus::Exited(0).to_string())
}

/// Checks that a child was killed by this signal, after it handled exactly `dispatches` dispatches and no
/// other signal.
pub(crate) fn expect_killed(status: WaitStatus, signal: i32, dispatches: u32) -> Check {
    ensure(
        matches!(status, WaitStatus::Killed { signal: killer, .. } if killer == signal),
        &format!("the process is killed by {}", sys::signal_name(signal)),
        || format!("it {status}"),
    )?;
    expect_equal("handlers of SIGSYS run", dispatch_count(), dispatches)?;
    expect_equal("handlers of other signals run", shared().other_signals.load(Ordering::SeqCst), 0)
}

/// The exit code of a child: 0 for success, 1 for failure.
pub(crate) fn exit_code(success: bool) -> i32 {
    i32::from(!success)
}

/// A set of CPUs as sched_setaffinity(2) takes it: one bit for each CPU, up to the 8192 CPUs of the largest
/// `CONFIG_NR_CPUS`.
type CpuMask = [u64; 128];

/// The CPU on which this thread runs.
pub(crate) fn own_cpu() -> Result<u32, Failure> {
    let mut cpu = 0u32;
    // SAFETY: writes the number.
    unsafe { sys::call(libc::SYS_getcpu, &[&raw mut cpu as u64, 0, 0]) }
        .map_err(broken("getcpu"))?;
    Ok(cpu)
}

/// Pins this thread and its children to the current CPU.
pub(crate) fn pin_to_current_cpu() -> Result<(), Failure> {
    let cpu = own_cpu()?;
    let mut mask: CpuMask = [0; 128];
    *mask_word(&mut mask, cpu.into())? = 1 << (cpu % u64::BITS);
    set_affinity(&mask)
}

/// Allows this thread all CPUs but one.
pub(crate) fn allow_all_cpus_but(cpu: u64) -> Result<(), Failure> {
    let mut mask: CpuMask = [u64::MAX; 128];
    *mask_word(&mut mask, cpu)? &= !(1 << (cpu % u64::from(u64::BITS)));
    set_affinity(&mask)
}

/// The word of a mask with the bit of a CPU.
fn mask_word(mask: &mut CpuMask, cpu: u64) -> Result<&mut u64, Failure> {
    let word = usize::try_from(cpu / u64::from(u64::BITS)).ok().and_then(|i| mask.get_mut(i));
    word.ok_or_else(|| {
        Failure::Broken(format!("CPU {cpu} does not fit the mask of sched_setaffinity"))
    })
}

/// Restricts this thread to the CPUs of a mask.
fn set_affinity(mask: &CpuMask) -> Result<(), Failure> {
    // SAFETY: reads the mask.
    unsafe {
        sys::call(libc::SYS_sched_setaffinity, &[0, size_of_val(mask) as u64, mask.as_ptr() as u64])
    }
    .map_err(broken("sched_setaffinity"))?;
    Ok(())
}

/// Maps zeroed pages.
pub(crate) fn map_pages(count: usize) -> Result<*mut u8, Failure> {
    sys::map_private(count * PAGE_SIZE).map_err(broken("mmap"))
}

/// Changes the protection of pages from [`map_pages`].
pub(crate) fn protect(start: *mut u8, count: usize, protection: i32) -> Check {
    // SAFETY: cases pass pages that nothing else uses.
    unsafe { sys::protect(start, count * PAGE_SIZE, protection) }.map_err(broken("mprotect"))
}

/// Waits until another task has set a word of [`Shared::words`](crate::shared::Shared::words) to this value.
pub(crate) fn await_shared_word(index: usize, value: u64) {
    while shared().words[index].load(Ordering::SeqCst) != value {
        sys::sched_yield();
    }
}

/// Sets a word of [`Shared::words`](crate::shared::Shared::words).
pub(crate) fn set_shared_word(index: usize, value: u64) {
    shared().words[index].store(value, Ordering::SeqCst);
}

/// The value of a word of [`Shared::words`](crate::shared::Shared::words).
pub(crate) fn shared_word(index: usize) -> u64 {
    shared().words[index].load(Ordering::SeqCst)
}

/// Maps the stack of a task that shares this process's memory, and prepares it to call `run`. Returns the
/// task's first stack pointer. The stack is never freed, since this process is not told when the task ends.
pub(crate) fn prepare_task_stack(
    run: extern "C" fn(u64) -> u64,
    argument: u64,
) -> Result<u64, Failure> {
    const PAGES: usize = 16;
    // SAFETY: newly mapped, and zeroed.
    let stack = unsafe { std::slice::from_raw_parts_mut(map_pages(PAGES)?, PAGES * PAGE_SIZE) };
    Ok(arch::prepare_stack(stack, run, argument))
}

/// Starts a thread without the C library, and returns its thread id. The thread shares its creator's
/// thread-local storage, so the thread must neither allocate nor panic.
pub(crate) fn spawn_thread(run: extern "C" fn(u64) -> u64, argument: u64) -> Result<u64, Failure> {
    let arguments =
        [u64::from(sys::THREAD_FLAGS.cast_unsigned()), prepare_task_stack(run, argument)?, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    sys::split_result(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) })
        .map_err(broken("clone"))
}
