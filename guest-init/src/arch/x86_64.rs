//! x86-64: gates, registers, signal frames, floating point state, CPU features.
//!
//! All that is machine code sits in one `global_asm!`. The *inside* part holds what may always
//! call the kernel: the runner's and handlers' own calls, the restorer, the births of threads.
//! Cases arm with the inside part as the allowed range. The gates behind it are *outside*: what
//! they issue is under test. A gate loads every general register and the flags from a
//! [`Registers`], issues one call, and stores every general register and the flags, so that what
//! the kernel did to any of them shows.

use std::ops::{Index, IndexMut, Range};

/// `si_arch` of a system call through `syscall` (`AUDIT_ARCH_X86_64`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// `si_arch` of a system call through `int 0x80` (`AUDIT_ARCH_I386`).
pub const AUDIT_ARCH_COMPAT: u32 = 0x4000_0003;
/// Length in bytes of the instruction that enters the kernel; `int 0x80` has the same.
pub const CALL_LENGTH: u64 = 2;
/// A system call number that no x86-64 kernel implements and that is no error code.
pub const UNUSED_NUMBER: u64 = 0x0fff_0000;
/// Bit in a number that selects the x32 table (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u64 = 0x4000_0000;
/// An address that the kernel keeps for itself, with the top bit set: `access_ok()` refuses it
/// in every version.
pub const KERNEL_ADDRESS: u64 = 0xffff_8880_0000_0000;

/// `getpid` in the table of `int 0x80` (`arch/x86/entry/syscalls/syscall_32.tbl`).
pub const COMPAT_GETPID: u64 = 20;

/// Index of a register in [`Registers`]: the order of `struct sigcontext_64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)]
pub enum Reg {
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    Di,
    Si,
    Bp,
    Bx,
    Dx,
    Ax,
    Cx,
    Sp,
    Ip,
    Flags,
}

impl Reg {
    /// Every register.
    pub const ALL: [Reg; 18] = [
        Reg::R8,
        Reg::R9,
        Reg::R10,
        Reg::R11,
        Reg::R12,
        Reg::R13,
        Reg::R14,
        Reg::R15,
        Reg::Di,
        Reg::Si,
        Reg::Bp,
        Reg::Bx,
        Reg::Dx,
        Reg::Ax,
        Reg::Cx,
        Reg::Sp,
        Reg::Ip,
        Reg::Flags,
    ];
    /// Holds the number of a call and then its result.
    pub const RESULT: Reg = Reg::Ax;
    /// Holds the address of the next instruction.
    pub const NEXT: Reg = Reg::Ip;
    /// The six arguments of a call, in order.
    pub const ARGUMENTS: [Reg; 6] = [Reg::Di, Reg::Si, Reg::Dx, Reg::R10, Reg::R8, Reg::R9];
    /// What the instruction that enters the kernel may itself overwrite.
    pub const SCRATCH: [Reg; 2] = [Reg::Cx, Reg::R11];
    /// What a program keeps values in and no call may change, beside the arguments.
    pub const KEPT: [Reg; 7] = [Reg::Bx, Reg::Bp, Reg::R12, Reg::R13, Reg::R14, Reg::R15, Reg::Sp];
}

/// The general registers, next instruction and flags, in the order of `struct sigcontext_64`
/// (arch/x86/include/uapi/asm/sigcontext.h), so that a signal frame holds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers([u64; 18]);

impl Index<Reg> for Registers {
    type Output = u64;
    fn index(&self, reg: Reg) -> &u64 {
        &self.0[reg as usize]
    }
}

impl IndexMut<Reg> for Registers {
    fn index_mut(&mut self, reg: Reg) -> &mut u64 {
        &mut self.0[reg as usize]
    }
}

/// The arithmetic flags and the direction flag: all that a program may set at will and that
/// `FIX_EFLAGS` (arch/x86/kernel/signal_64.c) lets a handler's return put back, but for
/// alignment checks and single steps, with which a gate could not go on.
pub const FLAGS: u64 = 0xcd5;
/// The direction flag, which the kernel clears before it enters a handler.
pub const FLAG_DIRECTION: u64 = 0x400;
/// Set in the flags always, and interrupts enabled: what user code sees beside [`FLAGS`].
const FLAGS_FIXED: u64 = 0x202;

