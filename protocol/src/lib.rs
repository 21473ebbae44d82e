// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages between guest and host. This crate does no I/O, and a decoder never allocates more than the
//! length of the message.
//!
//! A [frame](frame) is a little-endian length and that many bytes of body; a body is one message.
//! After `Hello` the two sides strictly alternate, so that a crash is never blamed on the wrong case:
//!
//! ```text
//! guest                          host
//! Hello  ----------------------->
//!        <----------------------- Plan
//! Start 0 ---------------------->        (the host reads the console before it answers)
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
//! To run a [program] instead of cases, the host sends `Execute` instead of `Plan`. To get the
//! [observations](observation) of the cases too, the host sends `Record` instead of `Plan`; the guest then sends
//! `Observed*` before each `End`.

pub mod arch;
pub mod codec;
pub mod feature;
pub mod frame;
pub mod measurement;
pub mod message;
pub mod observation;
pub mod program;

pub use arch::{Arch, UnknownArch};
pub use codec::DecodeError;
pub use feature::Feature;
pub use frame::{FrameError, FrameReader, MAX_BODY};
pub use measurement::Measurement;
pub use message::{CaseResult, GuestMessage, Hello, HostMessage, Plan, PlannedCase, ResultKind};
pub use observation::{Observation, ObservedPart};
pub use program::{Program, ProgramEnd};

/// Version of this protocol. The guest sends it in [`Hello`], and the host refuses any other.
pub const VERSION: u16 = 5;

/// The vsock port on which the host listens. The guest connects to it at `VMADDR_CID_HOST`
///  (2, `include/uapi/linux/vm_sockets.h`).
pub const PORT: u32 = 1059;

/// Beginning of the console line in which guest-init reports that it cannot reach the host. The reason follows
/// on the same line.
pub const CONSOLE_NO_HOST: &str = "sudbox-guest: no host: ";

/// Beginning of the console line in which guest-init reports any other fatal error. The error follows on the
/// same line.
pub const CONSOLE_PROBLEM: &str = "sudbox-guest: problem: ";
