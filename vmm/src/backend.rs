// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of backends. A backend is a folder of this crate and a row here.

use sudbox_protocol::Arch;

use crate::machine::Machine;
use crate::{kvm, qemu};

/// All backends, in the order in which they are tried when the user names none.
pub const BACKENDS: &[Backend] = &[kvm::BACKEND, qemu::BACKEND, qemu::TCG];

/// A backend, which a user can choose by its name.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// Name, as the option `--backend` takes it.
    pub name: &'static str,
    /// One line of help.
    pub summary: &'static str,
    /// Starts slow preparations in the background. Called before the first [`Backend::offer`].
    pub prepare: fn(),
    /// Offers a machine that meets the requirements.
    pub offer: fn(&Requirements) -> Result<Offer, Refusal>,
}

/// Properties of a VM that not every backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Architecture of the kernel.
    pub arch: Arch,
    /// Whether the user named a CPU model.
    pub cpu_model: bool,
    /// Whether a debugger attaches before the first instruction.
    pub gdb: bool,
    /// Whether the guest's clock must count instructions ([`Clock::Instructions`]).
    pub instruction_clock: bool,
}

/// A machine that a backend offers.
pub struct Offer {
    /// The machine.
    pub machine: Box<dyn Machine>,
    /// Name of the program that must be installed to boot it.
    pub program: Option<&'static str>,
    /// The unit of the guests' clock.
    pub clock: Clock,
}

/// The quantity that a guest's clock measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Time on this machine's processor.
    Processor,
    /// Time that an emulator takes.
    Emulator,
    /// Executed instructions: each takes 1 ns.
    Instructions,
}

/// Error: the backend offers no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The backend does not support a requirement; the text says which, and what to use instead.
    #[error("{0}")]
    Requirement(String),
    /// The backend cannot be used on this machine; the text is the reason.
    #[error("{0}")]
    Machine(String),
}

/// Offers a machine of `backend`, or of the first in the table that has one.
///
/// # Errors
/// The [`Refusal`] of `backend`, or of the last in the table.
pub fn offer(
    backend: Option<&'static Backend>,
    requirements: &Requirements,
) -> Result<Offer, Refusal> {
    let candidates = backend.map_or(BACKENDS, std::slice::from_ref);
    for candidate in candidates {
        (candidate.prepare)();
    }
    let mut refusal = Refusal::Machine("there is no backend".to_owned());
    for candidate in candidates {
        match (candidate.offer)(requirements) {
            Ok(offer) => return Ok(offer),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for backend in BACKENDS {
            let same = BACKENDS.iter().filter(|other| other.name == backend.name);
            assert_eq!(same.count(), 1, "{}", backend.name);
            assert_ne!(backend.name, "auto", "the name of the automatic choice");
        }
    }

    #[test]
    fn some_backend_meets_each_requirement_on_each_architecture() {
        for arch in Arch::ALL {
            let plain =
                Requirements { arch, cpu_model: false, gdb: false, instruction_clock: false };
            for requirements in [
                plain,
                Requirements { cpu_model: true, ..plain },
                Requirements { gdb: true, ..plain },
                Requirements { instruction_clock: true, ..plain },
            ] {
                let offer = offer(None, &requirements).unwrap();
                let counts = offer.clock == Clock::Instructions;
                assert_eq!(counts, requirements.instruction_clock, "{requirements:?}");
            }
        }
    }
}
