// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selectors in memory with a protection key.

use crate::arch;
use crate::case::{Check, Failure};
use crate::cases::selector::expect_segv;
use crate::support::*;
use crate::sys;

/// `PKEY_DISABLE_ACCESS` (include/uapi/asm-generic/mman-common.h).
const PKEY_DISABLE_ACCESS: u64 = 1;

/// Maps a page with a new protection key, to which this thread has these rights.
fn map_page_with_key(rights: u64) -> Result<*mut u8, Failure> {
    let page = map_pages(1)?;
    let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).cast_unsigned());
    // SAFETY: the page belongs to this case.
    unsafe {
        let key = sys::call(libc::SYS_pkey_alloc, &[0, rights]).map_err(broken("pkey_alloc"))?;
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE_SIZE as u64, protection, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    Ok(page)
}

pub(crate) fn protection_key_kills() -> Check {
    expect_segv(map_page_with_key(PKEY_DISABLE_ACCESS)? as u64, || {})
}

/// Handler body: makes a call outside the allowed range, and sets shared word 0 to 1 if the call returns.
fn call_outside(_: Dispatch<'_>) {
    let _ = arch::second_gate().issue(&fresh_umask_call());
    set_shared_word(0, 1);
}

/// A handler begins with access to key 0 only, as a new process does (`fpu__clear_user_states()`,
/// `init_pkru_value`). Its sigreturn restores access to the other keys (`fpu__restore_sig()`).
pub(crate) fn protection_key_in_handler() -> Check {
    let page = map_page_with_key(0)?;
    let set_selector_in_page = |value| {
        // SAFETY: the page belongs to this case, which has access to it here.
        unsafe { page.write_volatile(value) };
    };
    install_counting_handler(libc::SIGSEGV)?;
    // The handler returns by a call in the allowed range, for which the kernel reads no selector. After the
    // handler the program has access again.
    handle_dispatches(do_nothing)?;
    let regs = fresh_umask_call();
    arm_with_selector(page as u64)?;
    for (value, expected) in [(BLOCK, 1), (BLOCK, 2), (ALLOW, 2)] {
        set_selector_in_page(value);
        let _ = arch::gate().issue(&regs);
        set_selector_in_page(ALLOW);
        expect_equal("SIGSYS handled", dispatch_count(), expected)?;
        expect_equal("effect", take_umask_effect(), value == ALLOW)?;
    }
    disarm()?;
    reset_dispatch_count();
    handle_dispatches(call_outside)?;
    let status = run_vforked(|| {
        let regs = fresh_umask_call();
        if arm_with_selector(page as u64).is_err() {
            return SETUP_FAILED;
        }
        set_selector_in_page(BLOCK);
        let _ = arch::gate().issue(&regs);
        set_selector_in_page(ALLOW);
        0
    })?;
    expect_killed(status, libc::SIGSEGV, 1)?;
    expect_equal("instructions run after the call in the handler", shared_word(0), 0)
}
