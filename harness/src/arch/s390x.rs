// SPDX-License-Identifier: Apache-2.0 OR MIT

//! s390x.

use super::Target;
use crate::version::Version;
use sudbox_images::Packages;

pub(super) const TARGET: Target = Target {
    qemu_packages: Packages {
        // On newer distributions, this package installs qemu-system-s390x.
        apt: "qemu-system-misc",
        dnf: "qemu-system-s390x-core",
        pacman: "qemu-system-s390x",
        zypper: "qemu-s390x",
    },
    rust_target: "s390x-unknown-linux-gnu",
    linker: "s390x-linux-gnu-gcc",
    linker_packages: Packages {
        apt: "gcc-s390x-linux-gnu libc6-dev-s390x-cross",
        dnf: "gcc-s390x-linux-gnu",
        pacman: "",
        zypper: "cross-s390x-gcc14",
    },
    // Bit 51 of the TOD clock counts microseconds, so bit 63 counts units of 1/4096 microsecond.
    counter_hertz: 4_096_000_000,
    loop_instructions: 2,
    // `config S390` selects GENERIC_ENTRY.
    dispatch_since: Some(Version(5, 12, 0)),
};
