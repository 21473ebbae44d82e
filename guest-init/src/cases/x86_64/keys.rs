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
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE_SIZE as u64, 3, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    expect_segv(page as u64, || {})
}

/// Handler body: makes a call outside the allowed range.
fn call_outside(_: Dispatch<'_>) {
    let _ = arch::second_gate().issue(&fresh_umask_call());
    set_shared_word(0, 1);
}

/// A handler begins with access to key 0 only, as a new process does (`fpu__clear_user_states()`,
/// `init_pkru_value`). Its sigreturn restores access to the other keys (`fpu__restore_sig()`).
pub(crate) fn protection_key_in_handler() -> Check {
    let page = map_pages(1)?;
    // SAFETY: the page is the case's own, and accessible for it.
    unsafe {
        let key = sys::call(libc::SYS_pkey_alloc, &[0, 0]).map_err(broken("pkey_alloc"))?;
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE_SIZE as u64, 3, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    let set = |value| {
        // SAFETY: as above.
        unsafe { page.write_volatile(value) };
    };
    install_counting_handler(libc::SIGSEGV)?;
    // The handler returns by a call in the allowed range, for which the kernel reads no selector. After the
    // handler the program has access again.
    handle_dispatches(do_nothing)?;
    let regs = fresh_umask_call();
    arm_with_selector(page as u64)?;
    for (value, expected) in [(BLOCK, 1), (BLOCK, 2), (ALLOW, 2)] {
        set(value);
        let _ = arch::gate().issue(&regs);
        set(ALLOW);
        expect_equal("SIGSYS handled", dispatch_count(), expected)?;
        expect_equal("effect", take_umask_effect(), value == ALLOW)?;
    }
    disarm()?;
    reset_dispatch_count();
    handle_dispatches(call_outside)?;
    let end = run_vforked(|| {
        let regs = fresh_umask_call();
        if arm_with_selector(page as u64).is_err() {
            return SETUP_FAILED;
        }
        set(BLOCK);
        let _ = arch::gate().issue(&regs);
        set(ALLOW);
        0
    })?;
    expect_killed(end, libc::SIGSEGV, 1)?;
    expect_equal("instructions run after the call in the handler", shared_word(0), 0)
}
