// SPDX-License-Identifier: Apache-2.0 OR MIT

//! aarch64.

use super::Target;
use sudbox_images::Packages;

pub(super) const TARGET: Target = Target {
    qemu_packages: Packages {
        apt: "qemu-system-arm",
        dnf: "qemu-system-aarch64-core",
        pacman: "qemu-system-aarch64",
        zypper: "qemu-arm",
    },
    rust_target: "aarch64-unknown-linux-gnu",
    linker: "aarch64-linux-gnu-gcc",
    linker_packages: Packages {
        apt: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        dnf: "gcc-aarch64-linux-gnu",
        pacman: "aarch64-linux-gnu-gcc aarch64-linux-gnu-glibc",
        zypper: "cross-aarch64-gcc14",
    },
    // `GTIMER_SCALE` of QEMU: one tick every 16 ns.
    counter_hertz: 62_500_000,
    loop_instructions: 3,
    // No release has dispatch, but a kernel with the patches of sudbox has dispatch and the same
    // release number.
    dispatch_since: None,
};
