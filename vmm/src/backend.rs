// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of backends. Each backend is a folder of this crate and a row of the table.

use sudbox_protocol::Arch;

use crate::machine::Machine;
use crate::{kvm, qemu};

/// All backends, in the order in which they are tried if the user names no backend.
pub const BACKENDS: &[Backend] = &[kvm::BACKEND, qemu::BACKEND, qemu::TCG_BACKEND];

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
    pub names_cpu_model: bool,
    /// Whether the VM waits for a debugger before its first instruction.
    pub waits_for_gdb: bool,
    /// Whether the guest's clock must count instructions ([`Clock::Instructions`]).
    pub clock_counts_instructions: bool,
}

/// A machine that a backend offers.
pub struct Offer {
    /// The machine.
    pub machine: Box<dyn Machine>,
    /// Name of the program that must be installed to boot the machine, if any.
    pub required_program: Option<&'static str>,
    /// The unit of the guests' clock.
    pub clock: Clock,
}

/// The quantity that a guest's clock measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Time on this host's processor.
    Processor,
    /// Time that an emulator needs, which has no fixed ratio to the time that a processor needs.
    Emulator,
    /// Executed instructions. Each instruction advances the clock by 1 ns.
    Instructions,
}

/// Error: the backend offers no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The backend does not support a requirement; the text names the requirement and an
    /// alternative.
    #[error("{0}")]
    UnmetRequirement(String),
    /// The backend cannot be used on this host; the text is the reason.
    #[error("{0}")]
    UnusableHost(String),
}

/// Offers a machine of `backend`. If `backend` is `None`, takes the first backend of the table that
/// offers a machine.
///
/// # Errors
/// The [`Refusal`] of `backend`, or of the last backend of the table.
pub fn offer(
    backend: Option<&'static Backend>,
    requirements: &Requirements,
) -> Result<Offer, Refusal> {
    let candidates = backend.map_or(BACKENDS, std::slice::from_ref);
    for candidate in candidates {
        (candidate.prepare)();
    }
    let mut refusal = Refusal::UnusableHost("there is no backend".to_owned());
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
    fn names_of_backends_are_unique() {
        for backend in BACKENDS {
            let namesakes = BACKENDS.iter().filter(|other| other.name == backend.name);
            assert_eq!(namesakes.count(), 1, "{}", backend.name);
            assert_ne!(backend.name, "auto", "the name of the automatic choice");
        }
    }

    #[test]
    fn some_backend_meets_each_requirement_on_each_architecture() {
        for arch in Arch::ALL {
            let plain = Requirements {
                arch,
                names_cpu_model: false,
                waits_for_gdb: false,
                clock_counts_instructions: false,
            };
            for requirements in [
                plain,
                Requirements { names_cpu_model: true, ..plain },
                Requirements { waits_for_gdb: true, ..plain },
                Requirements { clock_counts_instructions: true, ..plain },
            ] {
                let offer = offer(None, &requirements).unwrap();
                let counts = offer.clock == Clock::Instructions;
                assert_eq!(counts, requirements.clock_counts_instructions, "{requirements:?}");
            }
        }
    }
}
