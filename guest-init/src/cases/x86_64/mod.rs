// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that only x86-64 has. Their rows are in the tables of their groups.

pub(super) mod compat;
pub(super) mod compat_programs;
pub(super) mod core_32;
pub(super) mod edited;
pub(super) mod entries;
pub(super) mod fast;
pub(super) mod handlers_32;
pub(super) mod keys;
pub(super) mod nt;
pub(super) mod refused_frames;
pub(super) mod registers;
pub(super) mod slices;
pub(super) mod tagged;
pub(super) mod users;
pub(super) mod written_frames;
