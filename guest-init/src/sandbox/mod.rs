// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a foreign program natively and emulates its system calls.
//!
//! The program is not written for Linux, and has its own [memory](program_memory). An [`Engine`]
//! intercepts the program's system calls and passes each to a [`Personality`], which reads the arguments
//! from the registers, emulates the call, and writes the result to the registers. That memory is mapped in
//! the process that runs the sandbox too. So an engine can emulate a call in the program's task itself or in
//! a supervisor process; the code of the personality is the same.
//!
//! The sandbox emulates; it does not confine. A program that is made to escape to Linux can do so.

mod bounded_text;
#[cfg(windows_programs)]
mod command;
mod engine;
mod engines;
mod image;
pub mod pe;
mod personalities;
mod personality;
pub mod program_memory;
mod state;
mod task;
mod thread;

#[cfg(windows_programs)]
pub use command::command;
pub use engine::{Engine, SandboxError};
pub use image::{Image, Segment};
pub use personalities::Alien;
#[cfg(windows_programs)]
pub use personalities::Nt;
pub use personality::{CallContext, Fault, NextAction, Personality};

use program_memory::ProgramMemory;
use state::SandboxState;

/// A running program.
pub struct Sandbox {
    state: &'static SandboxState,
    first_tid: i32,
}

impl Sandbox {
    /// Starts a program.
    ///
    /// # Errors
    /// [`SandboxError`]
    pub fn start(
        image: &Image,
        personality: &'static dyn Personality,
        engine: Engine,
    ) -> Result<Sandbox, SandboxError> {
        engine.check_personality(personality)?;
        engine.check_available()?;
        let mut memory = ProgramMemory::new()
            .map_err(|errno| SandboxError::System("mapping the program's memory", errno))?;
        if !image.load(&mut memory) {
            return Err(SandboxError::TooLarge);
        }
        let operations = engines::operations(engine);
        // Leaked: tasks may read the state until the process ends.
        let state: &'static SandboxState =
            Box::leak(SandboxState::new(memory, personality, operations)?);
        let first_tid = state.prepare_first_thread(image).and_then(|()| {
            task::start_task(state, 0).map_err(|errno| SandboxError::System("clone", errno))
        });
        let first_tid = first_tid.inspect_err(|_| state.close())?;
        Ok(Sandbox { state, first_tid })
    }

    /// The thread ID of the program's first thread.
    #[must_use]
    pub fn first_tid(&self) -> i32 {
        self.first_tid
    }

    /// The thread IDs of the program's first two threads; 0 for a thread that was never started.
    #[must_use]
    pub fn first_two_tids(&self) -> [i32; 2] {
        [self.first_tid, self.state.second_tid()]
    }

    /// The number of signals from other processes that the program's tasks have handled.
    #[must_use]
    pub fn outside_signal_count(&self) -> u32 {
        self.state.outside_signal_count()
    }

    /// Waits for the program's end and returns its transcript, the text that the program printed.
    ///
    /// # Errors
    /// [`SandboxError`] if the program did not run to its end.
    pub fn finish(&self) -> Result<String, SandboxError> {
        let result = (self.state.operations.supervise)(self.state, self.first_tid);
        self.state.close();
        result?;
        self.state.transcript()
    }
}

/// Runs a program to its end and returns its transcript, the text that the program printed.
///
/// # Errors
/// [`SandboxError`]
pub fn run(
    image: &Image,
    personality: &'static dyn Personality,
    engine: Engine,
) -> Result<String, SandboxError> {
    Sandbox::start(image, personality, engine)?.finish()
}
