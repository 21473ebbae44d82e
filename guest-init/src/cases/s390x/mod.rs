// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The checks of cases that s390x has and not every architecture. Their rows are in the tables of their
//! groups.

pub(super) mod registers;
