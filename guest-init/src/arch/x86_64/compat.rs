// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A 32-bit program (`compat.s`), and the memory that the program shares with the 64-bit case that
//! starts it.
//!
//! The program maps a file that it shares with the case ([`SharedMemory`]), copies the first page
//! of the vDSO to that memory, and waits. Then the program carries out one [`Request`] after the
//! other: it sets the selector, loads the registers, jumps to a gate, and stores the registers
//! after the call. All addresses of the program are fixed.

use std::ops::Range;

std::arch::global_asm!(include_str!("compat.s"));

/// The address of the program. `compat.s` defines this constant and the following ones with the same
/// names.
const BASE_ADDRESS: u32 = 0x0804_8000;
/// The length of the program's ELF headers in bytes. The code follows the headers.
const HEADERS_LENGTH: u32 = 0x80;
/// The address of the shared memory in the program.
pub const SHARED_ADDRESS: u32 = 0x2000_0000;
/// The address after the shared memory.
pub const SHARED_END: u32 = SHARED_ADDRESS + 0x8000;
/// The length of the shared memory in bytes.
pub const SHARED_LENGTH: usize = (SHARED_END - SHARED_ADDRESS) as usize;
/// The descriptor with which the program inherits the shared file.
pub const SHARED_FILE_DESCRIPTOR: u64 = 200;
/// The offset in bytes, in the shared memory, of the data that requests point to.
pub const DATA_OFFSET: usize = 0x5000;
/// The offset in bytes, in the shared memory, of the end of the signal stack.
pub const SIGNAL_STACK_END: usize = SHARED_LENGTH;
/// Maximum number of requests.
pub const MAX_REQUESTS: usize = 64;
/// Maximum number of dispatches that the handler records.
pub const MAX_RECORDED: usize = 4;

/// Maximum number of signals of which [`start_handler`] records the start.
pub const MAX_HANDLER_STARTS: usize = 16;

/// The value of [`ProgramState::selector_in_handler`] that makes the handler leave the selector
/// unchanged.
pub const UNCHANGED_SELECTOR: u32 = 0x100;

/// Numbers of system calls of 32-bit programs (arch/x86/entry/syscalls/syscall_32.tbl).
#[allow(missing_docs)]
pub mod number {
    pub const GETPID: u32 = 20;
    pub const PTRACE: u32 = 26;
    pub const KILL: u32 = 37;
    pub const UMASK: u32 = 60;
    pub const RESTART_SYSCALL: u32 = 0;
    pub const MPROTECT: u32 = 125;
    pub const NANOSLEEP: u32 = 162;
    pub const PRCTL: u32 = 172;
    pub const RT_SIGACTION: u32 = 174;
    pub const SIGALTSTACK: u32 = 186;
    pub const SET_THREAD_AREA: u32 = 243;
    pub const WAIT4: u32 = 114;
}

/// The record that the 32-bit handler makes of one SIGSYS.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SigsysRecord {
    /// The whole `struct compat_siginfo`.
    pub info: [u8; 128],
    /// The first words of `struct ucontext_ia32`.
    pub user_context: [u32; 32],
}

