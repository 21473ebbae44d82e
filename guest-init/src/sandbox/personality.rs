// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The interface between the sandbox and the personalities.

use super::bounded_text::BoundedText;
use super::image::Image;
use super::program_memory::{self, ProgramMemory};
use super::thread::{MAX_THREADS, MAX_TRANSCRIPT_LENGTH, ThreadState};
use crate::arch::Registers;
use std::fmt;
use std::time::Duration;

/// Emulates the system calls of one foreign system.
///
/// Tasks that share the thread-local storage of one thread call these functions. So the functions must
/// neither allocate nor panic, and must issue system calls only through [`CallContext`].
pub trait Personality: Sync {
    /// The personality's name.
    fn name(&self) -> &'static str;

    /// The reason why seccomp's user notification cannot pass on the calls of this system; `None` if it can.
    /// A notification has a 32-bit number and six arguments, and its response has one result.
    fn notification_limit(&self) -> Option<&'static str>;

    /// Prepares the first thread. Returns `None` if the memory is full.
    fn prepare_first_thread(&self, call: &mut CallContext<'_>, image: &Image) -> Option<()>;

    /// Emulates the call in the registers, and writes the result to the registers.
    fn call(&self, call: &mut CallContext<'_>, registers: &mut Registers) -> NextAction;

    /// Emulates the reaction of the foreign system to a fault.
    fn fault(
        &self,
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction;
}

/// The action that follows an emulated call or fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// The thread continues.
    Continue,
    /// The thread continues after this duration.
    Sleep(Duration),
    /// The thread continues when the thread with this index has ended.
    AwaitEndOf(usize),
    /// The thread with this index starts, and the calling thread continues.
    StartThread(usize),
    /// The thread ends with this status.
    EndThread(u64),
    /// The program ends with this status.
    EndProgram(u64),
}

/// A processor exception in foreign code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An access to this address; `u64::MAX` if the processor does not report the address.
    Access(u64),
    /// An illegal instruction.
    IllegalInstruction,
    /// An arithmetic error, such as a division by zero.
    Arithmetic,
    /// A breakpoint.
    Breakpoint,
}

/// The `si_code` of a `siginfo_t`: positive if the kernel sent the signal.
fn signal_code(info: &[u8; 128]) -> i32 {
    i32::from_ne_bytes(std::array::from_fn(|i| info[8 + i]))
}

/// The entry through which the call of a SIGSYS came (`si_arch`, `AUDIT_ARCH_*`); `None` if another process
/// sent the signal.
pub(super) fn audit_arch(info: &[u8; 128]) -> Option<u32> {
    let arch = u32::from_ne_bytes(std::array::from_fn(|i| info[28 + i]));
    (signal_code(info) > 0).then_some(arch)
}

impl Fault {
    /// The fault that a signal's `siginfo_t` reports; `None` if another process sent the signal.
    pub(super) fn from_siginfo(signal: i32, info: &[u8; 128]) -> Option<Fault> {
        let code = signal_code(info);
        let address = u64::from_ne_bytes(std::array::from_fn(|i| info[16 + i]));
        match signal {
            _ if code <= 0 => None,
            libc::SIGSEGV | libc::SIGBUS if code == libc::SI_KERNEL => {
                Some(Fault::Access(u64::MAX))
            }
            libc::SIGSEGV | libc::SIGBUS => Some(Fault::Access(address)),
            libc::SIGILL => Some(Fault::IllegalInstruction),
            libc::SIGFPE => Some(Fault::Arithmetic),
            libc::SIGTRAP => Some(Fault::Breakpoint),
            _ => None,
        }
    }

    /// The address of an access, 0 for other faults.
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
            Fault::IllegalInstruction => f.write_str("illegal instruction"),
            Fault::Arithmetic => f.write_str("arithmetic"),
            Fault::Breakpoint => f.write_str("breakpoint"),
        }
    }
}

/// The parts of the sandbox that a personality may use during a call.
pub struct CallContext<'a> {
    /// The index of the calling thread.
    pub thread: usize,
    /// The program's memory.
    pub memory: &'a mut ProgramMemory,
    /// The thread's transcript. A call adds one line, without the newline.
    pub transcript: &'a mut BoundedText<MAX_TRANSCRIPT_LENGTH>,
    /// The program's output.
    pub console: &'a mut BoundedText<MAX_TRANSCRIPT_LENGTH>,
    /// Words for the personality's own use, 0 at first. All threads share the words.
    pub personality_words: &'a mut [u64; 8],
    pub(super) threads: &'a mut [ThreadState; MAX_THREADS],
}

impl CallContext<'_> {
    /// Maps the stack of a new thread and returns the thread's index; `None` if no index or memory is free.
    /// [`CallContext::set_first_registers`] completes the thread.
    pub fn new_thread(&mut self) -> Option<usize> {
        let thread = self.threads.iter().position(|thread| !thread.was_started)?;
        self.map_stack(thread)?;
        Some(thread)
    }

    /// Maps a thread's stack. Returns `None` if pages are mapped there already, or the kernel refuses.
    pub fn map_stack(&mut self, thread: usize) -> Option<()> {
        let stack = program_memory::stack(thread);
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        self.memory.map(stack.start, program_memory::STACK_LENGTH, read_write).then_some(())
    }

    /// `thread` as an index, if the thread with this index was started and is not the calling thread.
    #[must_use]
    pub fn other_thread(&self, thread: u64) -> Option<usize> {
        let thread = usize::try_from(thread).ok()?;
        (self.threads.get(thread)?.was_started && thread != self.thread).then_some(thread)
    }

    /// Marks a thread as started. Sets the registers that the thread begins with, the value of its thread
    /// register (0: none), and the address of its dispatch selector (0: in guest-init's memory).
    pub fn set_first_registers(
        &mut self,
        thread: usize,
        registers: Registers,
        thread_register: u64,
        selector_address: u64,
    ) {
        let state = &mut self.threads[thread];
        state.first_registers = registers;
        state.thread_register = thread_register;
        state.selector_address = selector_address;
        (state.was_started, state.is_running) = (true, true);
    }

    /// Saves the registers of a call that calls the program back. Returns false if
    /// [`MAX_CALLBACK_DEPTH`](super::thread::MAX_CALLBACK_DEPTH) callbacks are in progress.
    pub fn push_callback(&mut self, registers: &Registers) -> bool {
        let state = &mut self.threads[self.thread];
        let Some(entry) = state.callback_registers.get_mut(state.callback_depth) else {
            return false;
        };
        *entry = *registers;
        state.callback_depth += 1;
        true
    }

    /// Removes and returns the registers that [`CallContext::push_callback`] saved last.
    pub fn pop_callback(&mut self) -> Option<Registers> {
        let state = &mut self.threads[self.thread];
        state.callback_depth = state.callback_depth.checked_sub(1)?;
        Some(state.callback_registers[state.callback_depth])
    }
}
