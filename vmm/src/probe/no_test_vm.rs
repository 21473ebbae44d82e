// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of module `test_vm` on architectures that have no probe.

use super::{Finding, UnsupportedReason};

/// Returns the finding that the architecture is not supported.
pub(super) fn run_probe(_trace: &mut Vec<String>) -> Finding {
    Finding::Unsupported { reason: UnsupportedReason::Architecture }
}
