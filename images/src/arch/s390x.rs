// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IBM Z, 64 bits, big-endian.

use super::{BootImage, Facts};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    default_kernel: "6.12",
    make_arch: "s390",
    source_folder: "s390",
    elf_machine: 22,
    fragment: ("s390x.config", include_str!("../../../kernel-config/s390x.config")),
    image,
    cross_compile: "s390x-linux-gnu-",
    debian_arch: "s390x",
    compiler_packages: Packages {
        apt: "gcc-s390x-linux-gnu",
        dnf: "gcc-s390x-linux-gnu",
        pacman: "",
        zypper: "cross-s390x-gcc14",
    },
};

/// The bzImage: the startup code of every s390 image, then the uncompressed kernel
/// (`CONFIG_KERNEL_UNCOMPRESSED`).
fn image(_: &str) -> BootImage {
    BootImage { target: "bzImage", file: "arch/s390/boot/bzImage", is_elf: false }
}
