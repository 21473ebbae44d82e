// SPDX-License-Identifier: Apache-2.0 OR MIT
//! x86-64.

use super::{BootImage, Facts};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    // A long-term series; Debian 12 and 13 have it as the package linux-source-6.12.
    default_kernel: "6.12",
    make_arch: "x86_64",
    source_folder: "x86",
    elf_machine: 62,
    fragment: ("x86_64.config", include_str!("../../../kernel-config/x86_64.config")),
    image,
    cross_compile: "x86_64-linux-gnu-",
    debian_arch: "amd64",
    compiler_packages: Packages {
        apt: "gcc-x86-64-linux-gnu",
        dnf: "gcc-x86_64-linux-gnu",
        pacman: "",
        zypper: "cross-x86_64-gcc",
    },
};

/// The compressed image, entered at its 64-bit entry point.
const BZIMAGE: BootImage =
    BootImage { target: "bzImage", file: "arch/x86/boot/bzImage", is_elf: false };

/// The vmlinux, which boots without decompression, if its PVH entry point works; else the bzImage.
fn image(dot_config: &str) -> BootImage {
    if pvh_entry_works(dot_config) { BootImage::VMLINUX } else { BZIMAGE }
}

/// Whether the PVH entry point of a vmlinux with this .config works. With KASAN, the kernel crashes
/// in an instrumented memcmp() before KASAN's shadow memory exists (observed in
/// `xen_prepare_pvh()` of 6.12).
pub(crate) fn pvh_entry_works(dot_config: &str) -> bool {
    dot_config.lines().all(|line| line != "CONFIG_KASAN=y")
}
