// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that aarch64 runs and some architectures do not. The files in `cases/` have the
//! rows of these cases in their tables.

pub(super) mod entries;
pub(super) mod nt;
pub(super) mod registers;
pub(super) mod tagged;
