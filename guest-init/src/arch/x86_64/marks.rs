// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The marks of [`sudbox_protocol::marks`], at which a tracer on the host stops.

use crate::sys;
use sudbox_protocol::marks::{BEGIN, END, NEXT};

/// The instruction RET.
const RETURN: u8 = 0xc3;

/// The mapped page of the marks.
#[derive(Clone, Copy, Debug)]
pub struct OperationMarks(());

impl OperationMarks {
    /// Maps the page; `None` if the address is in use or the kernel refuses.
    #[must_use]
    pub fn map() -> Option<OperationMarks> {
        const LENGTH: usize = 4096;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let page = sys::map_at(BEGIN, LENGTH, flags, -1).ok()?;
        if page as u64 != BEGIN {
            return None;
        }
        let protection = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        // SAFETY: all bytes are in the page, which is new and writable. Nothing refers to the page when
        // its protection changes.
        unsafe {
            for mark in [BEGIN, NEXT, END] {
                page.add(usize::try_from(mark - BEGIN).ok()?).write(RETURN);
            }
            sys::call(libc::SYS_mprotect, &[BEGIN, LENGTH as u64, protection.into()]).ok()?;
        }
        Some(OperationMarks(()))
    }

    /// Marks the start of the operations with this number.
    #[inline]
    pub fn begin(self, number: u64) {
        // SAFETY: the page of `self` has a function that returns at once.
        let mark: extern "C" fn(u64) = unsafe { std::mem::transmute(BEGIN as *const ()) };
        mark(number);
    }

    /// Marks the end of one operation.
    #[inline]
    pub fn next(self) {
        // SAFETY: as in `begin`.
        let mark: extern "C" fn() = unsafe { std::mem::transmute(NEXT as *const ()) };
        mark();
    }

    /// Marks the end of the operations.
    #[inline]
    pub fn end(self) {
        // SAFETY: as in `begin`.
        let mark: extern "C" fn() = unsafe { std::mem::transmute(END as *const ()) };
        mark();
    }
}
