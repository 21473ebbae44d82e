// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads a vmlinux or a bzImage.
//!
//! This module checks the headers first, so that errors name the problem. `linux-loader` then reads
//! the file straight into guest memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use linux_loader::bootparam::setup_header;
use linux_loader::elf::{
    EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, Elf64_Ehdr, Elf64_Phdr, PT_LOAD, PT_NOTE,
};
use linux_loader::loader::{BzImage, Elf, KernelLoader, PvhBootCapability};
use vm_memory::{ByteValued, GuestAddress, GuestMemoryMmap};

use super::layout::{CMDLINE_SIZE, HIGH_MEMORY, MMIO_HOLE_END};
use super::{KernelEntry, LoadError, low_memory_end};

/// A kernel in guest memory.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// The entry point for the boot CPU.
    pub(super) entry: KernelEntry,
    /// End of the memory that the kernel uses before it reads the memory map.
    pub(super) end: u64,
    /// Highest possible end of the initramfs.
    pub(super) initramfs_end: u64,
    /// Longest command line in bytes, without its terminator.
    pub(super) cmdline_size: usize,
    /// Setup header of a bzImage; a vmlinux has none.
    pub(super) setup_header: Option<setup_header>,
}

/// Offset of the setup header in a bzImage, and in the zero page.
const SETUP_HEADER_OFFSET: u64 = 0x1f1;
/// Offset of the setup header's magic number in a bzImage.
const SETUP_MAGIC_OFFSET: u64 = 0x202;
/// Magic number of the setup header.
const SETUP_MAGIC: [u8; 4] = *b"HdrS";
/// Boot protocol 2.12, the first with `xloadflags`: Linux 3.8.
const PROTOCOL_WITH_XLOADFLAGS: u16 = 0x20c;
/// `xloadflags`: there is a 64-bit entry point at 200h.
const XLF_KERNEL_64: u16 = 1;
/// Offset of the 64-bit entry point from the start of the loaded kernel.
const ENTRY_64_OFFSET: u64 = 0x200;
/// `e_machine` of x86-64.
const EM_X86_64: u16 = 62;

/// Loads the file `path`.
///
/// # Errors
/// [`LoadError`] if the file cannot be read, is not a kernel that can be entered, or does not fit.
pub(super) fn load(memory: &GuestMemoryMmap, path: &Path) -> Result<Kernel, LoadError> {
    let read_error = |source| LoadError::Read { file: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let size = file.metadata().map_err(read_error)?.len();
    let mut kernel_file = KernelFile { path, file, size, memory_end: low_memory_end(memory) };
    if kernel_file.read_magic(0)? == Some(*b"\x7fELF") {
        return load_vmlinux(memory, &mut kernel_file);
    }
    if kernel_file.read_magic(SETUP_MAGIC_OFFSET)? == Some(SETUP_MAGIC) {
        return load_bz_image(memory, &mut kernel_file);
    }
    Err(LoadError::NotAKernel { file: path.to_owned() })
}

/// Loads the segments of a vmlinux at their physical addresses.
fn load_vmlinux(
    memory: &GuestMemoryMmap,
    kernel_file: &mut KernelFile,
) -> Result<Kernel, LoadError> {
    let not_vmlinux = |reason| LoadError::NotVmlinux { file: kernel_file.path.to_owned(), reason };
    let header: Elf64_Ehdr = kernel_file.read_object(0, "ELF header")?;
    if header.e_ident[EI_CLASS] != ELFCLASS64
        || header.e_ident[EI_DATA] != ELFDATA2LSB
        || header.e_machine != EM_X86_64
    {
        return Err(not_vmlinux("it is for another processor"));
    }
    if usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>() {
        return Err(not_vmlinux("its program headers have a wrong size"));
    }
    let mut end = 0;
    for index in 0..u64::from(header.e_phnum) {
        let offset = header.e_phoff.saturating_add(index * size_of::<Elf64_Phdr>() as u64);
        let segment: Elf64_Phdr = kernel_file.read_object(offset, "table of program headers")?;
        // A segment without contents in the file may have any offset.
        if matches!(segment.p_type, PT_LOAD | PT_NOTE) && segment.p_filesz > 0 {
            kernel_file.check_in_file(segment.p_offset, segment.p_filesz, "last segment")?;
        }
        let size = segment.p_memsz.max(segment.p_filesz);
        if segment.p_type == PT_LOAD && size > 0 {
            end = end.max(kernel_file.check_in_memory(segment.p_paddr, size)?);
        }
    }
    if end == 0 {
        return Err(not_vmlinux("it has no segment to load"));
    }
    let loaded = Elf::load(memory, None, &mut kernel_file.file, None)
        .map_err(|error| kernel_file.loader_error(error))?;
    let PvhBootCapability::PvhEntryPresent(GuestAddress(entry)) = loaded.pvh_boot_cap else {
        return Err(LoadError::NoPvhNote { file: kernel_file.path.to_owned() });
    };
    Ok(Kernel {
        entry: KernelEntry::Pvh { entry },
        end,
        initramfs_end: MMIO_HOLE_END,
        cmdline_size: CMDLINE_SIZE - 1,
        setup_header: None,
    })
}

/// Loads a bzImage at its preferred address (`pref_address`), so that the kernel need not relocate
/// itself.
fn load_bz_image(
    memory: &GuestMemoryMmap,
    kernel_file: &mut KernelFile,
) -> Result<Kernel, LoadError> {
    let header: setup_header = kernel_file.read_object(SETUP_HEADER_OFFSET, "setup header")?;
    if header.version < PROTOCOL_WITH_XLOADFLAGS || header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(LoadError::No64BitEntry { file: kernel_file.path.to_owned() });
    }
    // `setup_sects` 0 means 4 (`Documentation/arch/x86/boot.rst`). The boot sector is not counted.
    let sectors = if header.setup_sects == 0 { 4 } else { u64::from(header.setup_sects) };
    let setup_size = (sectors + 1) * 512;
    let payload_offset = setup_size + u64::from(header.payload_offset);
    kernel_file.check_in_file(
        payload_offset,
        u64::from(header.payload_length),
        "compressed kernel",
    )?;
    // The kernel needs the larger of two sizes: its contents in the file, and its memory for
    // decompression (`init_size`).
    let file_contents_size = kernel_file.size.saturating_sub(setup_size);
    let end = kernel_file.check_in_memory(
        header.pref_address,
        u64::from(header.init_size).max(file_contents_size),
    )?;
    let address = GuestAddress(header.pref_address);
    let loaded = BzImage::load(memory, Some(address), &mut kernel_file.file, None)
        .map_err(|error| kernel_file.loader_error(error))?;
    Ok(Kernel {
        entry: KernelEntry::Linux64 { entry: header.pref_address + ENTRY_64_OFFSET },
        end,
        initramfs_end: u64::from(header.initrd_addr_max) + 1,
        cmdline_size: usize::try_from(header.cmdline_size).unwrap_or(usize::MAX),
        setup_header: loaded.setup_header,
    })
}

