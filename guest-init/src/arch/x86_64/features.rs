// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Detects the kernel features that exist on x86-64 only.

use super::{
    COMPAT_GETPID, Reg, SA_RESTORER, UserContext, X32_BIT, compat_gate, compat_gate_after_fault,
};
use crate::arch::{Registers, issue_inside, restorer};
use crate::sys;
use sudbox_protocol::Feature;

/// Whether the kernel has this feature. False for features that do not exist on x86-64 only.
#[must_use]
pub fn has_arch_feature(feature: Feature) -> bool {
    match feature {
        Feature::Ia32 => has_compat_calls(),
        Feature::X32 => has_x32_calls(),
        Feature::Vsyscall => has_vsyscall_page(),
        Feature::Pkeys => has_pkeys(),
        _ => false,
    }
}

/// Whether `int 0x80` works. If the kernel lacks IA32 emulation the instruction faults, and the
/// SIGSEGV handler steps over it.
fn has_compat_calls() -> bool {
    extern "C" fn step_over(_: i32, _: *const u8, context: *mut UserContext) {
        // SAFETY: the kernel passes the signal frame, which nothing else uses.
        let context = unsafe { &mut *context };
        context.registers[Reg::INSTRUCTION_POINTER] = compat_gate_after_fault();
        // Otherwise the result register keeps the number of the call, which may equal the PID.
        context.registers[Reg::RESULT] = u64::MAX;
    }
    let action = sys::SigAction {
        handler: step_over as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | SA_RESTORER,
        restorer: restorer(),
        mask: 0,
    };
    // SAFETY: the handler only skips the `int 0x80` of the gate, and is removed after the call.
    unsafe {
        let _ = sys::sigaction(libc::SIGSEGV, &action);
        let after = compat_gate().issue(&Registers::for_call(COMPAT_GETPID, [0; 6]));
        let _ = sys::sigaction(libc::SIGSEGV, &sys::SigAction::default());
        after.result() == i64::from(sys::getpid())
    }
}

/// Whether calls with [`X32_BIT`] in their number work.
fn has_x32_calls() -> bool {
    let number = X32_BIT | libc::SYS_getpid.cast_unsigned();
    // SAFETY: getpid() takes no arguments.
    unsafe { issue_inside(number, [0; 6]) == i64::from(sys::getpid()) }
}

/// Whether the vsyscall page is mapped. `/proc/self/maps` is read because the page itself may be
/// execute-only.
fn has_vsyscall_page() -> bool {
    std::fs::read_to_string("/proc/self/maps")
        .is_ok_and(|maps| maps.lines().any(|line| line.ends_with("[vsyscall]")))
}

/// Whether the kernel and the CPU have memory protection keys (pkeys(7)).
fn has_pkeys() -> bool {
    // SAFETY: allocates and frees a key that protects nothing.
    unsafe {
        let key = sys::call(libc::SYS_pkey_alloc, &[0, 0]);
        key.is_ok_and(|key| sys::call(libc::SYS_pkey_free, &[key]).is_ok())
    }
}
