// SPDX-License-Identifier: Apache-2.0 OR MIT

//! ptrace(2) requests.

use crate::arch::TraceeRegisters;
use crate::sys;

/// `PTRACE_SYSEMU`; the number is the same on all architectures that have the request.
pub(crate) const SYSEMU: u32 = 31;

/// `PTRACE_SEIZE` (include/uapi/linux/ptrace.h).
const SEIZE: u32 = 0x4206;
/// `PTRACE_INTERRUPT`.
pub(crate) const INTERRUPT: u32 = 0x4207;
/// `PTRACE_PEEKSIGINFO`, which reads queued signals (include/uapi/linux/ptrace.h); the `libc` crate lacks it.
pub(crate) const PEEK_SIGINFO: u32 = 0x4209;
/// `PTRACE_EVENT_STOP`, the event of the stop that `PTRACE_INTERRUPT` causes.
pub(crate) const EVENT_STOP: i32 = 128;

/// The signal of a stop at a system call with `PTRACE_O_TRACESYSGOOD`.
pub(crate) const CALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// The size in bytes of a buffer for `struct ptrace_syscall_info`, which is shorter.
pub(crate) const CALL_INFO_LENGTH: usize = 128;

/// Makes a request of a stopped tracee.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn request(pid: i32, request: u32, address: u64, data: u64) -> sys::Result<u64> {
    let pid = u64::from(pid.cast_unsigned());
    // SAFETY: callers pass the address of the structure that the request reads or writes.
    unsafe { sys::call(libc::SYS_ptrace, &[u64::from(request), pid, address, data]) }
}

/// `PTRACE_TRACEME`: makes the parent the tracer of the calling task.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn trace_me() -> sys::Result<()> {
    request(0, libc::PTRACE_TRACEME, 0, 0).map(drop)
}

/// Sets the options that kill a tracee when its tracer ends, and that report system calls as [`CALL_STOP`].
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn set_options(pid: i32) -> sys::Result<()> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    request(pid, libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned())).map(drop)
}

/// Attaches to a running task without stopping it, with the options of [`set_options`].
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn seize(pid: i32) -> sys::Result<()> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    request(pid, SEIZE, 0, u64::from(options.cast_unsigned())).map(drop)
}

/// The `siginfo_t` of the signal at which a tracee stopped.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn signal_info(pid: i32) -> sys::Result<[u8; 128]> {
    let mut info = [0; 128];
    request(pid, libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr() as u64)?;
    Ok(info)
}

/// The `struct ptrace_syscall_info` of a stop.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn call_info(pid: i32) -> sys::Result<[u8; CALL_INFO_LENGTH]> {
    let mut info = [0; CALL_INFO_LENGTH];
    request(pid, libc::PTRACE_GET_SYSCALL_INFO, CALL_INFO_LENGTH as u64, info.as_mut_ptr() as u64)?;
    Ok(info)
}

/// A tracee's general registers.
///
/// # Errors
/// As `ptrace(2)`; `EIO` if the kernel's set has another length.
pub(crate) fn registers(pid: i32) -> sys::Result<TraceeRegisters> {
    let mut registers = TraceeRegisters::default();
    check_length(regset(
        pid,
        libc::PTRACE_GETREGSET,
        libc::NT_PRSTATUS,
        as_bytes(&mut registers),
    )?)?;
    Ok(registers)
}

/// Sets a tracee's general registers.
///
/// # Errors
/// As `ptrace(2)`; `EIO` if the kernel's set has another length.
pub(crate) fn set_registers(pid: i32, registers: &TraceeRegisters) -> sys::Result<()> {
    let mut registers = *registers;
    check_length(regset(pid, libc::PTRACE_SETREGSET, libc::NT_PRSTATUS, as_bytes(&mut registers))?)
}

/// Checks that the kernel transferred `length` bytes for a whole [`TraceeRegisters`].
fn check_length(length: usize) -> sys::Result<()> {
    if length == size_of::<TraceeRegisters>() { Ok(()) } else { Err(sys::Errno(libc::EIO)) }
}

fn as_bytes(registers: &mut TraceeRegisters) -> &mut [u8] {
    // SAFETY: the structure consists of integers, for which any bytes are valid.
    unsafe {
        std::slice::from_raw_parts_mut(
            std::ptr::from_mut(registers).cast(),
            size_of::<TraceeRegisters>(),
        )
    }
}

/// Makes the request `PTRACE_GETREGSET` or `PTRACE_SETREGSET` for a register set (`NT_*`,
/// include/uapi/linux/elf.h). Returns the number of bytes read or written.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn regset(pid: i32, operation: u32, set: i32, bytes: &mut [u8]) -> sys::Result<usize> {
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    request(pid, operation, u64::from(set.cast_unsigned()), &raw mut vector as u64)?;
    Ok(vector.iov_len)
}
