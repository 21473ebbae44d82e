//! The guest's memory: one memfd, mapped shared while the guest boots, copied on write once its
//! state is kept.
//!
//! Mapped without the right to execute: no byte of the guest is ever code here.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

use crate::memfd;

/// Where memory is in the guest's physical address space, and how much: address and bytes. In the
/// file, one follows the other.
pub(super) type Ranges = Vec<(GuestAddress, usize)>;

/// Memory of a guest and the file behind it.
#[derive(Debug)]
pub(super) struct Memory {
    map: GuestMemoryMmap,
    file: Arc<File>,
}

impl Memory {
    /// Empty memory.
    ///
    /// # Errors
    /// If there is no descriptor or address space left.
    pub(super) fn new(ranges: &Ranges) -> io::Result<Memory> {
        let bytes: usize = ranges.iter().map(|(_, size)| size).sum();
        let file = Arc::new(memfd::create(c"guest", memfd::Use::Data)?);
        file.set_len(bytes as u64)?;
        let map = map(ranges, &file, libc::MAP_SHARED)?;
        Ok(Memory { map, file })
    }

    /// Memory that begins as what `file` holds and leaves it as it is.
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub(super) fn copy_on_write(ranges: &Ranges, file: &Arc<File>) -> io::Result<Memory> {
        let map = map(ranges, file, libc::MAP_PRIVATE)?;
        Ok(Memory { map, file: file.clone() })
    }

    /// Where it is.
    pub(super) fn ranges(&self) -> Ranges {
        self.map.iter().map(|region| (region.start_addr(), region.size())).collect()
    }

    /// The mapping.
    pub(super) fn map(&self) -> &GuestMemoryMmap {
        &self.map
    }

    /// Leaves what is in memory now in the file, which is returned, for ever; what is written from
    /// now on goes to copies of its pages. Nothing may use the memory meanwhile.
    ///
    /// # Errors
    /// If mapping fails, and then the memory is as it was.
    pub(super) fn freeze(&self) -> io::Result<Arc<File>> {
        for region in self.map.iter() {
            let offset = region.file_offset().map_or(0, FileOffset::start);
            let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: replaces a mapping of ours, of which the region keeps address and size, by
            // one of the same file with the same contents, rights and size.
            let result = unsafe {
                libc::mmap(
                    region.as_ptr().cast(),
                    region.size(),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_FIXED,
                    self.file.as_raw_fd(),
                    offset,
                )
            };
            if result == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(self.file.clone())
    }
}

fn map(ranges: &Ranges, file: &Arc<File>, sharing: libc::c_int) -> io::Result<GuestMemoryMmap> {
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

    fn ranges() -> Ranges {
        vec![(GuestAddress(0), 0x4000), (GuestAddress(0x10_0000), 0x2000)]
    }

    #[test]
    fn frozen_memory_goes_on_and_copies_begin_where_it_was() {
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
    fn nothing_of_the_guest_can_be_executed() {
        let memory = Memory::new(&ranges()).unwrap();
        memory.freeze().unwrap();
        let start = memory.map().iter().next().unwrap().as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&format!("{start:x}-"))).unwrap();
        assert!(line.contains(" rw-p "), "{line}");
    }
}
