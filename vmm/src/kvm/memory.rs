// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest memory: a memfd, which is mapped shared at first, and copy-on-write after a snapshot was
//! taken.
//!
//! The mapping has no `PROT_EXEC`, so this process can never execute bytes of the guest.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap, mremap_fixed, munmap};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

use crate::memfd;

/// Guest physical address and size in bytes of each region. In the file, the regions follow each
/// other without gaps.
pub(super) type MemoryRanges = Vec<(GuestAddress, usize)>;

/// Guest memory and the file that backs it.
#[derive(Debug)]
pub(super) struct Memory {
    map: GuestMemoryMmap,
    file: Arc<File>,
}

impl Memory {
    /// Creates zeroed memory.
    ///
    /// # Errors
    /// If there is no descriptor or address space left.
    pub(super) fn new(ranges: &MemoryRanges) -> io::Result<Memory> {
        let bytes: usize = ranges.iter().map(|(_, size)| size).sum();
        let file = Arc::new(memfd::create(c"guest", memfd::Contents::Data)?);
        file.set_len(bytes as u64)?;
        let map = map_regions(ranges, &file, libc::MAP_SHARED)?;
        Ok(Memory { map, file })
    }

    /// Creates memory with the contents of `file`. Writes to the memory do not change the file.
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub(super) fn copy_on_write(ranges: &MemoryRanges, file: &Arc<File>) -> io::Result<Memory> {
        let map = map_regions(ranges, file, libc::MAP_PRIVATE)?;
        Ok(Memory { map, file: file.clone() })
    }

    /// Returns the address and the size of each region.
    pub(super) fn ranges(&self) -> MemoryRanges {
        self.map.iter().map(|region| (region.start_addr(), region.size())).collect()
    }

    /// Returns the mapping in this process.
    pub(super) fn map(&self) -> &GuestMemoryMmap {
        &self.map
    }

    /// Makes the mapping copy-on-write, and returns the file with the current contents. Later
    /// writes to the memory go to private copies of pages. No thread may access the memory
    /// meanwhile.
    ///
    /// # Errors
    /// Those of `mmap(2)` and `mremap(2)`. After an error, the memory is unchanged and usable.
    pub(super) fn freeze(&self) -> io::Result<Arc<File>> {
        // Create all new mappings first, then move them over the old mappings. If `mremap` fails,
        // the old mapping remains (`mremap_to()` in mm/mremap.c). A failed `mmap` with MAP_FIXED
        // would remove the old mapping.
        let private_mappings: Vec<_> = self
            .map
            .iter()
            .map(|region| PrivateMapping::new(&self.file, region))
            .collect::<io::Result<_>>()?;
        for (mapping, region) in private_mappings.into_iter().zip(self.map.iter()) {
            mapping.move_over(region)?;
        }
        Ok(self.file.clone())
    }
}

/// A copy-on-write mapping of the part of the file that backs one region.
struct PrivateMapping {
    address: *mut std::ffi::c_void,
    size: usize,
}

impl PrivateMapping {
    fn new(file: &File, region: &GuestRegionMmap) -> io::Result<PrivateMapping> {
        let offset = region.file_offset().map_or(0, FileOffset::start);
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address =
            unsafe { mmap(std::ptr::null_mut(), region.size(), prot, flags, file, offset) }?;
        Ok(PrivateMapping { address, size: region.size() })
    }

    /// Replaces the mapping of the region by this mapping.
    fn move_over(self, region: &GuestRegionMmap) -> io::Result<()> {
        // SAFETY: both mappings belong to this process and have the same size, contents and rights,
        // so that the region stays valid. Nothing refers to the old address of `self`.
        unsafe {
            mremap_fixed(
                self.address,
                self.size,
                self.size,
                MremapFlags::MAYMOVE,
                region.as_ptr().cast(),
            )
        }?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for PrivateMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and nothing refers to the mapping.
        let _ = unsafe { munmap(self.address, self.size) };
    }
}

/// Maps the regions of `file` with `sharing`: `MAP_SHARED` or `MAP_PRIVATE`.
fn map_regions(
    ranges: &MemoryRanges,
    file: &Arc<File>,
    sharing: libc::c_int,
) -> io::Result<GuestMemoryMmap> {
    let mut offset = 0;
    let mut regions = Vec::new();
    for &(address, size) in ranges {
        let region = MmapRegionBuilder::new(size)
            .with_file_offset(FileOffset::from_arc(file.clone(), offset))
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(sharing | libc::MAP_NORESERVE)
            .build()
            .map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(region, address)
            .ok_or_else(|| io::Error::other("memory beyond the end of the address space"))?;
        regions.push(region);
        offset += size as u64;
    }
    GuestMemoryMmap::from_regions(regions).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    fn ranges() -> MemoryRanges {
        vec![(GuestAddress(0), 0x4000), (GuestAddress(0x10_0000), 0x2000)]
    }

    #[test]
    fn writes_after_a_freeze_reach_neither_the_file_nor_its_copies() {
        let memory = Memory::new(&ranges()).unwrap();
        let (low, high) = (GuestAddress(0x1000), GuestAddress(0x10_1000));
        assert_eq!(memory.ranges(), ranges());
        memory.map().write_obj(1u32, low).unwrap();
        memory.map().write_obj(2u32, high).unwrap();
        let file = memory.freeze().unwrap();
        assert_eq!(memory.map().read_obj::<u32>(high).unwrap(), 2);
        memory.map().write_obj(3u32, high).unwrap();

        let copy = Memory::copy_on_write(&ranges(), &file).unwrap();
        assert_eq!(copy.map().read_obj::<u32>(low).unwrap(), 1);
        assert_eq!(copy.map().read_obj::<u32>(high).unwrap(), 2);
        copy.map().write_obj(4u32, low).unwrap();
        let other = Memory::copy_on_write(&ranges(), &file).unwrap();
        assert_eq!(other.map().read_obj::<u32>(low).unwrap(), 1);
        assert_eq!(memory.map().read_obj::<u32>(low).unwrap(), 1);
        drop((memory, copy));
        assert_eq!(other.map().read_obj::<u32>(high).unwrap(), 2);
    }

    #[test]
    fn guest_memory_is_mapped_without_exec_permission() {
        let memory = Memory::new(&ranges()).unwrap();
        memory.freeze().unwrap();
        let start = memory.map().iter().next().unwrap().as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&format!("{start:x}-"))).unwrap();
        assert!(line.contains(" rw-p "), "{line}");
    }
}
