// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Machine code (`users.s`) of the two kinds of programs that use dispatch: Wine, and a binary rewriter such
//! as zpoline.

use std::sync::atomic::AtomicU64;

use crate::arch::gates::symbol_address;

std::arch::global_asm!(include_str!("users.s"));

unsafe extern "C" {
    fn sudbox_nt_stub_call();
    fn sudbox_nt_dispatcher();
    fn sudbox_nt_program(number: u32, arguments: *const u64, changed: *mut u64) -> u64;
    fn sudbox_sled_entry();
    fn sudbox_sled_resume();
    static sudbox_sled_selector: AtomicU64;
    static sudbox_sled_target: AtomicU64;
    static sudbox_sled_calls: AtomicU64;
}

/// Bytes from the compared address of a Windows program's call to the address at which the program
/// continues after the call.
pub const NT_RETURN_OFFSET: u64 = 0xb;

/// `ARCH_SET_FS` (arch/x86/include/uapi/asm/prctl.h).
pub const SET_THREAD_POINTER: u64 = 0x1002;

/// A thread environment block (TEB) of Windows, with the fields that the cases use. The second thread pointer
/// (`gs`) holds the address of the block.
#[repr(C)]
pub struct Teb {
    head: [u64; 6],
    /// The address of the TEB itself, at offset 0x30.
    pub self_address: u64,
    middle: [u8; 0x340 - 0x38],
    /// The selector, offset 0x340.
    pub selector: std::sync::atomic::AtomicU8,
    gap: [u8; 15],
    /// The thread pointer of the C library, offset 0x350.
    pub unix_pointer: u64,
    /// The thread pointer of the Windows program.
    pub program_pointer: u64,
    /// The function that the dispatcher calls with a call of the Windows program.
    pub handle_call: Option<extern "C" fn(&mut NtFrame) -> u64>,
    /// The address of the thread's [`NtFrame`].
    pub frame: u64,
}

/// The frame in which the dispatcher stores a thread's call.
#[repr(C, align(16))]
pub struct NtFrame {
    /// The number of the call.
    pub number: u64,
    /// The first four arguments.
    pub arguments: [u64; 4],
    /// The program's stack pointer. The stack has the return address, four words for the callee, and the
    /// further arguments.
    pub stack: *const u64,
    saved_registers: [u64; 8],
    /// The address at which the program continues after the call.
    pub continuation: u64,
    /// The program's flags.
    pub flags: u64,
    pad: [u64; 2],
    vectors: [u64; 4],
}

/// The address of the system call instruction in the Windows program's stub.
#[must_use]
pub fn nt_call_address() -> u64 {
    symbol_address(sudbox_nt_stub_call)
}

/// The address of the dispatcher, to which the handler redirects a call with the frame in RCX.
#[must_use]
pub fn nt_dispatcher() -> u64 {
    symbol_address(sudbox_nt_dispatcher)
}

/// Issues a call as a Windows program does. Returns its result, and a bit for each register that the call
/// must preserve but changed.
///
/// # Safety
/// As the call requires.
#[must_use]
pub unsafe fn issue_as_windows_program(number: u32, arguments: &[u64; 6]) -> (u64, u64) {
    let mut changed = 0;
    // SAFETY: preserves the registers that the C ABI requires; the rest is by this function's contract.
    let result = unsafe { sudbox_nt_program(number, arguments.as_ptr(), &raw mut changed) };
    (result, changed)
}

/// The TEB of the current thread.
///
/// # Safety
/// The second thread pointer must hold the address of a TEB.
#[must_use]
pub unsafe fn teb() -> &'static Teb {
    let block: *const Teb;
    // SAFETY: by the contract of this function.
    unsafe {
        std::arch::asm!("mov {}, gs:[0x30]", out(reg) block, options(nostack, readonly));
        &*block
    }
}

/// The length of the sled of `nop` in bytes. [`sled_page`] supports the call numbers below this length.
const SLED_LENGTH: usize = 512;

/// The code that a rewriter maps at address 0: a sled of `nop` that ends in a jump to `sudbox_sled_entry`. A
/// function call to address N runs through the sled to that code, which issues the system call with the number
/// N and the selector at ALLOW.
#[must_use]
pub fn sled_page() -> Vec<u8> {
    let mut page = vec![0x90; SLED_LENGTH];
    // mov r11, entry; jmp r11
    page.extend_from_slice(&[0x49, 0xbb]);
    page.extend_from_slice(&symbol_address(sudbox_sled_entry).to_le_bytes());
    page.extend_from_slice(&[0x41, 0xff, 0xe3]);
    page
}

/// The code that a rewriter puts in place of `syscall`: `call rax`, with the call number in RAX.
pub const CALL_RAX: [u8; 2] = [0xff, 0xd0];

/// The address to which the rewriter's handler returns. The code at this address sets the selector to BLOCK
/// and jumps to the address in [`sled_target`].
#[must_use]
pub fn sled_resume() -> u64 {
    symbol_address(sudbox_sled_resume)
}

/// A word with the address of the rewriter's selector.
#[must_use]
pub fn sled_selector() -> &'static AtomicU64 {
    // SAFETY: an aligned word that only atomic operations and `users.s` access.
    unsafe { &sudbox_sled_selector }
}

/// A word with the address that was rewritten last.
#[must_use]
pub fn sled_target() -> &'static AtomicU64 {
    // SAFETY: as in `sled_selector`.
    unsafe { &sudbox_sled_target }
}

/// A counter of the system calls through the sled.
#[must_use]
pub fn sled_calls() -> &'static AtomicU64 {
    // SAFETY: as in `sled_selector`.
    unsafe { &sudbox_sled_calls }
}
