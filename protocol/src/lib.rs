// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages between guest and host. This crate does no I/O, and a decoder never allocates more
//! than the length of the message.
//!
//! A [frame](frame) is a little-endian length and that many bytes of body. A body is one message.
//! After `Hello` each side waits for the other's answer, so that a crash is never blamed on the
//! wrong case:
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
//! Log*, Measured*, End n, AllResults
//!        ----------------------->
//!        <----------------------- Acknowledge
//! (restarts)
//! ```
//!
//! To run a [program] instead of cases, the host sends `Execute` instead of `Plan`. To get the
//! [observations](observation) of the cases too, the host sends `Record` instead of `Plan`; the
//! guest then sends `Observed*` before each `End`.

pub mod arch;
pub mod codec;
pub mod feature;
pub mod frame;
pub mod marks;
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

/// Version of this protocol. The guest sends its version in [`Hello`]; the host refuses any other
/// version.
pub const VERSION: u16 = 6;

/// The vsock port on which the host listens. The guest connects to this port of CID 2
/// (`VMADDR_CID_HOST` in `include/uapi/linux/vm_sockets.h`).
pub const PORT: u32 = 1059;

/// Beginning of the console line in which guest-init reports that it cannot reach the host. The
/// reason follows on the same line.
pub const NO_HOST_LINE_PREFIX: &str = "sudbox-guest: no host: ";

/// Beginning of the console line in which guest-init reports any other fatal error. The error
/// follows on the same line.
pub const PROBLEM_LINE_PREFIX: &str = "sudbox-guest: problem: ";
