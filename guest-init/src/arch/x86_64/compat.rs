// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A real 32-bit program: what `compat.s` does, as the 64-bit side sees it.
//!
//! The program maps a board that it shares with whoever started it, copies the beginning of its
//! vDSO there, and waits. Then it takes one [`Order`] after the other: sets the selector, loads
//! the registers, jumps to the gate, and writes the registers behind the gate down. Every address
//! in it is known before it runs.

use std::ops::Range;

std::arch::global_asm!(include_str!("compat.s"));

/// Where the program lies, and how far behind that its code begins (`BASE`, `HEADERS`).
const BASE: u32 = 0x0804_8000;
const HEADERS: u32 = 0x80;
/// Where the board is mapped (`BOARD`).
pub const BOARD: u32 = 0x2000_0000;
/// Bytes of the board (`BOARD_LENGTH`).
pub const BOARD_LENGTH: usize = 0x8000;
/// The descriptor on which the program expects the board's file (`BOARD_FILE`).
pub const BOARD_FILE: u64 = 200;
/// Where a case may put what orders point at.
pub const DATA: usize = 0x5000;
/// Where a stack for handlers may grow down from.
pub const STACK_END: usize = BOARD_LENGTH;
/// How many orders there is room for.
pub const ORDERS: usize = 64;
/// How many dispatches are kept in full (`SEEN_KEPT`).
pub const SEEN: usize = 4;

/// What [`Head::reaction`] says when the handler is to leave the selector alone.
pub const LEAVE: u32 = 0x100;

/// Numbers of system calls of 32-bit programs (arch/x86/entry/syscalls/syscall_32.tbl).
#[allow(missing_docs)]
pub mod number {
    pub const GETPID: u32 = 20;
    pub const PTRACE: u32 = 26;
    pub const KILL: u32 = 37;
    pub const UMASK: u32 = 60;
    pub const MPROTECT: u32 = 125;
    pub const PRCTL: u32 = 172;
    pub const RT_SIGACTION: u32 = 174;
    pub const SIGALTSTACK: u32 = 186;
    pub const WAIT4: u32 = 114;
}

/// One SIGSYS as the 32-bit handler saw it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Seen {
    /// `struct compat_siginfo`, whole.
    pub info: [u8; 128],
    /// `struct ucontext_ia32`, its beginning.
    pub context: [u32; 32],
}

/// Words of `struct ucontext_ia32` (arch/x86/include/asm/sigframe.h) in [`Seen::context`].
#[allow(missing_docs)]
pub mod context {
    pub const DI: usize = 9;
    pub const SI: usize = 10;
    pub const BP: usize = 11;
    pub const SP: usize = 12;
    pub const BX: usize = 13;
    pub const DX: usize = 14;
    pub const CX: usize = 15;
    pub const AX: usize = 16;
    pub const IP: usize = 19;
    pub const CS: usize = 20;
}

/// The board's beginning.
#[derive(Debug)]
#[repr(C)]
pub struct Head {
    /// The selector.
    pub selector: u32,
    /// What the handler writes there, or [`LEAVE`].
    pub reaction: u32,
    /// Where the handler lets the program go on, 0: where it was.
    pub go_on_at: u32,
    /// How many SIGSYS were handled.
    pub signals: u32,
    /// How many faults were handled.
    pub faults: u32,
    /// `AT_SYSINFO`: `__kernel_vsyscall`, or 0.
    pub fast: u32,
    /// `AT_SYSINFO_EHDR`: the vDSO, or 0.
    pub vdso: u32,
    /// 1 when the program waits for orders.
    pub ready: u32,
    /// To be set to 1 when the orders are there.
    pub go: u32,
    /// How many orders were carried out.
    pub done: u32,
    private: [u32; 54],
    /// What the handler of SIGSYS saw.
    pub seen: [Seen; SEEN],
}

/// What is in the registers of arguments that a call does not take.
const PATTERN: [u32; 6] =
    [0x5e1f_0001, 0x5e1f_0002, 0x5e1f_0003, 0x5e1f_0004, 0x5e1f_0005, 0x5e1f_0006];

/// Registers of a 32-bit call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Registers {
    pub ax: u32,
    pub bx: u32,
    pub cx: u32,
    pub dx: u32,
    pub si: u32,
    pub di: u32,
    pub bp: u32,
}

