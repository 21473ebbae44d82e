// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ways in which system calls of foreign code can be had.

use super::Personality;
use crate::{probe, sys};
use std::fmt;
use sudbox_protocol::Feature;

/// What hands a foreign program's system calls over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Dispatch of all but a range, by a selector for each thread.
    Exclusive,
    /// Dispatch of a range (6.17 on), by a selector for each thread.
    Inclusive,
    /// A filter of seccomp that looks at the instruction pointer, and answers `RET_TRAP`.
    Filter,
    /// The same with `RET_USER_NOTIF`: a supervisor answers.
    Notification,
    /// ptrace with `PTRACE_SYSEMU`: a tracer answers.
    Trace,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 5] =
        [Engine::Exclusive, Engine::Inclusive, Engine::Filter, Engine::Notification, Engine::Trace];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Exclusive => "exclusive",
            Engine::Inclusive => "inclusive",
            Engine::Filter => "filter",
            Engine::Notification => "notification",
            Engine::Trace => "trace",
        }
    }

    /// Whether someone outside the task emulates.
    pub(super) const fn supervised(self) -> bool {
        matches!(self, Engine::Notification | Engine::Trace)
    }

    /// Refuses a personality that this cannot carry.
    pub(super) fn carries(self, personality: &dyn Personality) -> Result<(), Problem> {
        match personality.beyond_linux() {
            Some(why) if self == Engine::Notification => {
                Err(Problem::Refused { engine: self, personality: personality.name(), why })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what the kernel does not offer. What `PTRACE_SYSEMU` shows is the architecture's.
    ///
    /// # Errors
    /// [`Problem::Missing`]
    pub fn offered(self) -> Result<(), Problem> {
        let feature = match self {
            Engine::Exclusive => Feature::Dispatch,
            Engine::Inclusive => Feature::Inclusive,
            Engine::Filter | Engine::Notification => Feature::SeccompFilter,
            Engine::Trace if crate::arch::SYSEMU_SHOWS_ALL => return Ok(()),
            Engine::Trace => return Err(Problem::Missing(self)),
        };
        let missing = probe::machine().without(&[feature]).is_some();
        if missing { Err(Problem::Missing(self)) } else { Ok(()) }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a program was not run to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The engine cannot carry the personality.
    Refused {
        /// The engine.
        engine: Engine,
        /// The personality's name.
        personality: &'static str,
        /// What of it.
        why: &'static str,
    },
    /// The kernel does not offer the engine.
    Missing(Engine),
    /// The program has no room in the arena.
    DoesNotFit,
    /// A system call of ours failed.
    System(&'static str, sys::Errno),
    /// The program's tasks ended before it did.
    Died,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Refused { engine: Engine::Notification, personality, why } => write!(
                f,
                "the engine notification cannot carry the personality {personality}: {why}, and \
                 user notification shows 32 bits of a number and sets one result"
            ),
            Problem::Refused { engine, personality, why } => {
                write!(f, "the engine {engine} cannot carry the personality {personality}: {why}")
            }
            Problem::Missing(engine) => write!(f, "this kernel does not offer the engine {engine}"),
            Problem::DoesNotFit => f.write_str("the program does not fit the sandbox's memory"),
            Problem::System(what, errno) => write!(f, "{what}: {errno}"),
            Problem::Died => f.write_str("the program's tasks died before the program ended"),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::super::Alien;
    use super::*;

    #[test]
    fn what_an_engine_cannot_carry_it_refuses_by_name() {
        for engine in Engine::ALL {
            let answer = engine.carries(&Alien);
            assert_eq!(answer.is_err(), engine == Engine::Notification, "{engine}");
        }
        let refusal = Engine::Notification.carries(&Alien).unwrap_err().to_string();
        assert!(refusal.contains("notification") && refusal.contains("alien"), "{refusal}");
    }

    #[test]
    fn engines_have_names_of_their_own() {
        let names: std::collections::HashSet<_> = Engine::ALL.map(Engine::name).into();
        assert_eq!(names.len(), Engine::ALL.len());
    }
}
