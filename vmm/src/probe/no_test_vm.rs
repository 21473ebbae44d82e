// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of module `test_vm` on architectures that have no probe.

use super::{Finding, Stop};

/// Returns the finding that the architecture is not supported.
pub(super) fn attempt(_trace: &mut Vec<String>) -> Finding {
    Finding::Unsupported { stop: Stop::Architecture }
}
