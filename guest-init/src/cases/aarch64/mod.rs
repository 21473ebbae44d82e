// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks that not all architectures have, for aarch64. The tables in the files of `cases/` have the cases.

pub(super) mod entries;
pub(super) mod nt;
pub(super) mod registers;
pub(super) mod tagged;
