// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions with guests: running cases or a program, in a VM or in a process of this machine.

pub(crate) mod cases;
pub(crate) mod conversation;
pub(crate) mod host_process;
pub(crate) mod kernel_log;
#[cfg(test)]
pub(crate) mod lying;
pub(crate) mod program;
pub(crate) mod running_guest;
mod stdin;
pub(crate) mod vm;
