// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of cases that s390x has and not all others. Their entries stand in the tables of their
//! groups.

pub(super) mod registers;

pub(super) use super::{floating, stepping};
