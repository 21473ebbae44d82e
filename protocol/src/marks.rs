// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The marks by which the guest delimits operations for a tracer on the host.
//!
//! A mark is a function that returns at once, at a fixed address in a page that the guest maps. The guest calls
//! [`BEGIN`] with the number of the operation, executes the operation several times with a call of [`NEXT`]
//! after each, and calls [`END`]. The host sets breakpoints at [`BEGIN`] and [`END`].

/// Address of the function before the operations; also the start of the page.
pub const BEGIN: u64 = 0x5bd0_0000;

/// Address of the function after the operations.
pub const END: u64 = BEGIN + 16;

/// Address of the function after each operation.
pub const NEXT: u64 = BEGIN + 32;
