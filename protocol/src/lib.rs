// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The words that guest and host exchange, and nothing else: no I/O, no allocation that the
//! peer could make large.
//!
//! A [frame](frame) is a little-endian length and that many bytes of body; a body is one message.
//! The conversation is a strict alternation after the greeting, so that a crash is never blamed
//! on the wrong case:
//!
//! ```text
//! guest                          host
//! Hello  ----------------------->
//!        <----------------------- Plan
//! Start 0 ---------------------->        (the host has it, and has read the console so far)
//!        <----------------------- Go 0
//! Log*, Measured*, End 0, Start 1
//!        ----------------------->
//!        <----------------------- Go 1
//!   ...
//! Log*, Measured*, End n, Account
//!        ----------------------->
//!        <----------------------- Acknowledge
//! (restarts)
//! ```
//!
//! A host that wants a [program] run in place of cases says so where the plan is due.

pub mod arch;
pub mod codec;
pub mod feature;
pub mod frame;
pub mod measurement;
pub mod message;
pub mod program;

pub use arch::{Arch, UnknownArch};
pub use codec::DecodeError;
pub use feature::Feature;
pub use frame::{FrameError, FrameReader, MAX_BODY};
pub use measurement::Measurement;
pub use message::{CaseResult, GuestMessage, Hello, HostMessage, Plan, PlannedCase, ResultKind};
pub use program::{Program, ProgramEnd};

/// Version of this protocol; the guest says it in [`Hello`] and the host refuses any other.
pub const VERSION: u16 = 3;

/// vsock port on which the host listens and which the guest dials at
/// `VMADDR_CID_HOST` (2, `include/uapi/linux/vm_sockets.h`).
pub const PORT: u32 = 1059;

/// How a line on the console begins with which guest-init says that it cannot reach the host.
/// What follows on the line is the reason.
pub const CONSOLE_NO_HOST: &str = "sudbox-guest: no host: ";

/// How a line on the console begins with which guest-init says that it gives up for any other
/// reason. What follows on the line is the reason.
pub const CONSOLE_PROBLEM: &str = "sudbox-guest: problem: ";
