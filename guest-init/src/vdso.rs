// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the vDSO of this process, and its `clock_gettime`.

use std::ops::Range;

/// `clock_gettime(2)` of the vDSO.
pub(crate) type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> i32;

/// Names of `clock_gettime` in the vDSOs of all architectures (vdso(7)).
const CLOCK_GETTIME_NAMES: [&[u8]; 2] = [b"__vdso_clock_gettime", b"__kernel_clock_gettime"];

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
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
    // SAFETY: the kernel mapped a valid ELF image at `base`; the offsets are those of elf(5), 64 bits.
    unsafe {
        let headers = base + read::<u64>(base + 32);
        for i in 0..u64::from(read::<u16>(base + 56)) {
            let header = headers + i * 56;
            match read::<u32>(header) {
                PT_LOAD => {
                    end = end.max(base + read::<u64>(header + 16) + read::<u64>(header + 40))
                }
                PT_DYNAMIC => {
                    let mut entry = base + read::<u64>(header + 16);
                    while read::<u64>(entry) != 0 {
                        let value = base + read::<u64>(entry + 8);
                        match read::<u64>(entry) {
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
            .map(|i| symbols + i * 24)
            .find(|symbol| {
                let name = strings + u64::from(read::<u32>(*symbol));
                let name = std::ffi::CStr::from_ptr(name as *const libc::c_char);
                CLOCK_GETTIME_NAMES.contains(&name.to_bytes()) && read::<u64>(symbol + 8) != 0
            })
            .map(|symbol| base + read::<u64>(symbol + 8))
            .map(|address| std::mem::transmute::<*const (), ClockGettime>(address as *const ()));
        Some(Vdso { range: base..end, clock_gettime })
    }
}

/// The number of symbols, which is the end of the last chain of a GNU hash table.
///
/// # Safety
/// The address must be that of the vDSO's `DT_GNU_HASH`.
unsafe fn gnu_hash_count(table: u64) -> u64 {
    // SAFETY: a GNU hash table has a header of four words, then the Bloom filter, buckets and chains.
    unsafe {
        let (buckets, first) = (u64::from(read::<u32>(table)), u64::from(read::<u32>(table + 4)));
        let filter = u64::from(read::<u32>(table + 8));
        let start = table + 16 + filter * 8;
        let last = (0..buckets).map(|i| u64::from(read::<u32>(start + i * 4))).max().unwrap_or(0);
        if last < first {
            return first;
        }
        let chains = start + buckets * 4;
        let mut index = last;
        while read::<u32>(chains + (index - first) * 4) & 1 == 0 {
            index += 1;
        }
        index + 1
    }
}
