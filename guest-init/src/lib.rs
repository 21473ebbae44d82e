// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The guest's init: the cases, and the runner that carries them out.
//!
//! [`runner`] speaks the protocol of `sudbox_protocol` over any byte stream and runs each planned case
//! in a child process. [`pid1`] starts the runner in a guest; `guest-init --fd N` starts it in an ordinary
//! process.

pub mod arch;
pub mod bench;
pub mod case;
pub mod cases;
mod compare;
mod conserve;
pub mod conversation;
mod digest;
mod filter;
pub mod grid;
mod modules;
mod mounts;
pub mod oracle;
pub mod pid1;
pub mod probe;
mod program;
mod program_addresses;
mod ptrace;
mod queued_signal;
mod recording;
mod rseq;
pub mod runner;
#[cfg(foreign_programs)]
pub mod sandbox;
pub mod shared;
mod support;
pub mod sys;
mod tracee;
mod vdso;
pub mod walk;
