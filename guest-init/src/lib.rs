// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The case runner and the case table.
//!
//! [`runner`] holds a conversation (see `sudbox_protocol`) over any byte stream and runs each
//! planned case in a child of its own. [`pid1`] is its caller in a guest; the program's `--fd`
//! runs it as an ordinary process.

pub mod arch;
pub mod bench;
pub mod case;
pub mod cases;
mod compare;
pub mod conversation;
mod filter;
mod modules;
mod mounts;
pub mod pid1;
pub mod probe;
mod program;
mod ptrace;
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
