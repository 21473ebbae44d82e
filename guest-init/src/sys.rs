// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls in the allowed range, which work while dispatch is armed and the selector is at BLOCK. The
//! functions do not allocate and use neither `errno` nor the C library, unless their documentation says so.

use crate::arch;
use std::ops::Range;
use std::time::Duration;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::ESRCH => "ESRCH",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::EBADF => "EBADF",
            libc::ECHILD => "ECHILD",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::ENOSYS => "ENOSYS",
            libc::ECONNRESET => "ECONNRESET",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            n => return write!(f, "errno {n}"),
        };
        f.write_str(name)
    }
}

impl std::error::Error for Errno {}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Decodes the value of the result register: a result or a negative error number.
///
/// # Errors
/// For -4095 to -1, the error number.
pub fn split_result(value: i64) -> Result<u64> {
    match value {
        -4095..=-1 => Err(Errno(i32::try_from(-value).unwrap_or(i32::MAX))),
        _ => Ok(value.cast_unsigned()),
    }
}

/// Issues a system call with up to six arguments.
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// As the call requires.
pub unsafe fn call(number: i64, arguments: &[u64]) -> Result<u64> {
    let mut six = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: by the contract of this function.
    split_result(unsafe { arch::issue_inside(number.cast_unsigned(), six) })
}

/// An `int` as the kernel expects it in a register.
fn int_argument(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

/// A result as an `int`, such as a process id or a descriptor; -1 if it does not fit.
fn int_result(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(-1)
}

/// `getpid(2)`
#[must_use]
pub fn getpid() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { call(libc::SYS_getpid, &[]) }.map_or(-1, int_result)
}

/// `getuid(2)`
#[must_use]
pub fn getuid() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { call(libc::SYS_getuid, &[]) }.map_or(0, |id| int_result(id).cast_unsigned())
}

/// `gettid(2)`
#[must_use]
pub fn gettid() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { call(libc::SYS_gettid, &[]) }.map_or(-1, int_result)
}

/// `fork(2)` without the C library's `atfork` handlers.
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// The process must have one thread, or the child must take no locks.
pub unsafe fn fork() -> Result<i32> {
    let arguments = arch::clone_arguments(int_argument(libc::SIGCHLD), 0);
    // SAFETY: the child has its own copy of memory; locks are the caller's duty.
    unsafe { call(libc::SYS_clone, &arguments) }.map(int_result)
}

/// `exit_group(2)`
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        let _ = unsafe { call(libc::SYS_exit_group, &[int_argument(code)]) };
    }
}

/// The end or stop of a process that `wait4(2)` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// The process exited with this code.
    Exited(i32),
    /// A signal killed the process.
    Killed {
        /// The signal.
        signal: i32,
        /// Whether the process dumped core (`WCOREDUMP`).
        core: bool,
    },
    /// The process stopped. The low 8 bits are the signal; the bits above are the ptrace event.
    Stopped(i32),
}

impl WaitStatus {
    /// Decodes the status of `wait4(2)`.
    #[must_use]
    pub fn from_status(status: i32) -> WaitStatus {
        if libc::WIFEXITED(status) {
            WaitStatus::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            WaitStatus::Killed { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
        } else {
            WaitStatus::Stopped(status >> 8)
        }
    }
}

impl std::fmt::Display for WaitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaitStatus::Exited(code) => write!(f, "exited with {code}"),
            WaitStatus::Killed { signal, .. } => write!(f, "killed by {}", signal_name(*signal)),
            WaitStatus::Stopped(stop) if stop >> 8 == 0 => {
                write!(f, "stopped with {}", signal_name(*stop))
            }
            WaitStatus::Stopped(stop) => {
                write!(f, "stopped with {}, event {}", signal_name(stop & 0xff), stop >> 8)
            }
        }
    }
}

/// The name of a signal, or its number if it has none here.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGSYS => "SIGSYS",
        n => return format!("signal {n}"),
    };
    name.to_owned()
}

/// `wait4(2)`, repeated after EINTR. `None` with `WNOHANG` if no child has changed.
///
/// # Errors
/// The error that the kernel returns.
pub fn wait(pid: i32, options: i32) -> Result<Option<(i32, WaitStatus)>> {
    let mut status = 0i32;
    loop {
        // SAFETY: writes `status` only.
        let result = unsafe {
            call(
                libc::SYS_wait4,
                &[int_argument(pid), &raw mut status as u64, int_argument(options), 0],
            )
        };
        match result {
            Err(Errno(libc::EINTR)) => {}
            Ok(0) => return Ok(None),
            other => {
                return other.map(|pid| Some((int_result(pid), WaitStatus::from_status(status))));
            }
        }
    }
}

