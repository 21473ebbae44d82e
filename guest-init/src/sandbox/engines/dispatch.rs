// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engines that use Syscall User Dispatch: the kernel sends SIGSYS to a task for each call of
//! the program, and the handler emulates it.

use crate::arch;
use crate::sandbox::program_memory;
use crate::sandbox::state::EngineMethods;
use crate::sandbox::task::{self, ENTER_SIGNAL};
use crate::support::{
    MODE_EXCLUSIVE as EXCLUSIVE_ON, MODE_INCLUSIVE as INCLUSIVE_ON, inside_length,
};
use crate::sys;
use std::sync::atomic::AtomicU8;

/// Dispatches all calls outside the allowed range of guest-init.
pub(super) const MODE_EXCLUSIVE: EngineMethods = EngineMethods {
    supervised: false,
    enter_signal: ENTER_SIGNAL,
    intercept: |_, _, selector| arm(EXCLUSIVE_ON, arch::inside().start, inside_length(), selector),
    supervise: task::wait_for_end,
};

/// Dispatches only calls in the program's memory (6.17 and later).
pub(super) const MODE_INCLUSIVE: EngineMethods = EngineMethods {
    supervised: false,
    enter_signal: ENTER_SIGNAL,
    intercept: |_, _, selector| {
        arm(INCLUSIVE_ON, program_memory::BASE, program_memory::LENGTH, selector)
    },
    supervise: task::wait_for_end,
};

/// Arms the calling task.
fn arm(mode: u64, start: u64, length: u64, selector: &AtomicU8) -> sys::Result<()> {
    sys::set_dispatch(mode, start, length, std::ptr::from_ref(selector) as u64)
}
