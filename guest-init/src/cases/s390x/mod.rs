// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that s390x runs and some architectures do not. The files in `cases/` have the
//! rows of these cases in their tables.

pub(super) mod registers;
