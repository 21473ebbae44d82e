// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What programs that live on dispatch do in machine code, in `users.s`.

use std::sync::atomic::AtomicU64;

use crate::arch::gates::address;

std::arch::global_asm!(include_str!("users.s"));

unsafe extern "C" {
    fn sudbox_nt_stub_call();
    fn sudbox_nt_dispatcher();
    fn sudbox_nt_program(number: u32, arguments: *const u64, spoilt: *mut u64) -> u64;
    fn sudbox_slide_entry();
    fn sudbox_slide_resume();
    static sudbox_slide_selector: AtomicU64;
    static sudbox_slide_place: AtomicU64;
    static sudbox_slide_calls: AtomicU64;
}

/// From the instruction behind a Windows program's system call to where such a call goes on, in
/// bytes.
pub const NT_RETURN: u64 = 0xb;

/// `ARCH_SET_FS` (arch/x86/include/uapi/asm/prctl.h).
pub const SET_THREAD_POINTER: u64 = 0x1002;

/// The parts of a thread's block that are used here: it is what the second thread pointer (`gs`)
/// points at.
#[repr(C)]
pub struct NtBlock {
    head: [u64; 6],
    /// Its own address, offset 0x30.
    pub own: u64,
    middle: [u8; 0x340 - 0x38],
    /// The selector, offset 0x340.
    pub selector: std::sync::atomic::AtomicU8,
    gap: [u8; 15],
    /// Thread pointer of the Unix side, offset 0x350.
    pub unix_pointer: u64,
    /// Thread pointer of the program.
    pub program_pointer: u64,
    /// What does the call's work.
    pub work: Option<extern "C" fn(&mut NtFrame) -> u64>,
    /// The thread's frame.
    pub frame: u64,
}

/// What a thread's dispatcher keeps of a call.
#[repr(C, align(16))]
pub struct NtFrame {
    /// The number of the call.
    pub number: u64,
    /// Its first four arguments.
    pub arguments: [u64; 4],
    /// The program's stack pointer: the return address, four words for the callee, and the
    /// further arguments.
    pub stack: *const u64,
    kept: [u64; 8],
    /// Where the program goes on.
    pub next: u64,
    /// The program's flags.
    pub flags: u64,
    pad: [u64; 2],
    vectors: [u64; 4],
}

/// Where the stub of such a program enters the kernel.
#[must_use]
pub fn nt_call() -> u64 {
    address(sudbox_nt_stub_call)
}

/// Where the handler sends such a call, with the frame in RCX.
#[must_use]
pub fn nt_dispatcher() -> u64 {
    address(sudbox_nt_dispatcher)
}

/// Issues a call as a Windows program does; gives its result, and a bit for each register that no
/// call may change and that did.
///
/// # Safety
/// What the call does is the caller's business.
#[must_use]
pub unsafe fn nt_program(number: u32, arguments: &[u64; 6]) -> (u64, u64) {
    let mut spoilt = 0;
    // SAFETY: keeps what the C ABI wants kept; the caller vouches for the rest.
    let result = unsafe { sudbox_nt_program(number, arguments.as_ptr(), &raw mut spoilt) };
    (result, spoilt)
}

/// The block of this thread.
///
/// # Safety
/// The second thread pointer must point at one.
#[must_use]
pub unsafe fn nt_block() -> &'static NtBlock {
    let block: *const NtBlock;
    // SAFETY: by the contract of this function.
    unsafe {
        std::arch::asm!("mov {}, gs:[0x30]", out(reg) block, options(nostack, readonly));
        &*block
    }
}

/// How many numbers the slide of [`slide`] takes.
const SLIDE: usize = 512;

/// The page at address 0 of a rewriter: entered at the number of a call, it comes to the code
/// that issues the call with ALLOW.
#[must_use]
pub fn slide() -> Vec<u8> {
    let mut page = vec![0x90; SLIDE];
    // mov r11, entry; jmp r11
    page.extend_from_slice(&[0x49, 0xbb]);
    page.extend_from_slice(&address(sudbox_slide_entry).to_le_bytes());
    page.extend_from_slice(&[0x41, 0xff, 0xe3]);
    page
}

/// What a rewriter puts in place of the instruction that enters the kernel: `call rax`.
pub const SLIDE_CALL: [u8; 2] = [0xff, 0xd0];

/// Where a rewriter's handler returns to, to go on at [`slide_place`] with BLOCK.
#[must_use]
pub fn slide_resume() -> u64 {
    address(sudbox_slide_resume)
}

/// Address of the rewriter's selector.
#[must_use]
pub fn slide_selector() -> &'static AtomicU64 {
    // SAFETY: an aligned word of this program that only atomics and the code above touch.
    unsafe { &sudbox_slide_selector }
}

/// The place that was rewritten last.
#[must_use]
pub fn slide_place() -> &'static AtomicU64 {
    // SAFETY: as above.
    unsafe { &sudbox_slide_place }
}

/// How many calls came over the slide.
#[must_use]
pub fn slide_calls() -> &'static AtomicU64 {
    // SAFETY: as above.
    unsafe { &sudbox_slide_calls }
}
