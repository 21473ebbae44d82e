// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where system calls are issued.
//!
//! All machine code sits in `gates.s`, one of each architecture. The *inside* part holds what may
//! always call the kernel: the runner's and handlers' own calls, the restorer, the births of
//! threads. Cases arm with the inside part as the allowed range. The gates behind it are *outside*:
//! what they issue is under test. A gate loads every general register and the flags from a
//! [`Registers`], issues one call, and stores every general register and the flags, so that what
//! the kernel did to any of them shows.

use super::{CALL_LENGTH, FIRST_FRAME, Registers, clone_arguments, make_executable};
use std::ops::Range;

/// A gate as a function: registers in and out, and floating point state for those that want it.
pub(super) type Enter = unsafe extern "C" fn(*const Registers, *mut Registers, *const u8, *mut u8);

/// What a gate issues a call with, and where.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub(super) enter: Enter,
    pub(super) call: u64,
    pub(super) elsewhere: u64,
}

impl Gate {
    /// Address of the instruction that enters the kernel.
    #[must_use]
    pub fn call_address(&self) -> u64 {
        self.call
    }

    /// Address of the instruction behind it: what the kernel compares with the range.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.call + CALL_LENGTH
    }

    /// Another place in the gate at which a handler may let it go on; the registers that the
    /// gate hands back then say so in [`Reg::NEXT`](super::Reg::NEXT).
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// Issues the call and hands back all registers as they were behind it. The stack pointer
    /// handed back is the one at the call; those of `regs` for it and for the next instruction
    /// are not used.
    #[must_use]
    pub fn issue(&self, regs: &Registers) -> Registers {
        let mut out = Registers::default();
        // SAFETY: the gate saves what the C ABI wants kept, touches memory only through the two
        // pointers, and what the call does is the caller's to choose, as with any system call.
        unsafe { (self.enter)(regs, &raw mut out, std::ptr::null(), std::ptr::null_mut()) };
        out
    }
}

/// Labels in the assembly, and gates there.
macro_rules! symbols {
    ($($label:ident),*; $($gate:ident),*) => {
        unsafe extern "C" {
            $(pub(super) fn $label();)*
            $(pub(super) fn $gate(
                registers: *const $crate::arch::Registers,
                out: *mut $crate::arch::Registers,
                floating: *const u8,
                floating_out: *mut u8,
            );)*
        }
    };
}
pub(super) use symbols;

symbols!(
    sudbox_inside_start,
    sudbox_inside_end,
    sudbox_restorer,
    sudbox_outside_restorer,
    sudbox_outside_restorer_call,
    sudbox_first_call,
    sudbox_first_elsewhere,
    sudbox_first_end,
    sudbox_second_call,
    sudbox_second_elsewhere;
    sudbox_first,
    sudbox_second
);

unsafe extern "C" {
    fn sudbox_syscall(n: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64;
    fn sudbox_spawn(n: u64, a: u64, b: u64, c: u64, d: u64) -> i64;
}

pub(super) fn address(label: unsafe extern "C" fn()) -> u64 {
    label as usize as u64
}

/// The bytes between two labels.
#[cfg(not(target_arch = "s390x"))]
pub(super) fn between(start: unsafe extern "C" fn(), end: unsafe extern "C" fn()) -> &'static [u8] {
    let length = usize::try_from(address(end) - address(start)).expect("code fits memory");
    // SAFETY: the labels delimit bytes that are never written to.
    unsafe { std::slice::from_raw_parts(start as *const u8, length) }
}

/// The outside gate that most cases use.
#[must_use]
pub fn gate() -> Gate {
    Gate {
        enter: sudbox_first,
        call: address(sudbox_first_call),
        elsewhere: address(sudbox_first_elsewhere),
    }
}

/// A second outside gate, for cases that must tell two places apart.
#[must_use]
pub fn second_gate() -> Gate {
    Gate {
        enter: sudbox_second,
        call: address(sudbox_second_call),
        elsewhere: address(sudbox_second_elsewhere),
    }
}

