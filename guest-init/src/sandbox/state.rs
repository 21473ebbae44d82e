// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a sandbox: the program's memory and threads, the transcript, and the tasks. All
//! tasks and the supervisor share the state.

use super::bounded_text::BoundedText;
use super::engine::SandboxError;
use super::image::Image;
use super::personality::{CallContext, Fault, NextAction, Personality};
use super::program_memory::ProgramMemory;
use super::thread::{MAX_THREADS, MAX_TRANSCRIPT_LENGTH, ThreadState};
use crate::arch::{self, Reg, Registers};
use crate::sys;
use std::cell::UnsafeCell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Size in bytes of a native stack. A task has two native stacks: one for signal handlers, one for its start.
pub(super) const NATIVE_STACK_LENGTH: usize = 64 << 10;

/// The Linux task that runs a foreign thread.
#[derive(Default)]
pub(super) struct Task {
    /// The dispatch selector, unless it is in the program's memory.
    pub(super) selector: AtomicU8,
    /// The thread ID, 0 before the task exists and after its end.
    pub(super) tid: AtomicI32,
    /// The descriptor of the task's seccomp listener plus 1; 0 for none.
    pub(super) listener: AtomicI32,
}

/// The functions of an engine. The table of engines is [`super::engines`].
pub(super) struct EngineOperations {
    /// Whether a supervisor emulates the calls. Each task is then a separate process.
    pub(super) is_supervised: bool,
    /// The signal that a new task sends to itself once the task is set up. The handler of the signal makes the
    /// task enter the program; a traced task stops for the signal, and the tracer does the same.
    pub(super) enter_signal: i32,
    /// Makes the kernel pass the calls of a thread to the engine. Called in the thread's new task, with the
    /// thread's index and selector. Must not take the lock: a signal handler, which waits for the lock, can
    /// interrupt this function.
    pub(super) intercept: fn(&SandboxState, usize, &AtomicU8) -> sys::Result<()>,
    /// Runs the supervisor until the program has ended. The argument is the first task's thread ID.
    pub(super) supervise: fn(&SandboxState, i32) -> Result<(), SandboxError>,
}

/// The part of the state that the lock protects.
struct Locked {
    /// `None` once the sandbox is closed.
    memory: Option<ProgramMemory>,
    console: BoundedText<MAX_TRANSCRIPT_LENGTH>,
    transcripts: [BoundedText<MAX_TRANSCRIPT_LENGTH>; MAX_THREADS],
    personality_words: [u64; 8],
    threads: [ThreadState; MAX_THREADS],
    /// The exit status of the program; `None` until the program has ended.
    exit_status: Option<u64>,
    /// The reason why the program cannot continue.
    error: Option<SandboxError>,
}

/// The state of a sandbox.
pub(super) struct SandboxState {
    pub(super) operations: &'static EngineOperations,
    pub(super) tasks: [Task; MAX_THREADS],
    personality: &'static dyn Personality,
    /// The start of the memory with the native stacks of all tasks.
    native_stacks: u64,
    lock: AtomicBool,
    locked: UnsafeCell<Locked>,
    /// Number of signals from other processes so far.
    outside_signal_count: AtomicU32,
    /// The thread ID of the second task, also after its end; 0 if it was never started.
    second_tid: AtomicI32,
}

// SAFETY: `locked` is accessed only with the lock held; the other fields are atomic or never change.
unsafe impl Sync for SandboxState {}

/// The state of the sandbox whose tasks run, for signal handlers.
static CURRENT: AtomicPtr<SandboxState> = AtomicPtr::new(std::ptr::null_mut());

