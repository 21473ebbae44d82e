// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engines that use Syscall User Dispatch: the kernel sends SIGSYS to a task for each call of
//! the program, and the handler emulates the call.

use crate::arch;
use crate::sandbox::program_memory;
use crate::sandbox::state::EngineOperations;
use crate::sandbox::task::{self, ENTER_SIGNAL};
use crate::support::{MODE_EXCLUSIVE, MODE_INCLUSIVE, inside_length};
use crate::sys;
use std::sync::atomic::AtomicU8;

/// The functions of the engine `exclusive`, which dispatches all calls outside the allowed range of
/// guest-init.
pub(super) const EXCLUSIVE_METHODS: EngineOperations = EngineOperations {
    is_supervised: false,
    enter_signal: ENTER_SIGNAL,
    intercept: |_, _, selector| {
        arm_dispatch(MODE_EXCLUSIVE, arch::inside().start, inside_length(), selector)
    },
    supervise: task::wait_for_end,
};

/// The functions of the engine `inclusive`, which dispatches only calls in the program's memory (6.17 and
/// later).
pub(super) const INCLUSIVE_METHODS: EngineOperations = EngineOperations {
    is_supervised: false,
    enter_signal: ENTER_SIGNAL,
    intercept: |_, _, selector| {
        arm_dispatch(MODE_INCLUSIVE, program_memory::BASE, program_memory::LENGTH, selector)
    },
    supervise: task::wait_for_end,
};

/// Arms dispatch for the calling task.
fn arm_dispatch(mode: u64, start: u64, length: u64, selector: &AtomicU8) -> sys::Result<()> {
    sys::set_dispatch(mode, start, length, std::ptr::from_ref(selector) as u64)
}
