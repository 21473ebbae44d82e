// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that riscv64 has and not every architecture. Their rows are in the tables of their
//! groups.

pub(super) use super::floating;
