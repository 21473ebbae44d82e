// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stands in for the trial on hosts of an architecture that has none.

use super::{Finding, Stop};

/// Returns that the architecture is not supported.
pub(super) fn attempt(_trace: &mut Vec<String>) -> Finding {
    Finding::Unsupported { stop: Stop::Architecture }
}
