// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ARM, 64 bits.

use super::{BootImage, Facts};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    // No release has dispatch on arm64; a patch of sudbox adds it.
    default_kernel: "6.12-sud",
    make_arch: "arm64",
    source_folder: "arm64",
    elf_machine: 183,
    fragment: ("aarch64.config", include_str!("../../../kernel-config/aarch64.config")),
    image,
    cross_compile: "aarch64-linux-gnu-",
    debian_arch: "arm64",
    compiler_packages: Packages {
        apt: "gcc-aarch64-linux-gnu",
        dnf: "gcc-aarch64-linux-gnu",
        pacman: "aarch64-linux-gnu-gcc",
        zypper: "cross-aarch64-gcc14",
    },
};

/// The uncompressed Image, which is entered at its first byte
/// (Documentation/arch/arm64/booting.rst).
fn image(_: &str) -> BootImage {
    BootImage { target: "Image", file: "arch/arm64/boot/Image", is_elf: false }
}