impl Registers {
    /// A call with this number and these arguments, all else filled with a pattern that names
    /// its register, all flags of [`FLAGS`] clear.
    #[must_use]
    pub fn call(number: u64, arguments: [u64; 6]) -> Registers {
        let mut regs = Registers::default();
        for (value, reg) in regs.0.iter_mut().zip(0x11u64..) {
            *value = 0x5e1f_0000_dead_0000 | reg << 32 | reg;
        }
        for (reg, value) in Reg::ARGUMENTS.into_iter().zip(arguments) {
            regs[reg] = value;
        }
        regs[Reg::RESULT] = number;
        regs[Reg::Flags] = FLAGS_FIXED;
        regs
    }

    /// The same with these flags of [`FLAGS`] set.
    #[must_use]
    pub fn with_flags(mut self, flags: u64) -> Registers {
        self[Reg::Flags] = FLAGS_FIXED | flags & FLAGS;
        self
    }

    /// What [`Reg::SCRATCH`] may hold behind a call whose next instruction is `after`: `syscall`
    /// leaves that address in RCX and the flags in R11; with FRED both keep what they were.
    #[must_use]
    pub fn scratch_behind(&self, after: u64) -> [[u64; 2]; 2] {
        [[after, self[Reg::Flags]], [self[Reg::Cx], self[Reg::R11]]]
    }

    /// What the kernel left in the result register, read as a signed number.
    #[must_use]
    pub fn result(&self) -> i64 {
        self[Reg::RESULT].cast_signed()
    }
}

/// What a gate issues a call with, and where.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    enter: unsafe extern "C" fn(*const Registers, *mut Registers, *const u8, *mut u8),
    call: u64,
    elsewhere: u64,
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
    /// gate hands back then say so in [`Reg::Ip`].
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// Issues the call and hands back all registers as they were behind it. The stack pointer
    /// handed back is the one at the call; [`Reg::Sp`] and [`Reg::Ip`] of `regs` are not used.
    #[must_use]
    pub fn issue(&self, regs: &Registers) -> Registers {
        let mut out = Registers::default();
        // SAFETY: the gate saves what the C ABI wants kept, touches memory only through the two
        // pointers, and what the call does is the caller's to choose, as with any system call.
        unsafe { (self.enter)(regs, &raw mut out, std::ptr::null(), std::ptr::null_mut()) };
        out
    }
}

/// Start and end of the code, and the call in it.
struct Code {
    start: u64,
    call: u64,
    end: u64,
}

