// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that aarch64 has and not every architecture. Their rows are in the tables of their
//! groups.

pub(super) mod entries;
pub(super) mod nt;
pub(super) mod registers;
pub(super) mod tagged;
