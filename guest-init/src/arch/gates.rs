// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Gates: the code that issues system calls.
//!
//! Each architecture has its machine code in `gates.s`, in two parts. The *inside* part is the allowed
//! range of most cases. It has the calls of the runner and of handlers, the restorer, and the code that
//! starts threads. The gates in the *outside* part issue the calls under test. A gate loads all general
//! registers and the flags from a [`Registers`], issues one call, and stores all these registers, so that
//! a case sees each register that the kernel has changed.

use super::{CALL_LENGTH, RESERVED_ABOVE_STACK, Registers, clone_arguments, make_executable};
use std::ops::Range;

/// The machine code of a gate. Its arguments are addresses: of the registers to load, of the memory for the
/// registers after the call, and the same two for the floating point state, which only some gates use.
pub(super) type GateFunction =
    unsafe extern "C" fn(*const Registers, *mut Registers, *const u8, *mut u8);

/// A function in machine code that issues one system call at a known address. Calls of gates in the
/// outside part are dispatched, unless a case arms with a range that contains the gate.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub(super) function: GateFunction,
    /// Address of the system call instruction.
    pub(super) call_address: u64,
    /// An address besides the compared address at which a handler may continue the gate.
    pub(super) other_continuation: u64,
}

impl Gate {
    /// The address of the system call instruction.
    #[must_use]
    pub fn call_address(&self) -> u64 {
        self.call_address
    }

    /// The compared address of the gate's call: the address after the system call instruction.
    #[must_use]
    pub fn compared_address(&self) -> u64 {
        self.call_address + CALL_LENGTH
    }

    /// An address besides the compared address at which a handler may continue the gate. [`Gate::issue`]
    /// returns the address at which the gate continued, in
    /// [`Reg::INSTRUCTION_POINTER`](super::Reg::INSTRUCTION_POINTER).
    #[must_use]
    pub fn other_continuation(&self) -> u64 {
        self.other_continuation
    }

    /// Issues a call and returns all registers after the call. The values of the stack pointer and the
    /// instruction pointer in `regs` are not used.
    #[must_use]
    pub fn issue(&self, regs: &Registers) -> Registers {
        let mut out = Registers::default();
        // SAFETY: the gate saves the callee-saved registers and accesses memory through the two
        // pointers only; the effect of the call is the case's choice.
        unsafe { (self.function)(regs, &raw mut out, std::ptr::null(), std::ptr::null_mut()) };
        out
    }
}

