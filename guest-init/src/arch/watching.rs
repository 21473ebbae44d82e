// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of what is seen of a call and of its handler.

use super::{Reg, WATCHED_FLOATING, WATCHED_FRAME};

/// The instruction by which a program enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The one of 64-bit programs.
    Native,
    /// The one of 32-bit programs, where 64-bit programs may use it too.
    Compat,
}

/// A named part of a structure of the kernel's, and its length in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part(pub &'static str, pub usize);

/// The parts of a field of a record, as far as they have names.
#[must_use]
pub fn layout(field: &str) -> &'static [Part] {
    match field {
        "registers" => Reg::NAMES,
        "segments" => &[
            Part("cs", 2),
            Part("ss", 2),
            Part("ds", 2),
            Part("es", 2),
            Part("fs", 2),
            Part("gs", 2),
        ],
        "floating" | "floating point frame" => WATCHED_FLOATING,
        "frame" => WATCHED_FRAME,
        "alternate stack" => &[
            Part("ss_sp", 8),
            Part("ss_flags", 4),
            Part("hole behind ss_flags", 4),
            Part("ss_size", 8),
        ],
        "bases" => &[Part("fs", 8), Part("gs", 8)],
        _ => &[],
    }
}
