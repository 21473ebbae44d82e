// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Conversations with guests: about cases or about a program, in a VM or on this machine.

pub(crate) mod cases;
pub(crate) mod conversation;
pub(crate) mod guest;
pub(crate) mod kernel_log;
pub(crate) mod program;
pub(crate) mod runner;
mod stdin;
pub(crate) mod vm;
