// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Conducting a guest: its messages, its console, its end.

pub(crate) mod conduct;
pub(crate) mod input;
pub(crate) mod kernel_log;
pub(crate) mod running;
pub(crate) mod watch;