/// Indices of words of `struct ucontext_ia32` (arch/x86/include/asm/sigframe.h) in
/// [`SigsysRecord::user_context`].
#[allow(missing_docs)]
pub mod context_index {
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

/// The state with which [`start_handler`] starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs)]
pub struct HandlerStart {
    pub ds: u32,
    pub es: u32,
    pub ss: u32,
    pub cs: u32,
    pub stack: u32,
    pub return_address: u32,
    pub ax: u32,
    pub dx: u32,
    pub cx: u32,
    padding: [u32; 7],
}

/// The state of the program, which the program and its handlers share with the case.
#[derive(Debug)]
#[repr(C)]
pub struct ProgramState {
    /// The selector, in the lowest byte.
    pub selector: u32,
    /// The value that the handler writes to the selector, or [`UNCHANGED_SELECTOR`].
    pub selector_in_handler: u32,
    /// The address at which the program continues after the handler; 0 for the address in the
    /// signal frame.
    pub resume_address: u32,
    /// The number of SIGSYS handled.
    pub sigsys_count: u32,
    /// The number of faults handled.
    pub fault_count: u32,
    /// `AT_SYSINFO`: the address of `__kernel_vsyscall`, or 0.
    pub kernel_vsyscall: u32,
    /// `AT_SYSINFO_EHDR`: the address of the vDSO, or 0.
    pub vdso: u32,
    /// 1 once the program waits for requests.
    pub is_ready: u32,
    /// The case sets this to 1 when it has written the requests.
    pub has_requests: u32,
    /// The number of requests that the program has carried out.
    pub requests_done: u32,
    /// The address of the current request.
    request: u32,
    /// The stack pointer at each call.
    pub stack: u32,
    /// Words that only the assembly uses.
    assembly_words: [u32; 52],
    /// The records of the first dispatches.
    pub sigsys_records: [SigsysRecord; MAX_RECORDED],
    /// The records of [`start_handler`].
    pub handler_starts: [HandlerStart; MAX_HANDLER_STARTS],
}

/// The values of those argument registers that a call does not use.
const UNUSED_ARGUMENTS: [u32; 6] =
    [0x5e1f_0001, 0x5e1f_0002, 0x5e1f_0003, 0x5e1f_0004, 0x5e1f_0005, 0x5e1f_0006];

/// The registers of a 32-bit call, without ESP.
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
    /// The registers of a call. Unused argument registers hold a pattern.
    #[must_use]
    pub fn for_call(number: u32, arguments: &[u32]) -> Registers {
        let argument = |i: usize| arguments.get(i).copied().unwrap_or(UNUSED_ARGUMENTS[i]);
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

/// A request to issue one call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Request {
    /// Address of the gate, or of [`code_without_call`].
    pub gate: u32,
    /// The value of the selector during the call.
    pub selector: u32,
    /// The registers to load.
    pub registers: Registers,
    padding_before_result: u32,
    /// The registers after the call. After a fault, `bx` holds EIP and `ax` holds EAX at the fault.
    pub registers_after: Registers,
    /// The stack pointer after the call minus the stack pointer before, in bytes.
    pub stack_change: u32,
    padding_at_end: [u32; 2],
}

impl Request {
    /// A request to issue a call through the gate at address `gate`, with this selector and these
    /// registers.
    #[must_use]
    pub fn new(gate: u32, selector: u8, registers: Registers) -> Request {
        Request { gate, selector: selector.into(), registers, ..Request::default() }
    }
}

/// The layout of the shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct SharedMemory {
    /// The state of the program.
    pub state: ProgramState,
    padding_after_state: [u8; 0x1000 - size_of::<ProgramState>()],
    /// The first page of the vDSO.
    pub vdso: [u8; 0x1000],
    /// The first bytes of `__kernel_vsyscall`.
    pub kernel_vsyscall: [u8; 32],
    padding_after_kernel_vsyscall: [u8; 0xfe0],
    /// The requests. The first request with gate 0 ends the list.
    pub requests: [Request; MAX_REQUESTS],
}

const _: () = {
    assert!(std::mem::offset_of!(ProgramState, sigsys_records) == 0x100);
    assert!(std::mem::offset_of!(ProgramState, stack) == 44);
    assert!(std::mem::offset_of!(ProgramState, handler_starts) == 0x500);
    assert!(size_of::<HandlerStart>() == 64);
    assert!(std::mem::offset_of!(SharedMemory, requests) == 0x3000);
    assert!(size_of::<Request>() == 80 && size_of::<SharedMemory>() <= DATA_OFFSET);
};

