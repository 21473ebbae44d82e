// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a personality is, and what it is given of a call.

use super::arena::Arena;
use super::room::{LINES, THREADS, ThreadState};
use super::text::Text;
use super::{Image, arena};
use crate::arch::Registers;
use std::fmt;
use std::time::Duration;

/// What emulates the system calls of foreign programs.
///
/// It is called in tasks that share the storage of one thread, so it neither allocates nor panics, and
/// issues no system call but through [`Call`].
pub trait Personality: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// What of its calls is not a number of 32 bits and one result, if anything is not.
    fn beyond_linux(&self) -> Option<&'static str>;

    /// Prepares the first thread. `None` if there is no room.
    fn first(&self, call: &mut Call<'_>, image: &Image) -> Option<()>;

    /// Emulates the call in these registers.
    fn call(&self, call: &mut Call<'_>, registers: &mut Registers) -> Next;

    /// Makes of a fault what the program is told of it.
    fn fault(&self, call: &mut Call<'_>, registers: &mut Registers, fault: Fault) -> Next;
}

/// What comes after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The thread goes on.
    Go,
    /// It goes on so much later.
    Sleep(Duration),
    /// It goes on when this thread has ended.
    Await(usize),
    /// This thread begins, and it goes on.
    Start(usize),
    /// It ends with this status.
    EndThread(u64),
    /// The program ends with this status.
    End(u64),
}

/// What foreign code did that the processor refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It touched this address; all ones if the processor does not say which.
    Access(u64),
    /// No such instruction.
    Instruction,
    /// As a division by zero.
    Arithmetic,
    /// A breakpoint.
    Breakpoint,
}

/// `si_code`, above 0 if the kernel itself sent the signal.
fn code_of(info: &[u8; 128]) -> i32 {
    i32::from_ne_bytes(std::array::from_fn(|i| info[8 + i]))
}

/// By which table the call was that a SIGSYS tells of (`si_arch`, `AUDIT_ARCH_*`), if it tells of one.
pub(super) fn arch_of(info: &[u8; 128]) -> Option<u32> {
    let arch = u32::from_ne_bytes(std::array::from_fn(|i| info[28 + i]));
    (code_of(info) > 0).then_some(arch)
}

impl Fault {
    /// The fault of a signal, if it is one and the kernel sent it: `siginfo_t`.
    pub(super) fn of(signal: i32, info: &[u8; 128]) -> Option<Fault> {
        let code = code_of(info);
        let address = u64::from_ne_bytes(std::array::from_fn(|i| info[16 + i]));
        match signal {
            _ if code <= 0 => None,
            libc::SIGSEGV | libc::SIGBUS if code == libc::SI_KERNEL => {
                Some(Fault::Access(u64::MAX))
            }
            libc::SIGSEGV | libc::SIGBUS => Some(Fault::Access(address)),
            libc::SIGILL => Some(Fault::Instruction),
            libc::SIGFPE => Some(Fault::Arithmetic),
            libc::SIGTRAP => Some(Fault::Breakpoint),
            _ => None,
        }
    }

    /// What was touched, 0 if nothing was.
    #[must_use]
    pub fn address(self) -> u64 {
        match self {
            Fault::Access(address) => address,
            _ => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Access(address) => write!(f, "access to {address:#x}"),
            Fault::Instruction => f.write_str("illegal instruction"),
            Fault::Arithmetic => f.write_str("arithmetic"),
            Fault::Breakpoint => f.write_str("breakpoint"),
        }
    }
}

/// What a personality may use of the sandbox.
pub struct Call<'a> {
    /// Which thread calls.
    pub thread: usize,
    /// The program's memory.
    pub arena: &'a mut Arena,
    /// The line of the transcript that this call gives, without its end.
    pub line: &'a mut Text<LINES>,
    /// What the program says.
    pub console: &'a mut Text<LINES>,
    /// The personality's own.
    pub words: &'a mut [u64; 8],
    pub(super) threads: &'a mut [ThreadState; THREADS],
}

impl Call<'_> {
    /// A new thread with a stack of its own, which is one once it has a start.
    pub fn new_thread(&mut self) -> Option<usize> {
        let thread = self.threads.iter().position(|thread| !thread.used)?;
        self.put_stack(thread)?;
        Some(thread)
    }

    /// Maps a thread's stack.
    pub fn put_stack(&mut self, thread: usize) -> Option<()> {
        let stack = arena::stack(thread);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        self.arena.put(stack.start, arena::STACK, both).then_some(())
    }

    /// Whether a thread of this number was ever started, and is not the one that calls.
    #[must_use]
    pub fn is_other_thread(&self, thread: u64) -> Option<usize> {
        let thread = usize::try_from(thread).ok()?;
        (self.threads.get(thread)?.used && thread != self.thread).then_some(thread)
    }

    /// With what registers a thread begins, what its thread register points at (0: nothing), and where
    /// its selector is: there, or with 0 where no program knows.
    pub fn set_start(&mut self, thread: usize, registers: Registers, block: u64, selector: u64) {
        let state = &mut self.threads[thread];
        (state.start, state.block, state.selector) = (registers, block, selector);
        (state.used, state.live) = (true, true);
    }

    /// Keeps the registers of a call that is to call the program back. False if it is too deep.
    pub fn push(&mut self, registers: &Registers) -> bool {
        let state = &mut self.threads[self.thread];
        let Some(place) = state.outer.get_mut(state.depth) else { return false };
        *place = *registers;
        state.depth += 1;
        true
    }

    /// The registers of the call that called the program back last, which goes on.
    pub fn pop(&mut self) -> Option<Registers> {
        let state = &mut self.threads[self.thread];
        state.depth = state.depth.checked_sub(1)?;
        Some(state.outer[state.depth])
    }
}