macro_rules! symbols {
    ($($name:ident),*) => { unsafe extern "C" { $(#[allow(missing_docs)] fn $name();)* } };
}

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
    sudbox_second_elsewhere,
    sudbox_compat_call,
    sudbox_compat_elsewhere,
    sudbox_compat_skip,
    sudbox_sse_call,
    sudbox_avx_call
);

unsafe extern "C" {
    fn sudbox_first(i: *const Registers, o: *mut Registers, fi: *const u8, fo: *mut u8);
    fn sudbox_second(i: *const Registers, o: *mut Registers, fi: *const u8, fo: *mut u8);
    fn sudbox_compat(i: *const Registers, o: *mut Registers, fi: *const u8, fo: *mut u8);
    fn sudbox_sse(i: *const Registers, o: *mut Registers, fi: *const u8, fo: *mut u8);
    fn sudbox_avx(i: *const Registers, o: *mut Registers, fi: *const u8, fo: *mut u8);
    fn sudbox_syscall(n: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64;
    fn sudbox_spawn(n: u64, a: u64, b: u64, c: u64, d: u64) -> i64;
}

fn address(label: unsafe extern "C" fn()) -> u64 {
    label as usize as u64
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

/// An outside gate that enters the kernel with `int 0x80`, the 32-bit way.
#[must_use]
pub fn compat_gate() -> Gate {
    Gate {
        enter: sudbox_compat,
        call: address(sudbox_compat_call),
        elsewhere: address(sudbox_compat_elsewhere),
    }
}

/// Where [`compat_gate`] goes on, skipping the instruction, if the CPU refuses it.
#[must_use]
pub fn compat_skip() -> u64 {
    address(sudbox_compat_skip)
}

/// Bytes that [`copy_gate`] needs.
#[must_use]
pub fn copy_length() -> usize {
    let code = first_code();
    usize::try_from(code.end - code.start).expect("code fits memory")
}

/// A copy of [`gate`] at `place`, which must be followed by [`copy_length`] writable bytes that
/// can be executed by the time the gate is used.
///
/// # Safety
/// As said.
#[must_use]
pub unsafe fn copy_gate(place: *mut u8) -> Gate {
    let code = first_code();
    // SAFETY: the labels delimit the gate's code, which is position-independent; the caller
    // vouches for `place`.
    unsafe {
        std::ptr::copy_nonoverlapping(code.start as *const u8, place, copy_length());
    }
    let base = place as u64;
    // SAFETY: the bytes at `place` are now that function.
    let enter = unsafe {
        std::mem::transmute::<
            *mut u8,
            unsafe extern "C" fn(*const Registers, *mut Registers, *const u8, *mut u8),
        >(place)
    };
    Gate {
        enter,
        call: base + (code.call - code.start),
        elsewhere: base + (address(sudbox_first_elsewhere) - code.start),
    }
}

fn first_code() -> Code {
    Code {
        start: sudbox_first as *const () as u64,
        call: address(sudbox_first_call),
        end: address(sudbox_first_end),
    }
}

/// The range from which the runner's and the handlers' own calls come.
#[must_use]
pub fn inside() -> Range<u64> {
    address(sudbox_inside_start)..address(sudbox_inside_end)
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

/// Issues `clone` or `clone3` from inside for a child that runs on a stack of its own. The child
/// finds a function and its argument on top of that stack, calls it, and ends its thread with
/// what it gives back. Answers the parent as the kernel does.
///
/// # Safety
/// `arguments` must be right for `number` and give the child a stack prepared by
/// [`prepare_stack`].
pub unsafe fn spawn(number: u64, arguments: [u64; 4]) -> i64 {
    let [a, b, c, d] = arguments;
    // SAFETY: the caller vouches.
    unsafe { sudbox_spawn(number, a, b, c, d) }
}

/// Puts what [`spawn`] wants at the top of a stack, and gives the stack pointer to start with.
pub fn prepare_stack(stack: &mut [u8], run: extern "C" fn(u64) -> u64, argument: u64) -> u64 {
    let top = (stack.as_mut_ptr_range().end as u64) & !15;
    let start = top - 16;
    // SAFETY: the 16 bytes below the aligned end lie in the stack, which is longer than that.
    unsafe {
        assert!(stack.len() >= 64);
        (start as *mut u64).write(run as *const () as u64);
        ((start + 8) as *mut u64).write(argument);
    }
    start
}

/// A place for `SA_RESTORER` whose `rt_sigreturn` is allowed.
#[must_use]
pub fn restorer() -> u64 {
    address(sudbox_restorer)
}

/// A place for `SA_RESTORER` whose `rt_sigreturn` is under test.
#[must_use]
pub fn outside_restorer() -> u64 {
    address(sudbox_outside_restorer)
}

/// Where [`outside_restorer`] enters the kernel.
#[must_use]
pub fn outside_restorer_call() -> u64 {
    address(sudbox_outside_restorer_call)
}

/// The signal frame as a handler gets it: `struct ucontext` with a `struct sigcontext_64` in it
/// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return puts back.
    pub registers: Registers,
    segments: [u16; 4],
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    floating: u64,
    reserved: [u64; 8],
    /// The signal mask that the handler's return puts back.
    pub mask: u64,
}

/// The flags register as it is here.
#[inline]
#[must_use]
pub fn current_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags through the stack and changes nothing.
    unsafe { std::arch::asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

/// The stack pointer as it is here.
#[inline]
#[must_use]
pub fn current_stack() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The legacy area of floating point state as `fxsave64` stores it: x87, MXCSR, XMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct SseState([u8; 512]);

/// Bytes of [`SseState`] that `fxrstor64` takes and `fxsave64` gives back: x87 control word,
/// MXCSR, ST0-7, XMM0-15. The rest are instruction pointers, status and reserved bytes.
const SSE_COMPARED: [Range<usize>; 3] = [0..2, 24..28, 32..416];

impl SseState {
    /// State in which each compared byte has a value of its own: round up, no exceptions.
    #[must_use]
    pub fn pattern() -> SseState {
        let mut state = [0u8; 512];
        state[0..2].copy_from_slice(&0x0b7fu16.to_le_bytes());
        // Every x87 register holds something.
        state[4] = 0xff;
        state[24..28].copy_from_slice(&0x5f80u32.to_le_bytes());
        for (i, byte) in (0u8..).zip(state[32..416].chunks_exact_mut(16)) {
            let register = if i < 8 { 10 } else { 16 };
            for (j, byte) in (0u8..).zip(&mut byte[..register]) {
                *byte = 0x40 ^ (i << 4) ^ (i >> 4) ^ j;
            }
        }
        SseState(state)
    }

    /// Whether the compared bytes are the same.
    #[must_use]
    pub fn same(&self, other: &SseState) -> bool {
        SSE_COMPARED.into_iter().all(|r| self.0[r.clone()] == other.0[r])
    }

    /// The compared parts that differ, for a report.
    #[must_use]
    pub fn difference(&self, other: &SseState) -> String {
        let names = ["control word", "MXCSR", "x87 or XMM registers"];
        let parts: Vec<_> = SSE_COMPARED
            .into_iter()
            .zip(names)
            .filter(|(r, _)| self.0[r.clone()] != other.0[r.clone()])
            .map(|(_, name)| name)
            .collect();
        format!("different: {}", parts.join(", "))
    }
}

/// Issues a call with this x87 and SSE state loaded; gives the registers and state behind it.
#[must_use]
pub fn issue_with_sse(regs: &Registers, state: &SseState) -> (Registers, SseState) {
    let mut out = Registers::default();
    let mut after = SseState([0; 512]);
    // SAFETY: as in `Gate::issue`; the two areas are aligned and as long as fxsave wants.
    unsafe { sudbox_sse(regs, &raw mut out, state.0.as_ptr(), after.0.as_mut_ptr()) };
    (out, after)
}

/// Where [`issue_with_sse`] enters the kernel.
#[must_use]
pub fn sse_call() -> u64 {
    address(sudbox_sse_call)
}

/// YMM0-15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct AvxState([[u8; 32]; 16]);

impl AvxState {
    /// Registers in which each byte has a value of its own.
    #[must_use]
    pub fn pattern() -> AvxState {
        let mut state = [[0u8; 32]; 16];
        for (i, register) in (0u8..).zip(&mut state) {
            for (j, byte) in (0u8..).zip(register) {
                *byte = 0x80 ^ (i << 4) ^ (i >> 1) ^ j;
            }
        }
        AvxState(state)
    }

    /// The registers that differ, for a report.
    #[must_use]
    pub fn difference(&self, other: &AvxState) -> String {
        let names: Vec<_> =
            (0..16).filter(|&i| self.0[i] != other.0[i]).map(|i| format!("ymm{i}")).collect();
        format!("different: {}", names.join(", "))
    }
}

/// Issues a call with these AVX registers loaded; gives the registers behind it. Only on a CPU
/// with the feature `avx`.
#[must_use]
pub fn issue_with_avx(regs: &Registers, state: &AvxState) -> (Registers, AvxState) {
    let mut out = Registers::default();
    let mut after = AvxState([[0; 32]; 16]);
    // SAFETY: as in `Gate::issue`; the two areas are as long as the gate wants.
    unsafe {
        sudbox_avx(regs, &raw mut out, state.0.as_ptr().cast(), after.0.as_mut_ptr().cast());
    }
    (out, after)
}

/// Where [`issue_with_avx`] enters the kernel.
#[must_use]
pub fn avx_call() -> u64 {
    address(sudbox_avx_call)
}

/// Overwrites the x87 and XMM registers and their control words' defaults, as a handler that
/// computes with them may.
#[inline]
pub fn clobber_floating() {
    // SAFETY: declares each register that it overwrites.
    unsafe {
        std::arch::asm!(
            "fninit", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi",
            "fninit",
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2",
            "pcmpeqd xmm3, xmm3", "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5",
            "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7", "pcmpeqd xmm8, xmm8",
            "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10", "pcmpeqd xmm11, xmm11",
            "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13", "pcmpeqd xmm14, xmm14",
            "pcmpeqd xmm15, xmm15",
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack),
        );
    }
}

/// The thread pointer, as the C library means it.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: the ABI keeps the thread pointer's own value at its start.
    unsafe { std::arch::asm!("mov {}, fs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}

/// `ARCH_SET_GS` (arch/x86/include/uapi/asm/prctl.h).
pub const SET_SECOND_THREAD_POINTER: u64 = 0x1001;
/// `ARCH_GET_FS`.
pub const GET_THREAD_POINTER: u64 = 0x1003;
/// `ARCH_GET_GS`.
pub const GET_SECOND_THREAD_POINTER: u64 = 0x1004;

/// Reads 8 bytes at the second thread pointer (`gs`).
///
/// # Safety
/// It must point at 8 readable bytes.
#[must_use]
pub unsafe fn read_second_thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: the caller vouches for the base.
    unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}

/// The smallest program that can be executed: an ELF image with one segment at an address of its
/// own, outside everything that this program ever allows. It duplicates descriptor 0, so that
/// two system calls are issued, and exits with `code` plus 1 if the duplication failed.
#[must_use]
pub fn tiny_program(code: u8) -> Vec<u8> {
    const BASE: u64 = 0x1000_0000;
    // mov eax,32 (dup); xor edi,edi; syscall; shr eax,31; lea edi,[rax+code]; mov eax,231; syscall
    let mut text = vec![0xb8, 32, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0xc1, 0xe8, 31, 0x8d, 0x78];
    text.push(code & 0x7f);
    text.extend_from_slice(&[0xb8, 231, 0, 0, 0, 0x0f, 0x05]);
    let headers = 64 + 56;
    let size = headers + text.len() as u64;
    let mut image = Vec::new();
    image.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    image.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for v in [BASE + headers, 64, 0] {
        image.extend_from_slice(&v.to_le_bytes());
    }
    image.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    image.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for v in [0, BASE, BASE, size, size, 0x1000] {
        image.extend_from_slice(&v.to_le_bytes());
    }
    image.extend_from_slice(&text);
    image
}

/// Eight bytes of code with a breakpoint (`int3`) at their start.
#[must_use]
pub fn with_breakpoint(code: u64) -> u64 {
    code & !0xff | 0xcc
}

/// Registers of a stopped tracee: `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    kept: [u64; 6],
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    /// Result of a call.
    pub result: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    /// Number of the call in progress.
    pub number: u64,
    /// Next instruction.
    pub next: u64,
    rest: [u64; 10],
}

std::arch::global_asm!(
    r#"
    .macro SUDBOX_SAVE
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        push rcx
        push rsi
    .endm

    .macro SUDBOX_LOAD
        mov r8, [rdi]
        mov r9, [rdi + 8]
        mov r10, [rdi + 16]
        mov r11, [rdi + 24]
        mov r12, [rdi + 32]
        mov r13, [rdi + 40]
        mov r14, [rdi + 48]
        mov r15, [rdi + 56]
        mov rsi, [rdi + 72]
        mov rbp, [rdi + 80]
        mov rbx, [rdi + 88]
        mov rdx, [rdi + 96]
        mov rax, [rdi + 104]
        mov rcx, [rdi + 112]
        push qword ptr [rdi + 136]
        popfq
        mov rdi, [rdi + 64]
    .endm

    # On the stack: flags, rdi, then what SUDBOX_SAVE left. Instruction pointer is stored already.
    .macro SUDBOX_STORE
        mov [rdi], r8
        mov [rdi + 8], r9
        mov [rdi + 16], r10
        mov [rdi + 24], r11
        mov [rdi + 32], r12
        mov [rdi + 40], r13
        mov [rdi + 48], r14
        mov [rdi + 56], r15
        mov [rdi + 72], rsi
        mov [rdi + 80], rbp
        mov [rdi + 88], rbx
        mov [rdi + 96], rdx
        mov [rdi + 104], rax
        mov [rdi + 112], rcx
        pop rax
        mov [rdi + 64], rax
        pop rax
        mov [rdi + 136], rax
        mov [rdi + 120], rsp
        cld
    .endm

    .macro SUDBOX_RETURN
        pop rsi
        pop rcx
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret
    .endm

    .macro SUDBOX_GATE name, enter:vararg
        .balign 64
        .globl \name
        .globl \name\()_call
        .globl \name\()_elsewhere
        .globl \name\()_skip
        .globl \name\()_end
    \name:
        SUDBOX_SAVE
        SUDBOX_LOAD
    \name\()_call:
        \enter
    \name\()_skip:
        pushfq
        push rdi
        mov rdi, [rsp + 16]
        push rax
        lea rax, [rip + \name\()_skip]
        mov [rdi + 128], rax
        pop rax
        jmp 2f
    \name\()_elsewhere:
        pushfq
        push rdi
        mov rdi, [rsp + 16]
        push rax
        lea rax, [rip + \name\()_elsewhere]
        mov [rdi + 128], rax
        pop rax
    2:
        SUDBOX_STORE
        SUDBOX_RETURN
    \name\()_end:
    .endm

    .section .text.sudbox, "ax", @progbits
    .balign 4096
    .globl sudbox_inside_start
    sudbox_inside_start:

    .globl sudbox_syscall
    sudbox_syscall:
        mov rax, rdi
        mov rdi, rsi
        mov rsi, rdx
        mov rdx, rcx
        mov r10, r8
        mov r8, r9
        mov r9, [rsp + 8]
        syscall
        ret

    .globl sudbox_spawn
    sudbox_spawn:
        mov rax, rdi
        mov rdi, rsi
        mov rsi, rdx
        mov rdx, rcx
        mov r10, r8
        xor r8d, r8d
        syscall
        test rax, rax
        jz 3f
        ret
    3:
        xor ebp, ebp
        pop rax
        pop rdi
        call rax
        mov rdi, rax
        mov eax, 60
        syscall
        ud2

    .globl sudbox_restorer
    sudbox_restorer:
        mov eax, 15
        syscall
        ud2
    .globl sudbox_inside_end
    sudbox_inside_end:

    .balign 4096
    .globl sudbox_outside_restorer
    .globl sudbox_outside_restorer_call
    sudbox_outside_restorer:
        mov eax, 15
    sudbox_outside_restorer_call:
        syscall
        ud2

    SUDBOX_GATE sudbox_first, syscall
    SUDBOX_GATE sudbox_second, syscall
    SUDBOX_GATE sudbox_compat, int 0x80

    .balign 64
    .globl sudbox_sse
    .globl sudbox_sse_call
    sudbox_sse:
        SUDBOX_SAVE
        fxrstor64 [rdx]
        SUDBOX_LOAD
    sudbox_sse_call:
        syscall
    4:
        pushfq
        push rdi
        mov rdi, [rsp + 16]
        SUDBOX_STORE
        lea rax, [rip + 4b]
        mov [rdi + 128], rax
        mov rax, [rsp + 8]
        fxsave64 [rax]
        fninit
        push 0x1f80
        ldmxcsr [rsp]
        pop rax
        SUDBOX_RETURN

    .balign 64
    .globl sudbox_avx
    .globl sudbox_avx_call
    sudbox_avx:
        SUDBOX_SAVE
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu ymm\n, [rdx + 32 * \n]
        .endr
        SUDBOX_LOAD
    sudbox_avx_call:
        syscall
    5:
        pushfq
        push rdi
        mov rdi, [rsp + 16]
        SUDBOX_STORE
        lea rax, [rip + 5b]
        mov [rdi + 128], rax
        mov rax, [rsp + 8]
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu [rax + 32 * \n], ymm\n
        .endr
        vzeroupper
        SUDBOX_RETURN

    .text
    "#
);