/// Declares functions that return the addresses of labels in the program.
macro_rules! declare_addresses {
    ($($(#[doc = $doc:literal])* $name:ident = $label:ident;)*) => {
        unsafe extern "C" { $(fn $label();)* }
        $($(#[doc = $doc])* #[must_use] pub fn $name() -> u32 { symbol_address($label) })*
    };
}

declare_addresses! {
    /// The handler of SIGSYS, with `SA_SIGINFO`.
    sigsys_handler = sudbox32_sigsys_handler;
    /// The handler of SIGSYS, without `SA_SIGINFO`.
    plain_sigsys_handler = sudbox32_plain_sigsys_handler;
    /// A handler, with or without `SA_SIGINFO`, that records its [`HandlerStart`] and counts its signal as a
    /// SIGSYS.
    start_handler = sudbox32_start_handler;
    /// The handler of faults, on an alternate stack, with `SA_SIGINFO` and `SA_NODEFER`.
    fault_handler = sudbox32_fault_handler;
    /// A gate that uses `int 0x80`, inside the range that cases allow.
    inside_gate = sudbox32_inside_gate;
    /// Code that writes ECX to the address in EBX. It issues no system call.
    code_without_call = sudbox32_code_without_call;
    /// A restorer inside the range that cases allow.
    restorer = sudbox32_restorer;
    /// As [`restorer`], for handlers without `SA_SIGINFO`.
    plain_restorer = sudbox32_plain_restorer;
    /// An outside gate that uses `int 0x80`.
    outside_gate = sudbox32_gate;
    /// The compared address of [`outside_gate`]'s call.
    outside_gate_compared_address = sudbox32_gate_after;
    /// An outside gate that calls `__kernel_vsyscall`.
    kernel_vsyscall_gate = sudbox32_fast_gate;
    /// The address to which `__kernel_vsyscall` returns in [`kernel_vsyscall_gate`].
    kernel_vsyscall_gate_return = sudbox32_fast_gate_after;
    /// A gate that jumps to the address in EBP, with the return address in ESI.
    jump_gate = sudbox32_jump_gate;
    /// A gate that uses `sysenter`, with EBP as the stack pointer. The kernel does not return to
    /// the gate.
    sysenter_gate = sudbox32_sysenter_gate;
    /// A gate that uses `syscall`, with EBP as the stack pointer. The kernel does not return to the
    /// gate.
    syscall_gate = sudbox32_syscall_gate;
    /// A gate that loads DS, ES and SS from ESI, EDI and EBP before an `int 0x80`, and stores DS, ES, SS and
    /// CS after it in EAX, EBX, ECX and EDX.
    segments_gate = sudbox32_segments_gate;
    /// As [`segments_gate`], with a `syscall` of 64-bit code, and without loading SS.
    long_segments_gate = sudbox32_long_segments_gate;
    /// A gate that jumps to 64-bit code at the address in EBP, with the return address in RSI.
    long_gate = sudbox32_long_gate;
}

unsafe extern "C" {
    fn sudbox32_start();
    fn sudbox32_inside_end();
    fn sudbox32_end();
}

/// The address of a label of `compat.s` while the 32-bit program runs.
fn symbol_address(label: unsafe extern "C" fn()) -> u32 {
    let offset = label as *const () as usize - sudbox32_start as *const () as usize;
    BASE_ADDRESS + HEADERS_LENGTH + u32::try_from(offset).expect("code is short")
}

/// The address range of the program's inside part, which cases allow.
#[must_use]
pub fn inside() -> Range<u32> {
    symbol_address(sudbox32_start)..symbol_address(sudbox32_inside_end)
}

/// The program as an ELF file of one segment (elf(5)).
#[must_use]
pub fn program_image() -> Vec<u8> {
    let length = symbol_address(sudbox32_end) - symbol_address(sudbox32_start);
    let size = HEADERS_LENGTH + length;
    // e_ident (ELFCLASS32, little-endian), e_type (ET_EXEC), e_machine (EM_386), e_version.
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    let (e_entry, e_phoff, e_shoff, e_flags) = (symbol_address(sudbox32_start), 52, 0, 0);
    for word in [e_entry, e_phoff, e_shoff, e_flags] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    let (e_ehsize, e_phentsize, e_phnum) = (52, 32, 1);
    let (e_shentsize, e_shnum, e_shstrndx) = (0, 0, 0);
    for half in [e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx] {
        image.extend_from_slice(&u16::to_le_bytes(half));
    }
    // PT_LOAD of the whole file, readable and executable, aligned to pages.
    for word in [1, 0, BASE_ADDRESS, BASE_ADDRESS, size, size, 5, 0x1000] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    image.resize(HEADERS_LENGTH as usize, 0);
    // SAFETY: the labels delimit the code.
    image.extend_from_slice(unsafe {
        std::slice::from_raw_parts(sudbox32_start as *const u8, length as usize)
    });
    image
}
