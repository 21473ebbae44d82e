// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of module `kvm` on architectures without a microVM.

use crate::backend::{Backend, Refusal};

/// The row of a backend that is never offered.
pub const BACKEND: Backend = Backend {
    name: "kvm",
    summary: "The microVM on KVM, which does not exist for this machine's architecture",
    prepare: || {},
    offer: |_| {
        Err(Refusal::UnusableHost(format!("there is no microVM for {}", std::env::consts::ARCH)))
    },
};