/// Declares labels and gates of the assembly as functions.
macro_rules! declare_symbols {
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
pub(super) use declare_symbols;

declare_symbols!(
    sudbox_inside_start,
    sudbox_inside_end,
    sudbox_restorer,
    sudbox_outside_restorer,
    sudbox_outside_restorer_call,
    sudbox_first_call,
    sudbox_first_other_continuation,
    sudbox_first_end,
    sudbox_second_call,
    sudbox_second_other_continuation;
    sudbox_first,
    sudbox_second
);

unsafe extern "C" {
    fn sudbox_syscall(number: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64;
    fn sudbox_spawn(number: u64, a: u64, b: u64, c: u64, d: u64) -> i64;
}

/// The address of a label.
pub(super) fn symbol_address(label: unsafe extern "C" fn()) -> u64 {
    label as usize as u64
}

/// The bytes between two labels.
#[cfg(not(target_arch = "s390x"))]
pub(super) fn bytes_between(
    start: unsafe extern "C" fn(),
    end: unsafe extern "C" fn(),
) -> &'static [u8] {
    let length =
        usize::try_from(symbol_address(end) - symbol_address(start)).expect("code fits memory");
    // SAFETY: the labels delimit constant bytes.
    unsafe { std::slice::from_raw_parts(start as *const u8, length) }
}

/// The outside gate that most cases use.
#[must_use]
pub fn gate() -> Gate {
    Gate {
        function: sudbox_first,
        call_address: symbol_address(sudbox_first_call),
        other_continuation: symbol_address(sudbox_first_other_continuation),
    }
}

/// A second outside gate, for cases that need two addresses.
#[must_use]
pub fn second_gate() -> Gate {
    Gate {
        function: sudbox_second,
        call_address: symbol_address(sudbox_second_call),
        other_continuation: symbol_address(sudbox_second_other_continuation),
    }
}

/// The length of the machine code that [`copy_gate`] copies, in bytes.
#[must_use]
pub fn gate_length() -> usize {
    usize::try_from(symbol_address(sudbox_first_end) - gate_start()).expect("code fits memory")
}

/// The address of the machine code of [`gate`].
fn gate_start() -> u64 {
    sudbox_first as *const () as u64
}

/// Copies [`gate`] to `target`.
///
/// # Safety
/// [`gate_length`] bytes must be writable at `target`, and executable when the gate is used.
#[must_use]
pub unsafe fn copy_gate(target: *mut u8) -> Gate {
    // SAFETY: the labels delimit the gate's code, which is position-independent; `target` is the
    // caller's duty.
    let function = unsafe {
        std::ptr::copy_nonoverlapping(gate_start() as *const u8, target, gate_length());
        make_executable(target as u64..target as u64 + gate_length() as u64);
        std::mem::transmute::<*mut u8, GateFunction>(target)
    };
    let base = target as u64;
    Gate {
        function,
        call_address: base + (symbol_address(sudbox_first_call) - gate_start()),
        other_continuation: base + (symbol_address(sudbox_first_other_continuation) - gate_start()),
    }
}

/// The address range of the inside part: the allowed range of most cases.
#[must_use]
pub fn inside() -> Range<u64> {
    symbol_address(sudbox_inside_start)..symbol_address(sudbox_inside_end)
}

/// The address of the C function behind [`issue_inside`], whose arguments are the number and the six arguments
/// of the call.
#[must_use]
pub fn issue_inside_address() -> u64 {
    sudbox_syscall as *const () as u64
}

/// Issues a system call from the inside part. Returns the value of the result register, in which -4095
/// to -1 are errors.
///
/// # Safety
/// As the call requires.
#[inline]
pub unsafe fn issue_inside(number: u64, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: by the contract of this function.
    unsafe { sudbox_syscall(number, a, b, c, d, e, f) }
}

/// Issues clone(2) (flags and stack as the first two arguments) or clone3(2) from the inside part. The
/// child calls the function that [`prepare_stack`] wrote to its stack, and exits its thread with the result
/// of that function. In the parent, returns the value of the result register.
///
/// # Safety
/// `arguments` must be valid for `number`, and give the child a stack that [`prepare_stack`] made.
pub unsafe fn spawn(number: u64, arguments: [u64; 4]) -> i64 {
    let [mut a, mut b, c, d] = arguments;
    if number == libc::SYS_clone.cast_unsigned() {
        [a, b] = clone_arguments(a, b);
    }
    // SAFETY: by the contract of this function.
    unsafe { sudbox_spawn(number, a, b, c, d) }
}

/// Writes a function and its argument to the top of a stack, where a task that [`spawn`] starts expects them.
/// Returns the task's first stack pointer.
pub fn prepare_stack(stack: &mut [u8], run: extern "C" fn(u64) -> u64, argument: u64) -> u64 {
    let top = (stack.as_mut_ptr_range().end as u64) & !15;
    let words = top - 16;
    assert!(stack.len() as u64 >= RESERVED_ABOVE_STACK + 64);
    // SAFETY: the 16 bytes below the aligned end are in the stack, which is longer.
    unsafe {
        (words as *mut u64).write(run as *const () as u64);
        ((words + 8) as *mut u64).write(argument);
    }
    words - RESERVED_ABOVE_STACK
}

/// The address of the restorer in the inside part, whose `rt_sigreturn(2)` is not dispatched.
#[must_use]
pub fn restorer() -> u64 {
    symbol_address(sudbox_restorer)
}

/// The address of the restorer in the outside part, whose `rt_sigreturn(2)` is under test.
#[must_use]
pub fn outside_restorer() -> u64 {
    symbol_address(sudbox_outside_restorer)
}

/// The address of the system call instruction of [`outside_restorer`].
#[must_use]
pub fn outside_restorer_call() -> u64 {
    symbol_address(sudbox_outside_restorer_call)
}
