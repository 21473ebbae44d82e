// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Restartable sequences (rseq(2)): areas, and critical sections around the call of a gate.

use crate::arch::{self, Gate, RSEQ_SIGNATURE};
use crate::sys;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The original `struct rseq` (include/uapi/linux/rseq.h).
#[repr(C, align(32))]
pub(crate) struct RseqArea {
    cpu_start: AtomicU32,
    cpu: AtomicU32,
    /// The address of the [`CriticalSection`]; 0 for none.
    pub(crate) section: AtomicU64,
    flags: u32,
    rest: [u32; 3],
}

impl RseqArea {
    pub(crate) const fn new() -> RseqArea {
        RseqArea {
            cpu_start: AtomicU32::new(0),
            cpu: AtomicU32::new(u32::MAX),
            section: AtomicU64::new(0),
            flags: 0,
            rest: [0; 3],
        }
    }

    /// Registers the area for this task. Critical sections of this gate can be aborted.
    ///
    /// # Safety
    /// The area outlives the task.
    pub(crate) unsafe fn register(&self, gate: &Gate) -> sys::Result<()> {
        // SAFETY: as the caller guarantees.
        unsafe { register(std::ptr::from_ref(self) as u64, size_of::<RseqArea>(), gate) }
    }
}

/// `struct rseq_cs`.
#[repr(C, align(32))]
pub(crate) struct CriticalSection {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

impl CriticalSection {
    /// A section that aborts to `gate.other_continuation()`.
    pub(crate) fn new(gate: &Gate, start: u64, length: u64) -> CriticalSection {
        CriticalSection { version: 0, flags: 0, start, length, abort: gate.other_continuation() }
    }

    /// The section around the system call instruction of a gate. The section ends after the compared
    /// address, by which the kernel looks a section up (`rseq_ip_fixup()`).
    pub(crate) fn around_call(gate: &Gate) -> CriticalSection {
        CriticalSection::new(gate, gate.call_address(), arch::CALL_LENGTH + 1)
    }

    /// The address, for [`RseqArea::section`].
    pub(crate) fn address(&'static self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

/// Registers an area of any version of `struct rseq` for this task. Critical sections of this gate can be
/// aborted.
///
/// # Safety
/// The area outlives the task, which may write all of it.
pub(crate) unsafe fn register(area: u64, length: usize, gate: &Gate) -> sys::Result<()> {
    // The kernel compares the four bytes before the abort address with the registered signature, which may
    // have any value. So register the four bytes of the gate's code.
    // SAFETY: reads the gate's code.
    let signature = unsafe { ((gate.other_continuation() - 4) as *const u32).read_unaligned() };
    // SAFETY: as the caller guarantees.
    unsafe { sys::call(libc::SYS_rseq, &[area, length as u64, 0, signature.into()]) }.map(drop)
}

/// The number of context switches of this task (getrusage(2)). At a context switch outside the critical
/// section the kernel clears the section (`rseq_ip_fixup()`).
pub(crate) fn context_switches() -> sys::Result<i64> {
    // SAFETY: a structure of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let who = u64::from(libc::RUSAGE_THREAD.cast_unsigned());
    // SAFETY: the structure is live.
    unsafe { sys::call(libc::SYS_getrusage, &[who, &raw mut usage as u64]) }?;
    Ok(usage.ru_nvcsw + usage.ru_nivcsw)
}

/// The flag of rseq(2) that unregisters an area.
const RSEQ_FLAG_UNREGISTER: u64 = 1;
/// Length in bytes of `struct rseq` in the first kernels that have it. Later lengths are multiples of
/// this one.
const FIRST_LENGTH: u64 = 32;

unsafe extern "C" {
    /// The address of `__rseq_offset`, or 0 if the C library has none.
    static sudbox_rseq_offset: *const isize;
}

std::arch::global_asm!(
    r#"
    .weak __rseq_offset
    .section .data.rel.ro.sudbox, "aw", @progbits
    .balign 8
    .globl sudbox_rseq_offset
    sudbox_rseq_offset: .quad __rseq_offset
    .text
    "#
);

/// Unregisters the area that the C library may have registered for this thread. The kernel accesses a
/// registered area at returns to user mode, which most cases do not want to test.
pub(crate) fn unregister() {
    // SAFETY: the weak symbol is either absent or the C library's constant: the offset of the area
    // from the thread pointer. The kernel only compares the address with the registered one.
    unsafe {
        if sudbox_rseq_offset.is_null() {
            return;
        }
        let area = crate::arch::thread_pointer().wrapping_add_signed(*sudbox_rseq_offset as i64);
        // The length must be the registered one, which depends on the C library.
        for length in (1..=4).map(|n| n * FIRST_LENGTH) {
            if sys::call(libc::SYS_rseq, &[area, length, RSEQ_FLAG_UNREGISTER, RSEQ_SIGNATURE])
                .is_ok()
            {
                break;
            }
        }
    }
}
