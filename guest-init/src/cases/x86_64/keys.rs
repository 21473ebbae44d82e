// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Protection keys.

use crate::arch;
use crate::case::Check;
use crate::cases::selector::expect_segv;
use crate::support::*;
use crate::sys;

pub(crate) fn protection_key_kills() -> Check {
    const DISABLE_ACCESS: u64 = 1;
    let page = map_pages(1)?;
    // SAFETY: the page belongs to this case.
    unsafe {
        let key =
            sys::call(libc::SYS_pkey_alloc, &[0, DISABLE_ACCESS]).map_err(broken("pkey_alloc"))?;
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE as u64, 3, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    expect_segv(page as u64, || {})
}

/// Reaction: makes a call outside the allowed range.
fn call_outside(_: Dispatch<'_>) {
    let _ = arch::second_gate().issue(&touch());
    set_mark(0, 1);
}

/// A handler begins with access to key 0 only, as a new process does (`fpu__clear_user_states()`,
/// `init_pkru_value`). Its sigreturn restores access to the other keys (`fpu__restore_sig()`).
pub(crate) fn protection_key_in_handler() -> Check {
    let page = map_pages(1)?;
    // SAFETY: the page is the case's own, and accessible for it.
    unsafe {
        let key = sys::call(libc::SYS_pkey_alloc, &[0, 0]).map_err(broken("pkey_alloc"))?;
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE as u64, 3, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    let set = |value| {
        // SAFETY: as above.
        unsafe { page.write_volatile(value) };
    };
    count_signal(libc::SIGSEGV)?;
    // Calls in the allowed range read no selector, and the program has access again after the handler.
    handle(noop)?;
    let regs = touch();
    arm_with(page as u64)?;
    for (value, expected) in [(BLOCK, 1), (BLOCK, 2), (ALLOW, 2)] {
        set(value);
        let _ = arch::gate().issue(&regs);
        set(ALLOW);
        equal("SIGSYS handled", dispatches(), expected)?;
        equal("effect", take_touched(), value == ALLOW)?;
    }
    disarm()?;
    reset_dispatches();
    handle(call_outside)?;
    let end = run_vforked(|| {
        let regs = touch();
        if arm_with(page as u64).is_err() {
            return 99;
        }
        set(BLOCK);
        let _ = arch::gate().issue(&regs);
        set(ALLOW);
        0
    })?;
    expect_killed(end, libc::SIGSEGV, 1)?;
    equal("instructions run after the call in the handler", mark(0), 0)
}
