// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a sandbox is made of, shared by all its tasks and whoever runs it.

use super::arena::Arena;
use super::call::{Call, Fault, Next, Personality};
use super::text::Text;
use super::{Engine, Image, Problem};
use crate::arch::{self, Reg, Registers};
use crate::sys;
use std::cell::UnsafeCell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Most threads that a program can have in all its life.
pub(super) const THREADS: usize = 8;
/// How deep calls can call the program back.
pub(super) const DEPTH: usize = 4;
/// Bytes of the transcript of one thread, and of the console.
pub(super) const LINES: usize = 8 << 10;
/// Bytes of each of the two stacks that a task has of ours: for signals, and to begin with.
pub(super) const NATIVE: usize = 64 << 10;

/// A thread as personalities know it. The start is read by the task that begins there.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadState {
    pub(super) used: bool,
    pub(super) live: bool,
    pub(super) start: Registers,
    pub(super) block: u64,
    pub(super) selector: u64,
    /// Calls in progress that have called the program back, the outermost first.
    pub(super) outer: [Registers; DEPTH],
    pub(super) depth: usize,
}

/// What engines keep of a thread.
#[derive(Default)]
pub(super) struct Task {
    /// The selector, if it is not in the program's memory.
    pub(super) selector: AtomicU8,
    /// Its number as Linux knows it, 0 before it is there.
    pub(super) number: AtomicI32,
    /// Where its notifications come from, plus 1.
    pub(super) listener: AtomicI32,
}

struct Inner {
    arena: Option<Arena>,
    console: Text<LINES>,
    lines: [Text<LINES>; THREADS],
    words: [u64; 8],
    threads: [ThreadState; THREADS],
    /// With what the program ended.
    status: Option<u64>,
    trouble: Option<Problem>,
}

/// A sandbox.
pub(super) struct Room {
    pub(super) engine: Engine,
    pub(super) tasks: [Task; THREADS],
    personality: &'static dyn Personality,
    natives: u64,
    lock: AtomicBool,
    inner: UnsafeCell<Inner>,
    signals: AtomicU32,
    second: AtomicI32,
}

// SAFETY: what is not atomic is reached with the lock held.
unsafe impl Sync for Room {}

/// The one whose tasks run.
static ROOM: AtomicPtr<Room> = AtomicPtr::new(std::ptr::null_mut());

impl Room {
    pub(super) fn new(
        arena: Arena,
        personality: &'static dyn Personality,
        engine: Engine,
    ) -> Result<Box<Room>, Problem> {
        let natives = sys::map(THREADS * 2 * NATIVE, false)
            .map_err(|errno| Problem::System("mmap", errno))? as u64;
        Ok(Box::new(Room {
            engine,
            tasks: Default::default(),
            personality,
            natives,
            lock: AtomicBool::new(false),
            inner: UnsafeCell::new(Inner {
                arena: Some(arena),
                console: Text::default(),
                lines: Default::default(),
                words: [0; 8],
                threads: Default::default(),
                status: None,
                trouble: None,
            }),
            signals: AtomicU32::new(0),
            second: AtomicI32::new(0),
        }))
    }

