// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel offers on x86-64 only.

use super::{COMPAT_GETPID, Context, Reg, SA_RESTORER, X32_BIT, compat_gate, compat_skip};
use crate::arch::{Registers, inside_call, restorer};
use crate::sys;
use sudbox_protocol::Feature;

/// Whether the kernel offers this, for what exists on one architecture only.
#[must_use]
pub fn offers(feature: Feature) -> bool {
    match feature {
        Feature::Ia32 => compat_calls(),
        Feature::X32 => x32_calls(),
        Feature::Vsyscall => vsyscall_page(),
        Feature::Pkeys => pkeys(),
        _ => false,
    }
}

/// Where `int 0x80` is not offered it is a fault, which the handler steps over.
fn compat_calls() -> bool {
    extern "C" fn step_over(_: i32, _: *const u8, context: *mut Context) {
        // SAFETY: the kernel hands a handler its frame, which nobody else uses.
        let context = unsafe { &mut *context };
        context.registers[Reg::NEXT] = compat_skip();
    }
    let action = sys::Action {
        handler: step_over as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | SA_RESTORER,
        restorer: restorer(),
        mask: 0,
    };
    // SAFETY: the handler only steps over the instruction below, and is gone after it.
    unsafe {
        let _ = sys::sigaction(libc::SIGSEGV, &action);
        let after = compat_gate().issue(&Registers::call(COMPAT_GETPID, [0; 6]));
        let _ = sys::sigaction(libc::SIGSEGV, &sys::Action::default());
        after.result() == i64::from(sys::getpid())
    }
}

fn x32_calls() -> bool {
    let number = X32_BIT | libc::SYS_getpid.cast_unsigned();
    // SAFETY: touches no memory.
    unsafe { inside_call(number, [0; 6]) == i64::from(sys::getpid()) }
}

/// With a page that can only be executed there is nothing to read, so the kernel's word counts.
fn vsyscall_page() -> bool {
    std::fs::read_to_string("/proc/self/maps")
        .is_ok_and(|maps| maps.lines().any(|line| line.ends_with("[vsyscall]")))
}

fn pkeys() -> bool {
    // SAFETY: allocates a key, which protects nothing yet, and frees it.
    unsafe {
        let key = sys::call(libc::SYS_pkey_alloc, &[0, 0]);
        key.is_ok_and(|key| sys::call(libc::SYS_pkey_free, &[key]).is_ok())
    }
}
