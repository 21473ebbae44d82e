// SPDX-License-Identifier: Apache-2.0 OR MIT

//! riscv64.

use super::Target;
use crate::version::Version;
use sudbox_images::Packages;

pub(super) const TARGET: Target = Target {
    qemu_packages: Packages {
        // On newer distributions, this package installs qemu-system-riscv.
        apt: "qemu-system-misc",
        dnf: "qemu-system-riscv-core",
        pacman: "qemu-system-riscv",
        zypper: "qemu-extra",
    },
    rust_target: "riscv64gc-unknown-linux-gnu",
    linker: "riscv64-linux-gnu-gcc",
    linker_packages: Packages {
        apt: "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross",
        dnf: "gcc-riscv64-linux-gnu",
        pacman: "riscv64-linux-gnu-gcc riscv64-linux-gnu-glibc",
        zypper: "cross-riscv64-gcc14",
    },
    // `RISCV_ACLINT_DEFAULT_TIMEBASE_FREQ` of QEMU.
    counter_hertz: 10_000_000,
    loop_instructions: 3,
    // `config RISCV` selects GENERIC_ENTRY.
    dispatch_since: Some(Version(6, 4, 0)),
};