/// Bytes that [`copy_gate`] needs.
#[must_use]
pub fn copy_length() -> usize {
    usize::try_from(address(sudbox_first_end) - start()).expect("code fits memory")
}

fn start() -> u64 {
    sudbox_first as *const () as u64
}

/// A copy of [`gate`] at `place`, which must be followed by [`copy_length`] writable bytes that
/// can be executed by the time the gate is used.
///
/// # Safety
/// As said.
#[must_use]
pub unsafe fn copy_gate(place: *mut u8) -> Gate {
    // SAFETY: the labels delimit the gate's code, which is position-independent; the caller
    // vouches for `place`. What may be there of other code is not executed any more.
    let enter = unsafe {
        std::ptr::copy_nonoverlapping(start() as *const u8, place, copy_length());
        make_executable(place as u64..place as u64 + copy_length() as u64);
        std::mem::transmute::<*mut u8, Enter>(place)
    };
    let base = place as u64;
    Gate {
        enter,
        call: base + (address(sudbox_first_call) - start()),
        elsewhere: base + (address(sudbox_first_elsewhere) - start()),
    }
}

/// The range from which the runner's and the handlers' own calls come.
#[must_use]
pub fn inside() -> Range<u64> {
    address(sudbox_inside_start)..address(sudbox_inside_end)
}

/// The function behind [`inside_call`]: the number, then the arguments.
#[must_use]
pub fn inside_entry() -> u64 {
    sudbox_syscall as *const () as u64
}

/// Issues a system call from inside. Answers as the kernel does: -4095 to -1 are errors.
///
/// # Safety
/// What the call does to memory and registers is the caller's business.
#[inline]
pub unsafe fn inside_call(number: u64, a: [u64; 6]) -> i64 {
    // SAFETY: passes the registers on, as the caller wants.
    unsafe { sudbox_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) }
}

/// Issues `clone`, its flags and stack in this order, or `clone3` from inside for a child that runs
/// on a stack of its own. The child finds a function and its argument on top of that stack, calls
/// it, and ends its thread with what it gives back. Answers the parent as the kernel does.
///
/// # Safety
/// `arguments` must be right for `number` and give the child a stack prepared by
/// [`prepare_stack`].
pub unsafe fn spawn(number: u64, arguments: [u64; 4]) -> i64 {
    let [mut a, mut b, c, d] = arguments;
    if number == libc::SYS_clone.cast_unsigned() {
        [a, b] = clone_arguments(a, b);
    }
    // SAFETY: the caller vouches.
    unsafe { sudbox_spawn(number, a, b, c, d) }
}

/// Puts what [`spawn`] wants at the top of a stack, and gives the stack pointer to start with.
pub fn prepare_stack(stack: &mut [u8], run: extern "C" fn(u64) -> u64, argument: u64) -> u64 {
    let top = (stack.as_mut_ptr_range().end as u64) & !15;
    let place = top - 16;
    assert!(stack.len() as u64 >= FIRST_FRAME + 64);
    // SAFETY: the 16 bytes below the aligned end lie in the stack, which is longer than that.
    unsafe {
        (place as *mut u64).write(run as *const () as u64);
        ((place + 8) as *mut u64).write(argument);
    }
    place - FIRST_FRAME
}

/// A place for a handler to return to whose `rt_sigreturn` is allowed.
#[must_use]
pub fn restorer() -> u64 {
    address(sudbox_restorer)
}

/// A place for a handler to return to whose `rt_sigreturn` is under test.
#[must_use]
pub fn outside_restorer() -> u64 {
    address(sudbox_outside_restorer)
}

/// Where [`outside_restorer`] enters the kernel.
#[must_use]
pub fn outside_restorer_call() -> u64 {
    address(sudbox_outside_restorer_call)
}