impl SandboxState {
    /// Returns the state of a sandbox whose program has not started.
    ///
    /// # Errors
    /// [`SandboxError::System`] if the native stacks cannot be mapped.
    pub(super) fn new(
        memory: ProgramMemory,
        personality: &'static dyn Personality,
        operations: &'static EngineOperations,
    ) -> Result<Box<SandboxState>, SandboxError> {
        let native_stacks = sys::map_private(MAX_THREADS * 2 * NATIVE_STACK_LENGTH)
            .map_err(|errno| SandboxError::System("mmap", errno))?
            as u64;
        Ok(Box::new(SandboxState {
            operations,
            tasks: Default::default(),
            personality,
            native_stacks,
            lock: AtomicBool::new(false),
            locked: UnsafeCell::new(Locked {
                memory: Some(memory),
                console: BoundedText::default(),
                transcripts: Default::default(),
                personality_words: [0; 8],
                threads: Default::default(),
                exit_status: None,
                error: None,
            }),
            outside_signal_count: AtomicU32::new(0),
            second_tid: AtomicI32::new(0),
        }))
    }

    /// The state of the sandbox to which the calling task belongs. Only tasks of a sandbox may call this.
    pub(super) fn current() -> &'static SandboxState {
        // SAFETY: `prepare_first_thread` sets the pointer before the first task starts, and the state is
        // never freed.
        unsafe { &*CURRENT.load(Ordering::SeqCst) }
    }

    /// Prepares the first thread, and makes this state the current one.
    pub(super) fn prepare_first_thread(&'static self, image: &Image) -> Result<(), SandboxError> {
        CURRENT.store(std::ptr::from_ref(self).cast_mut(), Ordering::SeqCst);
        self.with_lock(|locked| {
            let personality = self.personality;
            locked
                .call_context(0)
                .and_then(|mut call| personality.prepare_first_thread(&mut call, image))
        })
        .ok_or(SandboxError::TooLarge)
    }

    /// The address of a task's two native stacks: the one for signal handlers, then the one for its start.
    pub(super) fn native_stacks(&self, thread: usize) -> u64 {
        self.native_stacks + (thread * 2 * NATIVE_STACK_LENGTH) as u64
    }

    /// The index of the thread whose native stacks contain this stack pointer.
    pub(super) fn thread_on_stack(&self, stack: u64) -> usize {
        usize::try_from(stack.wrapping_sub(self.native_stacks)).unwrap_or(usize::MAX)
            / (2 * NATIVE_STACK_LENGTH)
    }

    /// Calls a function with the lock held.
    fn with_lock<T>(&self, run: impl FnOnce(&mut Locked) -> T) -> T {
        while self.lock.swap(true, Ordering::SeqCst) {
            sys::sched_yield();
        }
        // SAFETY: this task holds the lock.
        let result = run(unsafe { &mut *self.locked.get() });
        self.lock.store(false, Ordering::SeqCst);
        result
    }

    /// A copy of a thread's state.
    pub(super) fn thread(&self, thread: usize) -> ThreadState {
        self.with_lock(|locked| locked.threads[thread])
    }

    /// Whether a thread was started, and neither the thread nor the program has ended.
    pub(super) fn is_running(&self, thread: usize) -> bool {
        self.with_lock(|locked| locked.threads[thread].is_running && locked.exit_status.is_none())
    }

    /// Whether the program has ended or cannot continue.
    pub(super) fn is_over(&self) -> bool {
        self.with_lock(|locked| locked.exit_status.is_some() || locked.error.is_some())
    }

    /// Emulates a call of a thread. `audit_arch` identifies the entry through which the call came
    /// (`AUDIT_ARCH_*`). A call that did not come through the native entry (an `int 0x80`) becomes a fault,
    /// since foreign systems have no other entry.
    pub(super) fn call(
        &self,
        thread: usize,
        registers: &mut Registers,
        audit_arch: u32,
    ) -> NextAction {
        let personality = self.personality;
        if audit_arch != arch::AUDIT_ARCH {
            registers[Reg::INSTRUCTION_POINTER] =
                registers[Reg::INSTRUCTION_POINTER].wrapping_sub(arch::CALL_LENGTH);
            return self.fault(thread, registers, Fault::Access(u64::MAX));
        }
        self.emulate_step(thread, |call| personality.call(call, registers))
    }

    /// Emulates the reaction of the foreign system to a thread's fault.
    pub(super) fn fault(
        &self,
        thread: usize,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction {
        let personality = self.personality;
        self.emulate_step(thread, |call| personality.fault(call, registers, fault))
    }

    /// Calls `emulate` for one call or fault of a thread, and ends the line that `emulate` adds to the
    /// thread's transcript. Does nothing once the program has ended.
    fn emulate_step(
        &self,
        thread: usize,
        emulate: impl FnOnce(&mut CallContext<'_>) -> NextAction,
    ) -> NextAction {
        self.with_lock(|locked| {
            if let Some(status) = locked.exit_status {
                return NextAction::EndProgram(status);
            }
            let Some(mut call) = locked.call_context(thread) else {
                return NextAction::EndProgram(0);
            };
            let mut next = emulate(&mut call);
            call.transcript.add(b"\n");
            if let NextAction::EndThread(status) = next {
                locked.threads[thread].is_running = false;
                if !locked.threads.iter().any(|thread| thread.is_running) {
                    next = NextAction::EndProgram(status);
                }
            }
            if let NextAction::EndProgram(status) = next {
                locked.exit_status = Some(status);
            }
            next
        })
    }

    /// Records the reason why the program cannot continue. Only the first reason is stored.
    pub(super) fn fail(&self, error: SandboxError) {
        self.with_lock(|locked| locked.error = locked.error.take().or(Some(error)));
    }

    /// Counts a signal from another process.
    pub(super) fn count_signal(&self) {
        self.outside_signal_count.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of signals from other processes so far.
    pub(super) fn outside_signal_count(&self) -> u32 {
        self.outside_signal_count.load(Ordering::SeqCst)
    }

    /// The thread ID of the second thread, also after its end; 0 if it was never started.
    pub(super) fn second_tid(&self) -> i32 {
        self.second_tid.load(Ordering::SeqCst)
    }

    /// Records the thread ID of a thread's task.
    pub(super) fn set_tid(&self, thread: usize, tid: i32) {
        self.tasks[thread].tid.store(tid, Ordering::SeqCst);
        if thread == 1 {
            self.second_tid.store(tid, Ordering::SeqCst);
        }
    }

    /// Frees the program's memory. All tasks must have ended.
    pub(super) fn close(&self) {
        // A task that was killed may have held the lock.
        self.lock.store(false, Ordering::SeqCst);
        self.with_lock(|locked| locked.memory = None);
        // SAFETY: the tasks that ran on these stacks have ended.
        let _ = unsafe {
            sys::unmap(self.native_stacks as *mut u8, MAX_THREADS * 2 * NATIVE_STACK_LENGTH)
        };
    }

    /// The transcript, sorted by thread, so that it is the same in every run.
    ///
    /// # Errors
    /// The reason why the program could not continue; [`SandboxError::Died`] if the program has no exit
    /// status.
    pub(super) fn transcript(&self) -> Result<String, SandboxError> {
        self.with_lock(|locked| {
            if let Some(error) = locked.error.take() {
                return Err(error);
            }
            let status = locked.exit_status.ok_or(SandboxError::Died)?;
            let mut text = String::new();
            let threads = (0..)
                .zip(&locked.transcripts)
                .map(|(thread, text)| (format!("thread {thread}"), text));
            for (name, part) in threads.chain([("console".to_owned(), &locked.console)]) {
                let (bytes, is_truncated) = part.get();
                if bytes.is_empty() {
                    continue;
                }
                let _ = writeln!(text, "{name}");
                for line in String::from_utf8_lossy(bytes).lines() {
                    let _ = writeln!(text, "  {line}");
                }
                if is_truncated {
                    let _ = writeln!(text, "  (more than is kept)");
                }
            }
            let _ = writeln!(text, "end {status:#x}");
            Ok(text)
        })
    }
}

impl Locked {
    /// The parts of the sandbox that a call of this thread may use; `None` once the sandbox is closed.
    fn call_context(&mut self, thread: usize) -> Option<CallContext<'_>> {
        Some(CallContext {
            thread,
            memory: self.memory.as_mut()?,
            transcript: &mut self.transcripts[thread],
            console: &mut self.console,
            personality_words: &mut self.personality_words,
            threads: &mut self.threads,
        })
    }
}
