// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of cases that x86-64 alone has. Their entries stand in the tables of their groups.

pub(super) mod compat;
pub(super) mod entries;
pub(super) mod keys;
pub(super) mod narrow;
pub(super) mod nt;
pub(super) mod registers;
pub(super) mod tagged;
pub(super) mod users;

pub(super) use super::stepping;
