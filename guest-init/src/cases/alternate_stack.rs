// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The settings of the alternate signal stack (`sigaltstack(2)`) across a dispatch.

use crate::arch;
use crate::case::{Case, Check, OnlyArchs, case, case_not_in_core};
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use sudbox_protocol::Arch;

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "signals/alternate-stack-settings",
        "in the handler of a dispatch, on either stack, an alternate stack is disabled if it has \
         SS_AUTODISARM, else unchanged; after the handler it has its old settings",
        "save_altstack()",
        settings_across_dispatch,
    ),
    case(
        "signals/alternate-stack-overflow-kills",
        "a dispatch on an alternate stack with too little space for another frame kills with SIGSEGV",
        "get_sigframe()",
        overflow_kills,
    )
    .only(OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "the space that a frame needs was compared with kernels of x86-64 only",
    }),
];

/// `SS_AUTODISARM` (include/uapi/linux/signal.h).
const SS_AUTODISARM: i32 = i32::MIN;
/// The length of the alternate stack in bytes.
const STACK_LENGTH: usize = 16 * PAGE_SIZE;

/// The settings of the alternate stack in the last handler: start, length, flags.
static SETTINGS_IN_HANDLER: (AtomicU64, AtomicU64, AtomicI32) =
    (AtomicU64::new(0), AtomicU64::new(0), AtomicI32::new(0));

/// Handler body: stores the settings of the alternate stack in [`SETTINGS_IN_HANDLER`].
fn store_settings(_: Dispatch<'_>) {
    let (start, length, flags) = sys::alternate_stack().unwrap_or_default();
    SETTINGS_IN_HANDLER.0.store(start, Ordering::SeqCst);
    SETTINGS_IN_HANDLER.1.store(length, Ordering::SeqCst);
    SETTINGS_IN_HANDLER.2.store(flags, Ordering::SeqCst);
}

fn settings_across_dispatch() -> Check {
    let stack = map_pages(STACK_LENGTH / PAGE_SIZE)? as u64;
    arm()?;
    for stack_flags in [0, SS_AUTODISARM] {
        for handler_flags in [0, libc::SA_ONSTACK] {
            // SAFETY: the stack is never unmapped.
            unsafe { sys::sigaltstack(stack, STACK_LENGTH as u64, stack_flags) }
                .map_err(broken("sigaltstack"))?;
            handle_dispatches_with(store_settings, handler_flags, 0)?;
            let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
            let what =
                format!("flags {stack_flags:#x} of the stack, {handler_flags:#x} of the handler");
            expect_equal(&format!("SIGSYS handled, {what}"), dispatch_count(), 1)?;
            let flags = match (stack_flags, handler_flags) {
                (SS_AUTODISARM, _) => libc::SS_DISABLE,
                (_, 0) => stack_flags,
                _ => stack_flags | libc::SS_ONSTACK,
            };
            expect_equal(
                &format!("flags in the handler, {what}"),
                SETTINGS_IN_HANDLER.2.load(Ordering::SeqCst),
                flags,
            )?;
            let start = if stack_flags == SS_AUTODISARM { 0 } else { stack };
            expect_equal_hex(
                &format!("start in the handler, {what}"),
                SETTINGS_IN_HANDLER.0.load(Ordering::SeqCst),
                start,
            )?;
            let after = sys::alternate_stack().map_err(broken("sigaltstack"))?;
            expect_equal(
                &format!("settings after the return, {what}"),
                after,
                (stack, STACK_LENGTH as u64, stack_flags),
            )?;
            reset_dispatch_count();
        }
    }
    Ok(())
}

/// The bytes of the alternate stack below the stack pointer at the call. A 64-bit frame with the state of
/// `fxsave` and the red zone needs more.
const BYTES_BELOW_CALL: u64 = 1024;

fn overflow_kills() -> Check {
    for handler_flags in [0, libc::SA_ONSTACK] {
        handle_dispatches_with(do_nothing, handler_flags, 0)?;
        install_counting_handler(libc::SIGSEGV)?;
        reset_dispatch_count();
        let status = run_vforked(|| {
            let call = fresh_umask_call();
            // The memory around the current stack pointer becomes the alternate stack.
            let start = arch::current_stack_pointer() - BYTES_BELOW_CALL;
            // SAFETY: this task has its own stack, which contains the memory.
            let result = unsafe { sys::sigaltstack(start, 2 * PAGE_SIZE as u64, 0) };
            if result.is_err() || arm().is_err() {
                return SETUP_FAILED;
            }
            let _ = issue_blocked(&arch::gate(), &call);
            0
        })?;
        expect_killed(status, libc::SIGSEGV, 0)?;
    }
    Ok(())
}