/// Flags of clone(2) for a thread without the C library.
pub(crate) const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

/// `kill(2)`
///
/// # Errors
/// The error that the kernel returns.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call(libc::SYS_kill, &[int_argument(pid), int_argument(signal)]) }.map(drop)
}

/// `tgkill(2)`
///
/// # Errors
/// The error that the kernel returns.
pub fn tgkill(pid: i32, tid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call(libc::SYS_tgkill, &[int_argument(pid), int_argument(tid), int_argument(signal)]) }
        .map(drop)
}

/// `prctl(2)`
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// As the option requires.
pub unsafe fn prctl(option: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) -> Result<u64> {
    // SAFETY: by the contract of this function.
    unsafe { call(libc::SYS_prctl, &[int_argument(option), arg2, arg3, arg4, arg5]) }
}

/// `PR_SET_SYSCALL_USER_DISPATCH` (include/uapi/linux/prctl.h).
pub const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;

/// Arms or disarms dispatch with these arguments of `prctl(2)`. `mode` is `PR_SYS_DISPATCH_*`.
///
/// # Errors
/// The error that `task_set_syscall_user_dispatch()` returns.
pub fn set_dispatch(mode: u64, offset: u64, length: u64, selector: u64) -> Result<()> {
    // SAFETY: the kernel only reads the selector, and survives a bad address.
    unsafe { prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, offset, length, selector) }.map(drop)
}

/// The disposition of a signal: the kernel's `struct sigaction`, as architectures with `SA_RESTORER` have it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SigAction {
    /// The handler's address, or `SIG_DFL` (0), or `SIG_IGN` (1).
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// The address of the code to which the handler returns. That code calls `rt_sigreturn(2)`.
    pub restorer: u64,
    /// The signals blocked while the handler runs.
    pub mask: u64,
}

pub use arch::SA_RESTORER;

/// `rt_sigaction(2)`
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// The handler's address must be that of a signal handler.
pub unsafe fn sigaction(signal: i32, action: &SigAction) -> Result<()> {
    let action = arch::kernel_sigaction(signal, action);
    let pointer = &raw const action as u64;
    // SAFETY: reads the action only; the handler is the caller's duty.
    unsafe { call(libc::SYS_rt_sigaction, &[int_argument(signal), pointer, 0, 8]) }.map(drop)
}

/// The bit of a signal in a signal mask.
#[must_use]
pub fn signal_bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// `rt_sigprocmask(2)`. Returns the previous mask.
///
/// # Errors
/// The error that the kernel returns.
pub fn sigmask(how: i32, mask: u64) -> Result<u64> {
    let mut old = 0u64;
    // SAFETY: reads and writes the two masks, 8 bytes each.
    unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            &[int_argument(how), &raw const mask as u64, &raw mut old as u64, 8],
        )?;
    }
    Ok(old)
}

/// `rt_sigtimedwait(2)`: waits for one of these signals, which must be blocked.
///
/// # Errors
/// `EAGAIN` after `timeout`, else the error that the kernel returns.
pub fn sigtimedwait(mask: u64, timeout: Duration) -> Result<i32> {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().cast_signed(),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: reads the mask and the timeout.
    unsafe {
        call(libc::SYS_rt_sigtimedwait, &[&raw const mask as u64, 0, &raw const timeout as u64, 8])
    }
    .map(int_result)
}

/// The alternate stack by `sigaltstack(2)`: start, length in bytes, flags.
///
/// # Errors
/// The error that the kernel returns.
pub fn alternate_stack() -> Result<(u64, u64, i32)> {
    let mut stack = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: writes the structure.
    unsafe { call(libc::SYS_sigaltstack, &[0, &raw mut stack as u64]) }?;
    Ok((stack.ss_sp as u64, stack.ss_size as u64, stack.ss_flags))
}

/// `sigaltstack(2)`
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// The memory must stay mapped as long as handlers can run on it.
pub unsafe fn sigaltstack(start: u64, length: u64, flags: i32) -> Result<()> {
    let stack = libc::stack_t {
        ss_sp: start as *mut libc::c_void,
        ss_flags: flags,
        ss_size: usize::try_from(length).unwrap_or(usize::MAX),
    };
    // SAFETY: reads the structure; the memory is the caller's duty.
    unsafe { call(libc::SYS_sigaltstack, &[&raw const stack as u64, 0]) }.map(drop)
}

