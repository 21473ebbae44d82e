// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of cases that riscv64 has and not all others. Their entries stand in the tables of their
//! groups.

pub(super) use super::floating;
