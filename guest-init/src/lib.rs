//! The case runner and the case table.
//!
//! [`runner`] holds a conversation (see `sudbox_protocol`) over any byte stream and runs each
//! planned case in a child of its own. [`pid1`] is its caller in a guest; the program's `--fd`
//! runs it as an ordinary process.

pub mod arch;
pub mod cases;
pub mod pid1;
pub mod probe;
mod rseq;
pub mod runner;
pub mod shared;
pub mod sys;
mod vdso;
