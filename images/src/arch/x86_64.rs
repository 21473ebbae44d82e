// SPDX-License-Identifier: Apache-2.0 OR MIT

//! x86-64.

use super::{Facts, Image};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    // Long-term; the distribution's linux-source-6.12 on Debian 12 and 13.
    default_kernel: "6.12",
    make: "x86_64",
    folder: "x86",
    elf_machine: 62,
    fragment: ("x86_64.config", include_str!("../../../kernel-config/x86_64.config")),
    image,
    cross_compile: "x86_64-linux-gnu-",
    debian: "amd64",
    compiler: Packages {
        apt: "gcc-x86-64-linux-gnu",
        dnf: "gcc-x86_64-linux-gnu",
        pacman: "",
        zypper: "cross-x86_64-gcc",
    },
};

/// Compressed, entered at its 64-bit entry point.
const BZIMAGE: Image = Image { target: "bzImage", file: "arch/x86/boot/bzImage", elf: false };

/// A vmlinux needs no decompression; it is entered at its PVH entry point, if that works.
fn image(dot_config: &str) -> Image {
    if pvh_entry_works(dot_config) { Image::VMLINUX } else { BZIMAGE }
}

/// Whether the PVH entry point of a vmlinux with this .config works. With KASAN that entry dies in a
/// memcmp() that KASAN checks before its shadow memory exists (seen with 6.12, `xen_prepare_pvh()`).
pub(crate) fn pvh_entry_works(dot_config: &str) -> bool {
    dot_config.lines().all(|line| line != "CONFIG_KASAN=y")
}
