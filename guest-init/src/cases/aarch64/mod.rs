// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of cases that aarch64 has and not all others. Their entries stand in the tables of their
//! groups.

pub(super) mod entries;
pub(super) mod nt;
pub(super) mod registers;
pub(super) mod tagged;

pub(super) use super::{floating, stepping};
