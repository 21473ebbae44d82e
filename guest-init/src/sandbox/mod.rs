// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a foreign program natively while a personality emulates its system calls.
//!
//! The program lies in the [`arena`] and knows nothing of Linux. An [`Engine`] hands each of its
//! system calls to a [`Personality`], which reads it out of the registers, does what it asks, and
//! answers into the registers. All tasks share memory with whoever runs the sandbox, so that an engine
//! may emulate in the task itself or from outside, and a personality need not know.
//!
//! This is emulation, not confinement: a program that knows of Linux gets at it.

mod alien;
pub mod arena;
mod call;
#[cfg(target_arch = "x86_64")]
mod command;
mod engine;
mod notification;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod nt;
pub mod pe;
mod room;
mod supervisor;
mod task;
mod text;
mod trace;
mod trap;

pub use alien::{Alien, AlienRegisters};
pub use call::{Call, Fault, Next, Personality};
#[cfg(target_arch = "x86_64")]
pub use command::command;
pub use engine::{Engine, Problem};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use nt::Nt;

use crate::sys;
use arena::Arena;
use room::Room;

/// A part of a program in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, a whole page.
    pub address: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Bytes of memory, whole pages; what is beyond `bytes` is zero.
    pub length: u64,
    /// `PROT_*`
    pub protection: i32,
}

/// A program as it lies in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its parts, apart from each other.
    pub segments: Vec<Segment>,
    /// Where its first thread begins.
    pub entry: u64,
}

impl Image {
    /// Code that begins at its beginning and can run anywhere.
    #[must_use]
    pub fn of_code(code: &[u8]) -> Image {
        let segment = Segment {
            address: arena::BASE,
            bytes: code.to_vec(),
            length: (code.len() as u64).next_multiple_of(arena::PAGE),
            protection: libc::PROT_READ | libc::PROT_EXEC,
        };
        Image { segments: vec![segment], entry: arena::BASE }
    }

    fn load(&self, arena: &mut Arena) -> bool {
        self.segments.iter().all(|segment| {
            let Segment { address, length, protection, .. } = *segment;
            let loaded = arena.put(address, length, libc::PROT_READ | libc::PROT_WRITE)
                && arena.write(address, &segment.bytes)
                && arena.protect(address, length, protection).is_some();
            // SAFETY: mapped above.
            unsafe { crate::arch::make_executable(address..address + length) };
            loaded
        })
    }
}

/// A program that runs.
pub struct Sandbox {
    room: &'static Room,
    root: i32,
}

impl Sandbox {
    /// Starts a program.
    ///
    /// # Errors
    /// [`Problem`]
    pub fn start(
        image: &Image,
        personality: &'static dyn Personality,
        engine: Engine,
    ) -> Result<Sandbox, Problem> {
        engine.carries(personality)?;
        engine.offered()?;
        let mut arena = Arena::new().map_err(|errno| Problem::System("taking the arena", errno))?;
        if !image.load(&mut arena) {
            return Err(Problem::DoesNotFit);
        }
        // Tasks may look at it until the process ends.
        let room: &'static Room = Box::leak(Room::new(arena, personality, engine)?);
        let started = room
            .first(image)
            .and_then(|()| task::start(room, 0).map_err(|errno| Problem::System("clone", errno)));
        let root = started.inspect_err(|_| room.close())?;
        Ok(Sandbox { room, root })
    }

    /// The task of its first thread.
    #[must_use]
    pub fn task(&self) -> i32 {
        self.root
    }

    /// The tasks of its first two threads, 0 where there was none.
    #[must_use]
    pub fn tasks(&self) -> [i32; 2] {
        [self.root, self.room.second()]
    }

    /// How many signals from outside its tasks have had.
    #[must_use]
    pub fn signals(&self) -> u32 {
        self.room.signals()
    }

    /// Runs it to its end, and gives its transcript.
    ///
    /// # Errors
    /// [`Problem`] if it did not end by itself.
    pub fn finish(&self) -> Result<String, Problem> {
        let supervised = match self.room.engine {
            Engine::Exclusive | Engine::Inclusive | Engine::Filter => {
                let waited = sys::wait(self.root, libc::__WALL);
                waited.map(drop).map_err(|errno| Problem::System("wait4", errno))
            }
            Engine::Notification => notification::supervise(self.room),
            Engine::Trace => trace::supervise(self.room),
        };
        self.room.close();
        supervised?;
        self.room.transcript()
    }
}

/// Runs a program to its end.
///
/// # Errors
/// [`Problem`]
pub fn run(
    image: &Image,
    personality: &'static dyn Personality,
    engine: Engine,
) -> Result<String, Problem> {
    Sandbox::start(image, personality, engine)?.finish()
}
