// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reads executables of 64-bit Windows (PE32+): sections and relocations. Imports are not supported, since
//! the sandbox has no DLLs. The reader refuses files with unknown or unsupported contents, so that an
//! accepted program runs as intended. The names are those of Microsoft's "PE Format"; offsets in headers are
//! in bytes.

use super::image::{Image, Segment};
use super::program_memory;
use std::fmt;
use std::ops::Range;

/// The reason why the sandbox cannot run a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file has no MZ or PE signature.
    NotPe,
    /// The file ends before this part.
    Truncated(&'static str),
    /// The file is for this other machine (`IMAGE_FILE_MACHINE_*`).
    Machine(u16),
    /// The file is not a program but of this kind.
    Kind(&'static str),
    /// The file needs this feature, which the sandbox does not support.
    Needs(&'static str),
    /// The headers are invalid for this reason.
    Header(&'static str),
    /// The program is larger than the memory for its image.
    TooLarge,
    /// The section with this index is invalid.
    Section(usize, &'static str),
    /// The entry point, at this offset, is not in an executable section.
    Entry(u32),
    /// The relocations are invalid.
    Relocations(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotPe => f.write_str("it is not a PE file"),
            Refusal::Truncated(part) => write!(f, "it is truncated: it ends before {part}"),
            Refusal::Machine(machine) => {
                let name = match machine {
                    0x14c => "i386",
                    0x1c0 | 0x1c4 => "arm",
                    0xaa64 => "arm64",
                    _ => "unknown",
                };
                write!(f, "it is for {name} ({machine:#x}), not for x86-64")
            }
            Refusal::Kind(kind) => write!(f, "it is not a program but {kind}"),
            Refusal::Needs(feature) => {
                write!(f, "it has {feature}, which the sandbox does not support")
            }
            Refusal::Header(reason) => write!(f, "its headers are invalid: {reason}"),
            Refusal::TooLarge => write!(f, "it is larger in memory than {} KiB", MAX_SIZE >> 10),
            Refusal::Section(index, reason) => write!(f, "its section {index} {reason}"),
            Refusal::Entry(offset) => {
                write!(f, "its entry point, {offset:#x}, is not in an executable section")
            }
            Refusal::Relocations(reason) => write!(f, "its relocations are invalid: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Maximum number of bytes of a program in memory.
const MAX_SIZE: u64 = program_memory::IMAGE_LENGTH;

const AMD64: u16 = 0x8664;
const PE32_PLUS: u16 = 0x20b;
const PAGE_SIZE: u32 = 4096;

/// Characteristics of a file.
const RELOCATIONS_STRIPPED: u16 = 0x0001;
const EXECUTABLE: u16 = 0x0002;
const LIBRARY: u16 = 0x2000;

/// Characteristics of a section, and the corresponding `PROT_*`.
const SECTION_PROTECTIONS: [(u32, i32); 3] = [
    (0x2000_0000, libc::PROT_EXEC),
    (0x4000_0000, libc::PROT_READ),
    (0x8000_0000, libc::PROT_WRITE),
];

/// Indices of data directories. A program with a directory in `UNSUPPORTED_DIRECTORIES` is refused.
const RELOCATIONS: usize = 5;
const IMPORTS: usize = 1;
const UNSUPPORTED_DIRECTORIES: [(usize, &str); 3] =
    [(13, "delayed imports"), (9, "thread-local storage"), (14, "a CLR header")];

/// Length in bytes of an entry of the import directory. An entry of zeros ends the list.
const IMPORT_ENTRY_LENGTH: u32 = 20;

/// Types of relocations: `IMAGE_REL_BASED_ABSOLUTE` (padding) and `IMAGE_REL_BASED_DIR64`.
const RELOCATION_PADDING: u16 = 0;
const RELOCATION_ADDRESS: u16 = 10;

/// The content of a file. A read beyond the end of the file is an error that names the missing part.
struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn bytes(&self, offset: u64, length: u64, part: &'static str) -> Result<&'a [u8], Refusal> {
        let bytes = || {
            let end = usize::try_from(offset.checked_add(length)?).ok()?;
            self.0.get(usize::try_from(offset).ok()?..end)
        };
        bytes().ok_or(Refusal::Truncated(part))
    }

    fn u16(&self, offset: u64, part: &'static str) -> Result<u16, Refusal> {
        let bytes = self.bytes(offset, 2, part)?;
        Ok(u16::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }

    fn u32(&self, offset: u64, part: &'static str) -> Result<u32, Refusal> {
        let bytes = self.bytes(offset, 4, part)?;
        Ok(u32::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }

    fn u64(&self, offset: u64, part: &'static str) -> Result<u64, Refusal> {
        let bytes = self.bytes(offset, 8, part)?;
        Ok(u64::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }
}

/// A section of the image.
struct Section {
    /// The offsets of the section in the image.
    memory: Range<u32>,
    /// `PROT_*`
    protection: i32,
}

/// The fields of the headers that the reader uses.
struct Headers {
    relocations_stripped: bool,
    /// The offset of the section table in the file.
    section_table: u64,
    /// The number of sections.
    section_count: usize,
    /// The size of the whole image in memory, in bytes.
    size: u32,
    /// The size of the headers in memory, in bytes.
    headers_size: u32,
    /// The offset of the entry point in the image.
    entry: u32,
    /// The preferred address of the image.
    preferred_base: u64,
    /// The data directories: offset in the image and length.
    directories: [(u32, u32); DIRECTORY_COUNT],
}

const DIRECTORY_COUNT: usize = 16;

/// Reads the headers.
fn read_headers(file: &File<'_>) -> Result<Headers, Refusal> {
    const FILE: &str = "the end of its file header";
    const OPTIONAL: &str = "the end of its optional header";
    if !file.0.starts_with(b"MZ") {
        return Err(Refusal::NotPe);
    }
    // The DOS header has the offset of the PE header at 0x3c.
    let header = u64::from(file.u32(0x3c, "the offset of its PE header")?);
    if file.bytes(header, 4, "its PE header")? != b"PE\0\0" {
        return Err(Refusal::NotPe);
    }
    // The file header: Machine at 4, NumberOfSections at 6, SizeOfOptionalHeader at 20, Characteristics at 22.
    let machine = file.u16(header + 4, FILE)?;
    if machine != AMD64 {
        return Err(Refusal::Machine(machine));
    }
    let characteristics = file.u16(header + 22, FILE)?;
    if characteristics & LIBRARY != 0 {
        return Err(Refusal::Kind("a library"));
    }
    if characteristics & EXECUTABLE == 0 {
        return Err(Refusal::Kind("an object that was never linked"));
    }
    // The optional header: Magic at 0, AddressOfEntryPoint at 16, ImageBase at 24, SectionAlignment at 32,
    // SizeOfImage at 56, SizeOfHeaders at 60, NumberOfRvaAndSizes at 108, data directories from 112 on.
    let optional = header + 24;
    let length = u64::from(file.u16(header + 20, FILE)?);
    file.bytes(optional, length, OPTIONAL)?;
    if file.u16(optional, OPTIONAL)? != PE32_PLUS {
        return Err(Refusal::Header("the magic number is not that of PE32+"));
    }
    let count = file.u32(optional + 108, OPTIONAL)? as usize;
    if count > DIRECTORY_COUNT || length < 112 + 8 * count as u64 {
        return Err(Refusal::Header("the data directories do not fit the optional header"));
    }
    let mut directories = [(0, 0); DIRECTORY_COUNT];
    for (offset, directory) in (optional + 112..).step_by(8).zip(&mut directories).take(count) {
        *directory = (file.u32(offset, OPTIONAL)?, file.u32(offset + 4, OPTIONAL)?);
    }
    for (index, feature) in UNSUPPORTED_DIRECTORIES {
        if directories[index] != (0, 0) {
            return Err(Refusal::Needs(feature));
        }
    }
    if file.u32(optional + 32, OPTIONAL)? != PAGE_SIZE {
        return Err(Refusal::Header("sections are not aligned to pages"));
    }
    let size = file.u32(optional + 56, OPTIONAL)?;
    let headers_size = file.u32(optional + 60, OPTIONAL)?;
    if u64::from(size) > MAX_SIZE {
        return Err(Refusal::TooLarge);
    }
    if size == 0 || size % PAGE_SIZE != 0 || headers_size == 0 || headers_size > size {
        return Err(Refusal::Header("the sizes of image and headers do not agree"));
    }
    Ok(Headers {
        relocations_stripped: characteristics & RELOCATIONS_STRIPPED != 0,
        section_table: optional + length,
        section_count: file.u16(header + 6, FILE)?.into(),
        size,
        headers_size,
        entry: file.u32(optional + 16, OPTIONAL)?,
        preferred_base: file.u64(optional + 24, OPTIONAL)?,
        directories,
    })
}

/// Reads a program, relocated to the beginning of the [program's memory](program_memory).
///
/// # Errors
/// [`Refusal`]
pub fn read(bytes: &[u8]) -> Result<Image, Refusal> {
    let file = File(bytes);
    let headers = read_headers(&file)?;
    let mut memory = vec![0; headers.size as usize];
    let header_bytes = file.bytes(0, headers.headers_size.into(), "the end of its headers")?;
    memory[..header_bytes.len()].copy_from_slice(header_bytes);
    let sections = load_sections(&file, &headers, &mut memory)?;
    // Some linkers write an import list that has only its end entry, which consists of zeros.
    let (imports, length) = headers.directories[IMPORTS];
    if length != 0 {
        let end = imports.checked_add(IMPORT_ENTRY_LENGTH);
        let first_entry = end.and_then(|end| memory.get(imports as usize..end as usize));
        if first_entry.is_none_or(|first_entry| first_entry.iter().any(|byte| *byte != 0)) {
            return Err(Refusal::Needs("imports"));
        }
    }
    let entry = headers.entry;
    let is_executable = |section: &Section| section.protection & libc::PROT_EXEC != 0;
    if !sections.iter().any(|section| is_executable(section) && section.memory.contains(&entry)) {
        return Err(Refusal::Entry(entry));
    }
    let load_offset = program_memory::BASE.wrapping_sub(headers.preferred_base);
    if load_offset != 0 {
        let (start, length) = headers.directories[RELOCATIONS];
        if headers.relocations_stripped || length == 0 {
            return Err(Refusal::Relocations(
                "there are none, and its preferred address is not free",
            ));
        }
        relocate(&mut memory, start, length, load_offset, &sections)?;
    }
    let headers_section = Section { memory: 0..headers.headers_size, protection: libc::PROT_READ };
    let segments = std::iter::once(&headers_section).chain(&sections);
    let segments = segments.map(|section| segment(section, &memory)).collect();
    Ok(Image { segments, entry: program_memory::BASE + u64::from(entry) })
}

/// Reads the section table, and copies the contents of the sections into the image in `memory`.
fn load_sections(
    file: &File<'_>,
    headers: &Headers,
    memory: &mut [u8],
) -> Result<Vec<Section>, Refusal> {
    const TABLE: &str = "the end of its section table";
    if headers.section_count == 0 {
        return Err(Refusal::Header("there are no sections"));
    }
    let mut next_free = headers.headers_size.next_multiple_of(PAGE_SIZE);
    let mut sections = Vec::new();
    for index in 0..headers.section_count {
        // An entry has 40 bytes: VirtualSize at 8, VirtualAddress at 12, SizeOfRawData at 16,
        // PointerToRawData at 20, Characteristics at 36.
        let entry = headers.section_table + 40 * index as u64;
        let refusal = |reason| Refusal::Section(index, reason);
        let [virtual_size, start, raw_size, raw_start] =
            [8, 12, 16, 20].map(|offset| file.u32(entry + offset, TABLE));
        let (virtual_size, start) = (virtual_size?, start?);
        let (raw_size, raw_start) = (raw_size?, raw_start?);
        let characteristics = file.u32(entry + 36, TABLE)?;
        let size = if virtual_size == 0 { raw_size } else { virtual_size };
        if size == 0 {
            return Err(refusal("has no length"));
        }
        if start % PAGE_SIZE != 0 {
            return Err(refusal("does not begin at a page"));
        }
        if start < next_free {
            return Err(refusal("overlaps the part before it"));
        }
        let end = start.checked_add(size).filter(|end| *end as usize <= memory.len());
        let end = end.ok_or(refusal("is not within the image"))?;
        let stored_length = u64::from(raw_size.min(size));
        let bytes = file.bytes(raw_start.into(), stored_length, "the end of a section")?;
        memory[start as usize..][..bytes.len()].copy_from_slice(bytes);
        let next_page = end.checked_next_multiple_of(PAGE_SIZE);
        next_free = next_page.ok_or(refusal("is not within the image"))?;
        let protection = SECTION_PROTECTIONS.iter().filter(|(flag, _)| characteristics & flag != 0);
        let protection = protection.fold(0, |all, (_, protection)| all | protection);
        sections.push(Section { memory: start..end, protection });
    }
    Ok(sections)
}

/// Adds `load_offset` to each pointer in the relocation table, which is at `start` in the image in `memory`.
fn relocate(
    memory: &mut [u8],
    start: u32,
    length: u32,
    load_offset: u64,
    sections: &[Section],
) -> Result<(), Refusal> {
    let refusal = Refusal::Relocations;
    let end = start.checked_add(length).filter(|end| *end as usize <= memory.len());
    let end = end.ok_or(refusal("they are not within the image"))?;
    // A copy, in case relocations change the table itself.
    let table = memory[start as usize..end as usize].to_vec();
    let table = File(&table);
    let mut block = 0;
    while block < u64::from(length) {
        const BLOCK: &str = "the end of a block of relocations";
        // A block has the offset of a page, the size of the block, and an entry of 16 bits for each pointer in
        // the page: the type in the high 4 bits, the offset in the page in the low 12 bits.
        let (page, size) = (table.u32(block, BLOCK)?, u64::from(table.u32(block + 4, BLOCK)?));
        if size < 8 || size % 2 != 0 {
            return Err(refusal("the length of a block is invalid"));
        }
        for offset in (8..size).step_by(2) {
            let entry = table.u16(block + offset, BLOCK)?;
            match entry >> 12 {
                RELOCATION_PADDING => continue,
                RELOCATION_ADDRESS => {}
                _ => return Err(refusal("one is of a kind that x86-64 does not have")),
            }
            let start = page.checked_add(u32::from(entry & 0xfff));
            let range = start.and_then(|start| Some(start..start.checked_add(8)?));
            let is_in_section = |range: &Range<u32>| {
                let contains_range =
                    |s: &Section| s.memory.start <= range.start && range.end <= s.memory.end;
                sections.iter().any(contains_range)
            };
            let range =
                range.filter(is_in_section).ok_or(refusal("one is not within a section"))?;
            let pointer = &mut memory[range.start as usize..range.end as usize];
            let old = u64::from_le_bytes(std::array::from_fn(|i| pointer[i]));
            pointer.copy_from_slice(&old.wrapping_add(load_offset).to_le_bytes());
        }
        block += size;
    }
    Ok(())
}

/// The segment of a section, without the zeros at the end of the section.
fn segment(section: &Section, memory: &[u8]) -> Segment {
    let Range { start, end } = section.memory;
    let bytes = &memory[start as usize..end as usize];
    let stored_length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Segment {
        address: program_memory::BASE + u64::from(start),
        bytes: bytes[..stored_length].to_vec(),
        length: u64::from(end - start).next_multiple_of(program_memory::PAGE_SIZE),
        protection: section.protection,
    }
}

#[cfg(test)]
mod tests;
