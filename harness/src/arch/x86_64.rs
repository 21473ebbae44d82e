// SPDX-License-Identifier: Apache-2.0 OR MIT

//! x86-64.

use super::Target;
use crate::version::Version;
use sudbox_images::Packages;

pub(super) const TARGET: Target = Target {
    qemu_packages: Packages {
        apt: "qemu-system-x86",
        dnf: "qemu-system-x86-core",
        pacman: "qemu-system-x86",
        zypper: "qemu-x86",
    },
    rust_target: "x86_64-unknown-linux-gnu",
    linker: "x86_64-linux-gnu-gcc",
    linker_packages: Packages {
        apt: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
        dnf: "gcc-x86_64-linux-gnu",
        pacman: "",
        zypper: "cross-x86_64-gcc",
    },
    // The frequency of the TSC, which the kernel reads from CPUID. When QEMU counts instructions
    // (`-icount`), the TSC advances by one at each instruction.
    counter_hertz: 1_000_000_000,
    loop_instructions: 3,
    // `config X86` selects GENERIC_ENTRY.
    dispatch_since: Some(Version(5, 11, 0)),
};