/// A kernel file, and the end of the memory that it must fit in.
struct KernelFile<'a> {
    path: &'a Path,
    file: File,
    /// Size of the file in bytes.
    size: u64,
    /// End of guest memory below the MMIO hole.
    memory_end: u64,
}

impl KernelFile<'_> {
    /// Reads the four bytes at `offset`, if the file has them.
    fn read_magic(&self, offset: u64) -> Result<Option<[u8; 4]>, LoadError> {
        let mut bytes = [0; 4];
        if self.size < offset + 4 {
            return Ok(None);
        }
        self.read(&mut bytes, offset)?;
        Ok(Some(bytes))
    }

    /// Reads the structure at `offset`. `part` names the structure in messages.
    fn read_object<T: ByteValued + Default>(
        &self,
        offset: u64,
        part: &'static str,
    ) -> Result<T, LoadError> {
        self.check_in_file(offset, size_of::<T>() as u64, part)?;
        let mut object = T::default();
        self.read(object.as_mut_slice(), offset)?;
        Ok(object)
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), LoadError> {
        let read_error = |source| LoadError::Read { file: self.path.to_owned(), source };
        self.file.read_exact_at(bytes, offset).map_err(read_error)
    }

    /// Checks that `length` bytes at `offset` are inside the file. `part` names these bytes in
    /// messages.
    fn check_in_file(&self, offset: u64, length: u64, part: &'static str) -> Result<(), LoadError> {
        let end = offset.saturating_add(length);
        if end > self.size {
            return Err(LoadError::Truncated {
                file: self.path.to_owned(),
                part,
                end,
                size: self.size,
            });
        }
        Ok(())
    }

    /// Checks that `size` bytes at `address` are in guest memory and above the first MiB. Returns
    /// their end.
    fn check_in_memory(&self, address: u64, size: u64) -> Result<u64, LoadError> {
        let end = address.saturating_add(size);
        if address < HIGH_MEMORY {
            return Err(LoadError::TooLow { file: self.path.to_owned(), address });
        }
        if end > self.memory_end {
            let memory_end = self.memory_end;
            return Err(LoadError::KernelTooBig { file: self.path.to_owned(), end, memory_end });
        }
        Ok(end)
    }

    fn loader_error(&self, source: linux_loader::loader::Error) -> LoadError {
        LoadError::Loader { file: self.path.to_owned(), source }
    }
}
