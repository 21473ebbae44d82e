// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks that not all architectures have, for s390x. The tables in the files of `cases/` have the cases.

pub(super) mod registers;
