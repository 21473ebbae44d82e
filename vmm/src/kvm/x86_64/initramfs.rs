// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads the initramfs: page-aligned, as high in memory as the kernel can reach.

use std::path::Path;

use vm_memory::GuestMemoryMmap;

use super::kernel::Kernel;
use super::{LoadError, low_memory_end};
use crate::kvm::load;

/// Position of the initramfs in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initramfs {
    /// Physical address, below the MMIO hole.
    pub(super) address: u32,
    /// Size in bytes.
    pub(super) size: u32,
}

/// Reads the file `path` into guest memory: above the kernel, and as high as the kernel can reach.
///
/// # Errors
/// [`LoadError`] if the file cannot be read or does not fit.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    path: &Path,
    kernel: &Kernel,
) -> Result<Initramfs, LoadError> {
    let end = low_memory_end(memory).min(kernel.initramfs_end);
    let range = load::load_initramfs(memory, path, kernel.end, end)?;
    let size = range.end - range.start;
    let too_big = |_| LoadError::InitramfsTooBig {
        file: path.to_owned(),
        size,
        available_size: u32::MAX.into(),
    };
    Ok(Initramfs {
        address: u32::try_from(range.start).map_err(too_big)?,
        size: u32::try_from(size).map_err(too_big)?,
    })
}
