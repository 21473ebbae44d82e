// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ARM, 64 bits.

use super::{Facts, Image};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    // No release has dispatch on arm64; a patch of sudbox adds it.
    default_kernel: "6.12-sud",
    make: "arm64",
    folder: "arm64",
    elf_machine: 183,
    fragment: ("aarch64.config", include_str!("../../../kernel-config/aarch64.config")),
    image,
    cross_compile: "aarch64-linux-gnu-",
    debian: "arm64",
    compiler: Packages {
        apt: "gcc-aarch64-linux-gnu",
        dnf: "gcc-aarch64-linux-gnu",
        pacman: "aarch64-linux-gnu-gcc",
        zypper: "cross-aarch64-gcc14",
    },
};

/// An uncompressed image, entered at its first byte (Documentation/arch/arm64/booting.rst).
fn image(_: &str) -> Image {
    Image { target: "Image", file: "arch/arm64/boot/Image", elf: false }
}
