// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the vDSO of this process, and its `clock_gettime`.

use std::ops::Range;

/// `clock_gettime(2)` of the vDSO.
pub(crate) type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> i32;

/// Names of `clock_gettime` in the vDSOs of all architectures (vdso(7)).
const CLOCK_GETTIME_NAMES: [&[u8]; 2] = [b"__vdso_clock_gettime", b"__kernel_clock_gettime"];

/// Tags of the dynamic section (elf(5)), which the `libc` crate lacks.
const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// The vDSO.
pub(crate) struct Vdso {
    /// The addresses of the vDSO's image.
    pub(crate) range: Range<u64>,
    /// The vDSO's `clock_gettime`, if the vDSO exports one.
    pub(crate) clock_gettime: Option<ClockGettime>,
}

/// Reads a value from the vDSO.
///
/// # Safety
/// The value must lie in the vDSO's image.
unsafe fn read<T: Copy>(address: u64) -> T {
    // SAFETY: by the contract of this function.
    unsafe { (address as *const T).read_unaligned() }
}

/// The vDSO of this process, if it has one.
pub(crate) fn find() -> Option<Vdso> {
    // SAFETY: takes no pointers.
    let base: u64 = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if base == 0 {
        return None;
    }
    let mut end = base;
    let (mut strings, mut symbols, mut symbol_count) = (0, 0, 0);
    // SAFETY: the kernel mapped a valid ELF image at `base`.
    unsafe {
        let elf_header = read::<libc::Elf64_Ehdr>(base);
        for i in 0..u64::from(elf_header.e_phnum) {
            let header_address =
                base + elf_header.e_phoff + i * size_of::<libc::Elf64_Phdr>() as u64;
            let header = read::<libc::Elf64_Phdr>(header_address);
            match header.p_type {
                libc::PT_LOAD => end = end.max(base + header.p_vaddr + header.p_memsz),
                libc::PT_DYNAMIC => {
                    // Each entry (`Elf64_Dyn`) is a word with the tag and a word with the value.
                    let mut entry = base + header.p_vaddr;
                    loop {
                        let [tag, value] = read::<[u64; 2]>(entry);
                        let value = base + value;
                        match tag {
                            DT_NULL => break,
                            DT_STRTAB => strings = value,
                            DT_SYMTAB => symbols = value,
                            // The number of chains is the number of symbols. DT_GNU_HASH is preferred,
                            // since the words of the DT_HASH table have 8 bytes on s390x.
                            DT_HASH if symbol_count == 0 => {
                                symbol_count = u64::from(read::<u32>(value + 4))
                            }
                            DT_GNU_HASH => symbol_count = gnu_hash_count(value),
                            _ => {}
                        }
                        entry += 16;
                    }
                }
                _ => {}
            }
        }
        let clock_gettime = (0..symbol_count)
            .map(|i| read::<libc::Elf64_Sym>(symbols + i * size_of::<libc::Elf64_Sym>() as u64))
            .find(|symbol| {
                let name = strings + u64::from(symbol.st_name);
                let name = std::ffi::CStr::from_ptr(name as *const libc::c_char);
                CLOCK_GETTIME_NAMES.contains(&name.to_bytes()) && symbol.st_value != 0
            })
            .map(|symbol| base + symbol.st_value)
            .map(|address| std::mem::transmute::<*const (), ClockGettime>(address as *const ()));
        Some(Vdso { range: base..end, clock_gettime })
    }
}

/// The number of symbols: one more than the index at the end of the last chain of a GNU hash table.
///
/// # Safety
/// The address must be that of the vDSO's `DT_GNU_HASH`.
unsafe fn gnu_hash_count(table: u64) -> u64 {
    // SAFETY: a GNU hash table has a header of four words, then the Bloom filter, buckets and chains.
    unsafe {
        let [bucket_count, first_hashed, filter_words, _] = read::<[u32; 4]>(table).map(u64::from);
        let buckets = table + 16 + filter_words * 8;
        // A bucket has the index of the first symbol of its chain.
        let last_chain = (0..bucket_count).map(|i| u64::from(read::<u32>(buckets + i * 4))).max();
        let mut index = last_chain.unwrap_or(0);
        if index < first_hashed {
            return first_hashed;
        }
        let chains = buckets + bucket_count * 4;
        // Bit 0 marks the last symbol of a chain.
        while read::<u32>(chains + (index - first_hashed) * 4) & 1 == 0 {
            index += 1;
        }
        index + 1
    }
}