    /// The one whose tasks run. To be called by them only.
    pub(super) fn current() -> &'static Room {
        // SAFETY: set before the first task began, and never freed.
        unsafe { &*ROOM.load(Ordering::SeqCst) }
    }

    /// Prepares the first thread, and is the current one from now on.
    pub(super) fn first(&'static self, image: &Image) -> Result<(), Problem> {
        ROOM.store(std::ptr::from_ref(self).cast_mut(), Ordering::SeqCst);
        self.with(|inner| {
            let personality = self.personality;
            inner.call(0).and_then(|mut call| personality.first(&mut call, image))
        })
        .ok_or(Problem::DoesNotFit)
    }

    /// Where a task's native stacks begin: that for signals, and above it the other.
    pub(super) fn native(&self, thread: usize) -> u64 {
        self.natives + (thread * 2 * NATIVE) as u64
    }

    /// The thread whose stack for signals this is in.
    pub(super) fn thread_on(&self, stack: u64) -> usize {
        usize::try_from(stack.wrapping_sub(self.natives)).unwrap_or(usize::MAX) / (2 * NATIVE)
    }

    fn with<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        while self.lock.swap(true, Ordering::SeqCst) {
            sys::sched_yield();
        }
        // SAFETY: nobody else has the lock.
        let result = what(unsafe { &mut *self.inner.get() });
        self.lock.store(false, Ordering::SeqCst);
        result
    }

    /// A copy of what a thread begins with.
    pub(super) fn state(&self, thread: usize) -> ThreadState {
        self.with(|inner| inner.threads[thread])
    }

    /// Whether a thread has not ended.
    pub(super) fn lives(&self, thread: usize) -> bool {
        self.with(|inner| inner.threads[thread].live && inner.status.is_none())
    }

    /// Whether the program has ended, or cannot go on.
    pub(super) fn over(&self) -> bool {
        self.with(|inner| inner.status.is_some() || inner.trouble.is_some())
    }

    /// Emulates a call of a thread, which entered Linux as this architecture does (`AUDIT_ARCH_*`).
    /// `int 0x80` is a call to Linux alone: it faults, as it would without Linux, and as it does where
    /// Linux has no 32-bit calls.
    pub(super) fn call(&self, thread: usize, registers: &mut Registers, entered: u32) -> Next {
        let personality = self.personality;
        if entered != arch::AUDIT_ARCH {
            registers[Reg::NEXT] = registers[Reg::NEXT].wrapping_sub(arch::CALL_LENGTH);
            return self.fault(thread, registers, Fault::Access(u64::MAX));
        }
        self.step(thread, |call| personality.call(call, registers))
    }

    /// Tells a thread of its fault.
    pub(super) fn fault(&self, thread: usize, registers: &mut Registers, fault: Fault) -> Next {
        let personality = self.personality;
        self.step(thread, |call| personality.fault(call, registers, fault))
    }

    /// A line of the transcript. After its end the program does nothing.
    fn step(&self, thread: usize, what: impl FnOnce(&mut Call<'_>) -> Next) -> Next {
        self.with(|inner| {
            if let Some(status) = inner.status {
                return Next::End(status);
            }
            let Some(mut call) = inner.call(thread) else { return Next::End(0) };
            let mut next = what(&mut call);
            call.line.add(b"\n");
            if let Next::EndThread(status) = next {
                inner.threads[thread].live = false;
                if !inner.threads.iter().any(|thread| thread.live) {
                    next = Next::End(status);
                }
            }
            if let Next::End(status) = next {
                inner.status = Some(status);
            }
            next
        })
    }

    /// Notes why the program cannot go on; the first reason counts.
    pub(super) fn give_up(&self, problem: Problem) {
        self.with(|inner| inner.trouble = inner.trouble.take().or(Some(problem)));
    }

    /// Notes a signal from outside.
    pub(super) fn signal(&self) {
        self.signals.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn signals(&self) -> u32 {
        self.signals.load(Ordering::SeqCst)
    }

    /// The task of the second thread, also when it is dead.
    pub(super) fn second(&self) -> i32 {
        self.second.load(Ordering::SeqCst)
    }

    /// Notes which task a thread has.
    pub(super) fn has_task(&self, thread: usize, task: i32) {
        self.tasks[thread].number.store(task, Ordering::SeqCst);
        if thread == 1 {
            self.second.store(task, Ordering::SeqCst);
        }
    }

    /// Gives the arena back. All tasks must be dead; one may have died with the lock held.
    pub(super) fn close(&self) {
        self.lock.store(false, Ordering::SeqCst);
        self.with(|inner| inner.arena = None);
        // SAFETY: the stacks of dead tasks.
        let _ = unsafe { sys::unmap(self.natives as *mut u8, THREADS * 2 * NATIVE) };
    }

    /// What happened, for each thread in turn, so that it does not matter which was faster.
    pub(super) fn transcript(&self) -> Result<String, Problem> {
        self.with(|inner| {
            if let Some(problem) = inner.trouble.take() {
                return Err(problem);
            }
            let status = inner.status.ok_or(Problem::Died)?;
            let mut text = String::new();
            let parts = (0..).zip(&inner.lines).map(|(n, lines)| (format!("thread {n}"), lines));
            for (name, part) in parts.chain([("console".to_owned(), &inner.console)]) {
                let (bytes, cut) = part.get();
                if bytes.is_empty() {
                    continue;
                }
                let _ = writeln!(text, "{name}");
                for line in String::from_utf8_lossy(bytes).lines() {
                    let _ = writeln!(text, "  {line}");
                }
                if cut {
                    let _ = writeln!(text, "  (more than is kept)");
                }
            }
            let _ = writeln!(text, "end {status:#x}");
            Ok(text)
        })
    }
}

impl Inner {
    fn call(&mut self, thread: usize) -> Option<Call<'_>> {
        Some(Call {
            thread,
            arena: self.arena.as_mut()?,
            line: &mut self.lines[thread],
            console: &mut self.console,
            words: &mut self.words,
            threads: &mut self.threads,
        })
    }
}
