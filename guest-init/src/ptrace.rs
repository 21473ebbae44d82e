// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests of ptrace(2).

use crate::arch::TraceeRegisters;
use crate::sys;

/// `PTRACE_SYSEMU`, the same number wherever there is one.
pub(crate) const SYSEMU: u32 = 31;

/// What a stop for a system call adds to SIGTRAP with `PTRACE_O_TRACESYSGOOD`.
pub(crate) const CALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Bytes of `struct ptrace_syscall_info` and more.
pub(crate) const INFO: usize = 128;

/// Any request to a stopped tracee.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn request(pid: i32, request: u32, address: u64, data: u64) -> sys::Result<u64> {
    let pid = u64::from(pid.cast_unsigned());
    // SAFETY: callers pass addresses of what the request reads or writes.
    unsafe { sys::call(libc::SYS_ptrace, &[u64::from(request), pid, address, data]) }
}

/// In a task: asks to be traced by its parent.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn trace_me() -> sys::Result<()> {
    request(0, libc::PTRACE_TRACEME, 0, 0).map(drop)
}

/// Has a tracee die with its tracer, and its stops at system calls marked by [`CALL_STOP`].
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn set_options(pid: i32) -> sys::Result<()> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    request(pid, libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned())).map(drop)
}

/// `siginfo_t` of the signal that a tracee stopped for.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn signal_info(pid: i32) -> sys::Result<[u8; 128]> {
    let mut info = [0; 128];
    request(pid, libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr() as u64)?;
    Ok(info)
}

/// `struct ptrace_syscall_info` of a stop.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn call_info(pid: i32) -> sys::Result<[u8; INFO]> {
    let mut info = [0; INFO];
    request(pid, libc::PTRACE_GET_SYSCALL_INFO, INFO as u64, info.as_mut_ptr() as u64)?;
    Ok(info)
}

/// A tracee's general registers.
///
/// # Errors
/// As `ptrace(2)`; `EIO` if the kernel knows others.
pub(crate) fn registers(pid: i32) -> sys::Result<TraceeRegisters> {
    let mut registers = TraceeRegisters::default();
    whole(exchange(pid, libc::PTRACE_GETREGSET, libc::NT_PRSTATUS, bytes(&mut registers))?)?;
    Ok(registers)
}

/// Sets them.
///
/// # Errors
/// As `ptrace(2)`; `EIO` if the kernel knows others.
pub(crate) fn set_registers(pid: i32, registers: &TraceeRegisters) -> sys::Result<()> {
    let mut registers = *registers;
    whole(exchange(pid, libc::PTRACE_SETREGSET, libc::NT_PRSTATUS, bytes(&mut registers))?)
}

fn whole(length: usize) -> sys::Result<()> {
    if length == size_of::<TraceeRegisters>() { Ok(()) } else { Err(sys::Errno(libc::EIO)) }
}

fn bytes(registers: &mut TraceeRegisters) -> &mut [u8] {
    // SAFETY: plain numbers, as many as said.
    unsafe {
        std::slice::from_raw_parts_mut(
            std::ptr::from_mut(registers).cast(),
            size_of::<TraceeRegisters>(),
        )
    }
}

/// `PTRACE_GETREGSET` or `PTRACE_SETREGSET` of a set (`NT_*`, include/uapi/linux/elf.h). Gives how many
/// bytes were read or written.
///
/// # Errors
/// As `ptrace(2)`.
pub(crate) fn exchange(pid: i32, what: u32, kind: i32, bytes: &mut [u8]) -> sys::Result<usize> {
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    request(pid, what, u64::from(kind.cast_unsigned()), &raw mut vector as u64)?;
    Ok(vector.iov_len)
}
