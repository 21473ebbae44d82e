// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads an arm64 Image (`Documentation/arch/arm64/booting.rst`, section 4).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vm_memory::GuestMemoryMmap;

use super::LoadError;
use super::layout::MEMORY_START;
use crate::kvm::load::read_file;

/// Size of the header in bytes.
const HEADER_SIZE: usize = 64;
/// Offset of the magic number in the header.
const MAGIC_OFFSET: usize = 56;
/// The magic number.
const MAGIC: [u8; 4] = *b"ARM\x64";
/// Flag: the kernel is big-endian.
const BIG_ENDIAN: u64 = 1;
/// `text_offset` of kernels before Linux 3.17, whose `image_size` is 0.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// A kernel in guest memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    /// Physical address of the kernel's first byte, which is also its first instruction.
    pub(super) entry: u64,
    /// Physical end address of the kernel, with its `.bss`.
    pub(super) end: u64,
}

/// Loads the file `path` below `memory_end`.
///
/// # Errors
/// [`LoadError`] if the file cannot be read, is not an Image, or does not fit.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    path: &Path,
    memory_end: u64,
) -> Result<Kernel, LoadError> {
    let read_error = |source| LoadError::Read { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_error)?;
    let size = file.metadata().map_err(read_error)?.len();
    let mut header = [0; HEADER_SIZE];
    if size < HEADER_SIZE as u64 {
        return Err(LoadError::NotAKernel { file: path.to_owned() });
    }
    file.read_exact_at(&mut header, 0).map_err(read_error)?;
    if header[MAGIC_OFFSET..MAGIC_OFFSET + 4] != MAGIC {
        return Err(LoadError::NotAKernel { file: path.to_owned() });
    }
    let field = |offset: usize| {
        u64::from_le_bytes(
            header[offset..offset + 8].try_into().expect("eight bytes of the header"),
        )
    };
    let (text_offset, image_size, flags) = (field(8), field(16), field(24));
    if flags & BIG_ENDIAN != 0 {
        return Err(LoadError::BigEndian { file: path.to_owned() });
    }
    let text_offset = if image_size == 0 { OLD_TEXT_OFFSET } else { text_offset };
    let entry = MEMORY_START.saturating_add(text_offset);
    let end = entry.saturating_add(image_size.max(size));
    if end > memory_end {
        return Err(LoadError::KernelTooBig { file: path.to_owned(), end, memory_end });
    }
    read_file(memory, &mut file, entry, size).map_err(read_error)?;
    Ok(Kernel { entry, end })
}