impl Registers {
    /// A call, its arguments in order, the rest filled with a pattern.
    #[must_use]
    pub fn call(number: u32, arguments: &[u32]) -> Registers {
        let argument = |i: usize| arguments.get(i).copied().unwrap_or(PATTERN[i]);
        Registers {
            ax: number,
            bx: argument(0),
            cx: argument(1),
            dx: argument(2),
            si: argument(3),
            di: argument(4),
            bp: argument(5),
        }
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Order {
    /// Address of the gate.
    pub gate: u32,
    /// What the selector says.
    pub selector: u32,
    /// The registers to load.
    pub registers: Registers,
    unused: u32,
    /// The registers behind the gate. A fault leaves its place in `bx` and what AX was in `ax`.
    pub behind: Registers,
    /// By how much the stack pointer has changed.
    pub stack: u32,
    unused_too: [u32; 2],
}

impl Order {
    /// An order with this selector.
    #[must_use]
    pub fn new(gate: u32, selector: u8, registers: Registers) -> Order {
        Order { gate, selector: selector.into(), registers, ..Order::default() }
    }
}

/// The board as it lies in the shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct Board {
    /// What the program and its handlers share with the case.
    pub head: Head,
    rest: [u8; 0x1000 - size_of::<Head>()],
    /// The first page of the vDSO.
    pub vdso: [u8; 0x1000],
    /// The first bytes of `__kernel_vsyscall`.
    pub fast: [u8; 32],
    more: [u8; 0xfe0],
    /// The orders, up to the first without a gate.
    pub orders: [Order; ORDERS],
}

const _: () = {
    assert!(std::mem::offset_of!(Head, seen) == 0x100);
    assert!(std::mem::offset_of!(Board, orders) == 0x3000);
    assert!(size_of::<Order>() == 80 && size_of::<Board>() <= DATA);
};

macro_rules! places {
    ($($(#[doc = $doc:literal])* $name:ident = $label:ident;)*) => {
        unsafe extern "C" { $(fn $label();)* }
        $($(#[doc = $doc])* #[must_use] pub fn $name() -> u32 { place($label) })*
    };
}

places! {
    /// The handler of SIGSYS, with `SA_SIGINFO`.
    handler = sudbox32_handler;
    /// The handler of SIGSYS, without `SA_SIGINFO`.
    plain_handler = sudbox32_plain_handler;
    /// The handler of faults, on an alternate stack, with `SA_SIGINFO` and `SA_NODEFER`.
    fault_handler = sudbox32_fault_handler;
    /// A gate inside the range that cases allow, `int 0x80`.
    inside_gate = sudbox32_inside_gate;
    /// No gate: writes ECX to the address in EBX.
    poke_gate = sudbox32_poke_gate;
    /// A restorer inside the range.
    restorer = sudbox32_restorer;
    /// An outside gate, `int 0x80`.
    gate = sudbox32_gate;
    /// The instruction behind that gate's.
    gate_after = sudbox32_gate_after;
    /// An outside gate through `__kernel_vsyscall`.
    fast_gate = sudbox32_fast_gate;
    /// The instruction behind that gate's.
    fast_gate_after = sudbox32_fast_gate_after;
    /// Jumps to the address in EBP, with the address in ESI to come back to.
    jump_gate = sudbox32_jump_gate;
    /// `sysenter` with EBP for a stack, which never comes back here.
    sysenter_gate = sudbox32_sysenter_gate;
    /// `syscall` with EBP for a stack, which never comes back here.
    syscall_gate = sudbox32_syscall_gate;
    /// Jumps to 64-bit code at the address in EBP, with the address in RSI to come back to.
    long_gate = sudbox32_long_gate;
}

unsafe extern "C" {
    fn sudbox32_start();
    fn sudbox32_inside_end();
    fn sudbox32_end();
}

/// Where a label of the assembly lies in the 32-bit program.
fn place(label: unsafe extern "C" fn()) -> u32 {
    let offset = label as *const () as usize - sudbox32_start as *const () as usize;
    BASE + HEADERS + u32::try_from(offset).expect("code is short")
}

/// The range that cases allow.
#[must_use]
pub fn inside() -> Range<u32> {
    place(sudbox32_start)..place(sudbox32_inside_end)
}

/// The program, an ELF image of one segment (elf(5)).
#[must_use]
pub fn program() -> Vec<u8> {
    let length = place(sudbox32_end) - place(sudbox32_start);
    let size = HEADERS + length;
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [place(sudbox32_start), 52, 0, 0, 32 << 16 | 52, 1, 0] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    image.resize(HEADERS as usize, 0);
    // SAFETY: the labels delimit the code.
    image.extend_from_slice(unsafe {
        std::slice::from_raw_parts(sudbox32_start as *const u8, length as usize)
    });
    image
}
