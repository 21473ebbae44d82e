// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Unregisters the restartable sequences area (rseq(2)) that the C library may have registered. The
//! kernel accesses a registered area at returns to user mode, and cases would test these accesses as well.

use crate::arch::RSEQ_SIGNATURE;
use crate::sys;

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

/// Unregisters this thread's area, if there is one.
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
