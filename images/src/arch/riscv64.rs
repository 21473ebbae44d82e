// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RISC-V, 64 bits.

use super::{BootImage, Facts};
use crate::packages::Packages;

pub(super) const FACTS: Facts = Facts {
    default_kernel: "6.12",
    make_arch: "riscv",
    source_folder: "riscv",
    elf_machine: 243,
    fragment: ("riscv64.config", include_str!("../../../kernel-config/riscv64.config")),
    image,
    cross_compile: "riscv64-linux-gnu-",
    debian_arch: "riscv64",
    compiler_packages: Packages {
        apt: "gcc-riscv64-linux-gnu",
        dnf: "gcc-riscv64-linux-gnu",
        pacman: "riscv64-linux-gnu-gcc",
        zypper: "cross-riscv64-gcc14",
    },
};

/// The uncompressed Image, which QEMU's firmware enters at the load address. The firmware cannot
/// enter a vmlinux, whose addresses are virtual.
fn image(_: &str) -> BootImage {
    BootImage { target: "Image", file: "arch/riscv/boot/Image", is_elf: false }
}
