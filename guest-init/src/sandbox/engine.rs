// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The mechanisms that intercept the system calls of foreign code.

use super::personality::Personality;
use crate::{probe, sys};
use std::fmt;
use sudbox_protocol::Feature;

/// A mechanism that intercepts a foreign program's system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Dispatch of all calls outside an allowed range, with a selector for each thread.
    Exclusive,
    /// Dispatch of the calls in a range (6.17 and later), with a selector for each thread.
    Inclusive,
    /// A seccomp filter on the instruction pointer that returns `SECCOMP_RET_TRAP`.
    Filter,
    /// A seccomp filter on the instruction pointer that returns `SECCOMP_RET_USER_NOTIF`. A supervisor
    /// emulates the calls.
    Notification,
    /// `PTRACE_SYSEMU`. A tracer emulates the calls.
    Trace,
}

impl Engine {
    /// All engines.
    pub const ALL: [Engine; 5] =
        [Engine::Exclusive, Engine::Inclusive, Engine::Filter, Engine::Notification, Engine::Trace];

    /// The name for `guest-init --sandbox`.
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

    /// Checks that the engine can pass the whole of a call to this personality, and the whole result back.
    ///
    /// # Errors
    /// [`SandboxError::Refused`]
    pub(super) fn check_personality(
        self,
        personality: &dyn Personality,
    ) -> Result<(), SandboxError> {
        match personality.notification_limit() {
            Some(reason) if self == Engine::Notification => {
                Err(SandboxError::Refused { engine: self, personality: personality.name(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the kernel supports the engine. [`Engine::Trace`] also needs an architecture on which a
    /// tracer sees all registers of a call under `PTRACE_SYSEMU`.
    ///
    /// # Errors
    /// [`SandboxError::Missing`]
    pub fn check_available(self) -> Result<(), SandboxError> {
        let feature = match self {
            Engine::Exclusive => Feature::Dispatch,
            Engine::Inclusive => Feature::Inclusive,
            Engine::Filter | Engine::Notification => Feature::SeccompFilter,
            Engine::Trace if crate::arch::SYSEMU_SHOWS_ALL => return Ok(()),
            Engine::Trace => return Err(SandboxError::Missing(self)),
        };
        let missing = probe::environment().first_missing(&[feature]).is_some();
        if missing { Err(SandboxError::Missing(self)) } else { Ok(()) }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason why a program did not run to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum SandboxError {
    /// The engine cannot pass calls to the personality ([`Personality::notification_limit`]).
    Refused {
        /// The engine.
        engine: Engine,
        /// The personality's name.
        personality: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// The kernel does not support the engine.
    Missing(Engine),
    /// The program is larger than the memory for it.
    TooLarge,
    /// This operation of the sandbox itself failed.
    System(&'static str, sys::Errno),
    /// The program's tasks died before the program ended.
    Died,
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SandboxError::Refused { engine: Engine::Notification, personality, reason } => write!(
                f,
                "the engine notification cannot carry the personality {personality}: {reason}, and \
                 user notification shows 32 bits of a number and sets one result"
            ),
            SandboxError::Refused { engine, personality, reason } => write!(
                f,
                "the engine {engine} cannot carry the personality {personality}: {reason}"
            ),
            SandboxError::Missing(engine) => {
                write!(f, "this kernel does not offer the engine {engine}")
            }
            SandboxError::TooLarge => f.write_str("the program does not fit the sandbox's memory"),
            SandboxError::System(operation, errno) => write!(f, "{operation}: {errno}"),
            SandboxError::Died => f.write_str("the program's tasks died before the program ended"),
        }
    }
}

impl std::error::Error for SandboxError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Alien;

    #[test]
    fn a_refusal_names_engine_and_personality() {
        for engine in Engine::ALL {
            let result = engine.check_personality(&Alien);
            assert_eq!(result.is_err(), engine == Engine::Notification, "{engine}");
        }
        let refusal = Engine::Notification.check_personality(&Alien).unwrap_err().to_string();
        assert!(refusal.contains("notification") && refusal.contains("alien"), "{refusal}");
    }

    #[test]
    fn names_of_engines_are_unique() {
        let names: std::collections::HashSet<_> = Engine::ALL.map(Engine::name).into();
        assert_eq!(names.len(), Engine::ALL.len());
    }
}