/// Maps anonymous memory that children share, readable and writable. `length` is in bytes.
///
/// # Errors
/// The error that the kernel returns.
pub fn map_shared(length: usize) -> Result<*mut u8> {
    map_at(0, length, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)
}

/// Maps anonymous memory of which each child has its own copy, readable and writable. `length` is in bytes.
///
/// # Errors
/// The error that the kernel returns.
pub fn map_private(length: usize) -> Result<*mut u8> {
    map_at(0, length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
}

/// Maps memory, readable and writable: a file from its start, or anonymous memory if `fd` is -1. `flags` are
/// `MAP_*`. The kernel picks the address if it cannot use `hint`.
///
/// # Errors
/// The error that the kernel returns.
pub fn map_at(hint: u64, length: usize, flags: i32, fd: i32) -> Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: no caller passes MAP_FIXED, so the kernel picks free addresses.
    unsafe {
        mmap(&[
            hint,
            length as u64,
            int_argument(protection),
            int_argument(flags),
            int_argument(fd),
            0,
        ])
    }
}

/// `mmap(2)` with all six arguments.
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// With `MAP_FIXED`, nothing may use the memory that is replaced.
pub unsafe fn mmap(arguments: &[u64; 6]) -> Result<*mut u8> {
    // SAFETY: by the contract of this function.
    let result = unsafe { call(libc::SYS_mmap, &arch::mmap_arguments(arguments)) };
    result.map(|address| address as *mut u8)
}

/// `mprotect(2)`
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// Nothing may access the memory in a way that the new protection forbids.
pub unsafe fn protect(start: *mut u8, length: usize, protection: i32) -> Result<()> {
    // SAFETY: by the contract of this function.
    unsafe { call(libc::SYS_mprotect, &[start as u64, length as u64, int_argument(protection)]) }
        .map(drop)
}

/// `munmap(2)`
///
/// # Errors
/// The error that the kernel returns.
///
/// # Safety
/// Nothing may use the memory afterwards.
pub unsafe fn unmap(start: *mut u8, length: usize) -> Result<()> {
    // SAFETY: by the contract of this function.
    unsafe { call(libc::SYS_munmap, &[start as u64, length as u64]) }.map(drop)
}

/// The address range of the mapping that contains an address of a process (`/proc/PID/maps`). Uses the C
/// library.
#[must_use]
pub fn mapping(pid: i32, address: u64) -> Option<Range<u64>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        range.contains(&address).then_some(range)
    })
}

/// Opens an empty file in memory (`memfd_create(2)`).
///
/// # Errors
/// The error that the kernel returns.
pub fn memory_file() -> Result<i32> {
    // SAFETY: the string is terminated.
    unsafe { call(libc::SYS_memfd_create, &[c"sudbox".as_ptr() as u64, 0]) }.map(int_result)
}

/// Mounts a file system of this type without a mount point, and returns the descriptor of the mount.
/// Closing the descriptor unmounts the file system.
///
/// # Errors
/// As `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
pub fn mount_detached(file_system_type: &std::ffi::CStr) -> Result<i32> {
    const CLOEXEC: u64 = 1; // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
    const CREATE: u64 = 6; // FSCONFIG_CMD_CREATE
    // SAFETY: the string is terminated.
    unsafe {
        let fs = call(libc::SYS_fsopen, &[file_system_type.as_ptr() as u64, CLOEXEC])?;
        let mount = call(libc::SYS_fsconfig, &[fs, CREATE, 0, 0, 0])
            .and_then(|_| call(libc::SYS_fsmount, &[fs, CLOEXEC, 0]));
        let _ = close(int_result(fs));
        mount.map(int_result)
    }
}

/// `close(2)`
///
/// # Errors
/// The error that the kernel returns.
pub fn close(fd: i32) -> Result<()> {
    // SAFETY: touches no memory; callers pass descriptors that they own.
    unsafe { call(libc::SYS_close, &[int_argument(fd)]) }.map(drop)
}

/// `sched_yield(2)`: lets another task run.
pub fn sched_yield() {
    // SAFETY: takes no pointers.
    let _ = unsafe { call(libc::SYS_sched_yield, &[]) };
}

/// `nanosleep(2)`: sleeps until `duration` is over or a signal handler has run.
pub fn sleep(duration: Duration) {
    let duration = libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    };
    // SAFETY: reads the duration.
    let _ = unsafe { call(libc::SYS_nanosleep, &[&raw const duration as u64, 0]) };
}

/// The time of `CLOCK_MONOTONIC`, read in the vDSO if the vDSO has `clock_gettime`.
#[must_use]
pub fn now() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

/// The time of a clock (`clock_gettime(2)` of the C library).
#[must_use]
pub fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
