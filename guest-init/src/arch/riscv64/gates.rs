// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of gates, and the entry to signal handlers. The kernel has no `SA_RESTORER` on this
//! architecture: it passes the address of the vDSO's restorer in `ra`. So the kernel enters a stub, which
//! replaces this address by that of the case's own restorer and jumps to the handler.

use crate::arch::gates::{declare_symbols, issue_inside, symbol_address};
use crate::sys::SigAction;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

std::arch::global_asm!(include_str!("gates.s"));

declare_symbols!(sudbox_handler_stub;);

/// Bytes above a new thread's first stack pointer that belong to the functions it calls: none.
pub const RESERVED_ABOVE_STACK: u64 = 0;

/// `riscv_flush_icache` (arch/riscv/include/uapi/asm/unistd.h).
const FLUSH_ICACHE: u64 = 259;

/// Makes written instructions executable, by `riscv_flush_icache`.
///
/// # Safety
/// The range must be mapped.
pub unsafe fn make_executable(range: Range<u64>) {
    // SAFETY: the kernel writes nothing.
    unsafe { issue_inside(FLUSH_ICACHE, [range.start, range.end, 0, 0, 0, 0]) };
}

/// The addresses of handler and restorer for each signal, which `sudbox_handler_stub` reads.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
static sudbox_handler_table: [[AtomicU64; 2]; 65] =
    [const { [const { AtomicU64::new(0) }; 2] }; 65];

/// `struct sigaction` as `rt_sigaction(2)` takes it (include/linux/signal_types.h, without
/// `SA_RESTORER`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KernelSigAction {
    handler: u64,
    flags: u64,
    mask: u64,
}

/// Converts a [`SigAction`] to a [`KernelSigAction`]. With a restorer, the kernel enters the handler through
/// the stub.
#[must_use]
pub fn kernel_sigaction(signal: i32, action: &SigAction) -> KernelSigAction {
    let SigAction { handler, flags, restorer, mask } = *action;
    let signal = usize::try_from(signal).unwrap_or(0);
    let Some(slot) = sudbox_handler_table.get(signal).filter(|_| restorer != 0) else {
        return KernelSigAction { handler, flags, mask };
    };
    slot[0].store(handler, Ordering::SeqCst);
    slot[1].store(restorer, Ordering::SeqCst);
    KernelSigAction { handler: handler_entry_address(handler), flags, mask }
}

/// The address at which the kernel enters a handler with a restorer: the stub.
#[must_use]
pub fn handler_entry_address(_: u64) -> u64 {
    symbol_address(sudbox_handler_stub)
}
