// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Takes back the restartable sequences area that the C library may have registered: while it
//! is there, the kernel looks at it at every return to user mode, and a case would test that too.

use crate::arch::RSEQ_SIGNATURE;
use crate::sys;

/// `RSEQ_FLAG_UNREGISTER`.
const UNREGISTER: u64 = 1;
/// Length of the first `struct rseq`; later ones grow by multiples of it.
const FIRST_LENGTH: u64 = 32;

unsafe extern "C" {
    /// Address of `__rseq_offset`, 0 where the C library has none.
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
    // SAFETY: the weak symbol is either absent or the C library's constant, at whose offset from
    // the thread pointer the area lies; the kernel compares and forgets the address.
    unsafe {
        if sudbox_rseq_offset.is_null() {
            return;
        }
        let area = crate::arch::thread_pointer().wrapping_add_signed(*sudbox_rseq_offset as i64);
        // The length must be the one it was registered with, which depends on the library.
        for length in (1..=4).map(|n| n * FIRST_LENGTH) {
            if sys::call(libc::SYS_rseq, &[area, length, UNREGISTER, RSEQ_SIGNATURE]).is_ok() {
                break;
            }
        }
    }
}
