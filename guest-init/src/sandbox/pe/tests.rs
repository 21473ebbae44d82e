// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

const TEXT: u32 = 0x1000;
const DATA: u32 = 0x2000;
const RELOC: u32 = 0x3000;

/// A section: offset and size in the image, offset and size in the file, characteristics.
type Row = [u32; 5];

/// Characteristics of sections.
const CODE: u32 = 0x6000_0020;
const WRITABLE: u32 = 0xc000_0040;
const READABLE: u32 = 0x4000_0040;

/// The fields of a PE file, which tests change before [`Program::bytes`] writes the file.
struct Program {
    machine: u16,
    characteristics: u16,
    magic: u16,
    entry: u32,
    base: u64,
    alignment: u32,
    size: u32,
    headers_size: u32,
    section_count: u16,
    directory_count: u32,
    directories: [(u32, u32); 16],
    sections: Vec<Row>,
    relocations: Vec<u8>,
}

impl Default for Program {
    fn default() -> Program {
        let relocations = block(DATA, &[0xa008, 0]);
        let mut directories = [(0, 0); 16];
        directories[RELOCATIONS] = (RELOC, 12);
        Program {
            machine: AMD64,
            characteristics: 0x22,
            magic: PE32_PLUS,
            entry: TEXT + 4,
            base: 0x1_8000_0000,
            alignment: PAGE_SIZE,
            size: 0x4000,
            headers_size: 0x200,
            section_count: 3,
            directory_count: 16,
            directories,
            sections: vec![
                [TEXT, 0x20, 0x200, 0x200, CODE],
                [DATA, 0x1000, 0x400, 0x200, WRITABLE],
                [RELOC, 12, 0x600, 0x200, READABLE],
            ],
            relocations,
        }
    }
}

/// A block of relocations.
fn block(page: u32, entries: &[u16]) -> Vec<u8> {
    let size = 8 + 2 * u32::try_from(entries.len()).unwrap();
    let mut bytes = [page.to_le_bytes(), size.to_le_bytes()].concat();
    bytes.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    bytes
}

impl Program {
    fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; 0x800];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x40u32.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x44, &self.machine.to_le_bytes());
        put(0x46, &self.section_count.to_le_bytes());
        put(0x54, &(112u16 + 128).to_le_bytes());
        put(0x56, &self.characteristics.to_le_bytes());
        put(0x58, &self.magic.to_le_bytes());
        put(0x58 + 16, &self.entry.to_le_bytes());
        put(0x58 + 24, &self.base.to_le_bytes());
        put(0x58 + 32, &self.alignment.to_le_bytes());
        put(0x58 + 56, &self.size.to_le_bytes());
        put(0x58 + 60, &self.headers_size.to_le_bytes());
        put(0x58 + 108, &self.directory_count.to_le_bytes());
        for (index, (start, length)) in self.directories.iter().enumerate() {
            put(0x58 + 112 + 8 * index, &[start.to_le_bytes(), length.to_le_bytes()].concat());
        }
        for (index, [start, size, raw, raw_size, flags]) in self.sections.iter().enumerate() {
            let entry = 0x58 + 240 + 40 * index;
            put(entry + 8, &[size, start, raw_size, raw].map(|word| word.to_le_bytes()).concat());
            put(entry + 36, &flags.to_le_bytes());
        }
        put(0x200, &[0xcc; 0x20]);
        put(0x408, &(self.base + 0x1004).to_le_bytes());
        put(0x600, &self.relocations);
        file
    }
}

/// The refusal of the default program with a change.
fn refusal_after(change: impl FnOnce(&mut Program)) -> Refusal {
    let mut program = Program::default();
    change(&mut program);
    read(&program.bytes()).expect_err("the program is accepted")
}

#[test]
fn sections_are_loaded_at_the_base_of_the_memory_and_relocated() {
    let image = read(&Program::default().bytes()).unwrap();
    assert_eq!(image.entry, program_memory::BASE + 0x1004);
    let offset_and_length =
        |segment: &Segment| (segment.address - program_memory::BASE, segment.length);
    let segments: Vec<_> = image.segments.iter().map(offset_and_length).collect();
    assert_eq!(segments, [(0, 0x1000), (0x1000, 0x1000), (0x2000, 0x1000), (0x3000, 0x1000)]);
    let protections: Vec<_> = image.segments.iter().map(|segment| segment.protection).collect();
    let (read, write, execute) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    assert_eq!(protections, [read, read | execute, read | write, read]);
    assert_eq!(image.segments[1].bytes, [0xcc; 0x20]);
    assert_eq!(image.segments[2].bytes[8..], (program_memory::BASE + 0x1004).to_le_bytes()[..5]);
}

#[test]
fn a_program_at_its_preferred_base_needs_no_relocations() {
    let strip = |program: &mut Program| {
        program.base = program_memory::BASE;
        program.characteristics |= RELOCATIONS_STRIPPED;
        program.directories[RELOCATIONS] = (0, 0);
    };
    let mut program = Program::default();
    strip(&mut program);
    let image = read(&program.bytes()).unwrap();
    assert_eq!(image.segments[2].bytes[8..], (program_memory::BASE + 0x1004).to_le_bytes()[..5]);
    let refusal = refusal_after(|program| {
        strip(program);
        program.base += 0x10000;
    });
    assert_eq!(
        refusal,
        Refusal::Relocations("there are none, and its preferred address is not free")
    );
}

#[test]
fn every_truncation_is_refused() {
    let whole = Program::default().bytes();
    // 0x60c is the end of the relocations. The reader ignores the bytes after them.
    for length in 0..0x60c {
        assert!(read(&whole[..length]).is_err(), "{length:#x} bytes are accepted");
    }
    assert!(read(&whole[..0x60c]).is_ok());
    assert_eq!(read(&whole[..0x30]), Err(Refusal::Truncated("the offset of its PE header")));
    assert_eq!(read(b"\x7fELF"), Err(Refusal::NotPe));
}

#[test]
fn files_other_than_programs_for_x86_64_without_imports_are_refused() {
    assert_eq!(refusal_after(|p| p.machine = 0xaa64), Refusal::Machine(0xaa64));
    assert_eq!(refusal_after(|p| p.machine = 0x14c), Refusal::Machine(0x14c));
    assert_eq!(refusal_after(|p| p.characteristics |= LIBRARY), Refusal::Kind("a library"));
    let object = Refusal::Kind("an object that was never linked");
    assert_eq!(refusal_after(|p| p.characteristics = 0x20), object);
    assert!(matches!(refusal_after(|p| p.magic = 0x10b), Refusal::Header(_)));
    for (index, feature) in UNSUPPORTED_DIRECTORIES {
        assert_eq!(refusal_after(|p| p.directories[index] = (DATA, 20)), Refusal::Needs(feature));
    }
    for offset in [TEXT, 0x3ff0, u32::MAX] {
        assert_eq!(
            refusal_after(|p| p.directories[IMPORTS] = (offset, 20)),
            Refusal::Needs("imports")
        );
    }
    // An import list that has only its end entry.
    let mut program = Program::default();
    program.directories[IMPORTS] = (DATA + 0x800, 20);
    assert!(read(&program.bytes()).is_ok());
}

#[test]
fn invalid_headers_are_refused() {
    for change in [
        (|p| p.alignment = 0x200) as fn(&mut Program),
        |p| p.directory_count = 17,
        |p| p.directory_count = u32::MAX,
        |p| p.size = 0,
        |p| p.size = 0x4001,
        |p| p.headers_size = 0,
        |p| p.headers_size = 0x5000,
        |p| p.section_count = 0,
    ] {
        let refusal = refusal_after(change);
        assert!(matches!(refusal, Refusal::Header(_)), "{refusal}");
    }
    assert_eq!(refusal_after(|p| p.size = 0x1000_0000), Refusal::TooLarge);
    assert_eq!(refusal_after(|p| p.size = u32::MAX), Refusal::TooLarge);
}

#[test]
fn invalid_sections_are_refused() {
    let section = |index: usize, field: usize, value: u32| {
        refusal_after(|p| p.sections[index][field] = value)
    };
    let empty = refusal_after(|p| {
        p.sections[1][1] = 0;
        p.sections[1][3] = 0;
    });
    assert_eq!(empty, Refusal::Section(1, "has no length"));
    assert_eq!(section(1, 0, 0x2010), Refusal::Section(1, "does not begin at a page"));
    assert_eq!(section(1, 0, TEXT), Refusal::Section(1, "overlaps the part before it"));
    assert_eq!(section(0, 0, 0), Refusal::Section(0, "overlaps the part before it"));
    assert_eq!(section(1, 1, 0x1001), Refusal::Section(2, "overlaps the part before it"));
    assert_eq!(section(2, 1, 0x1001), Refusal::Section(2, "is not within the image"));
    assert_eq!(section(2, 1, u32::MAX), Refusal::Section(2, "is not within the image"));
    assert_eq!(section(2, 2, 0x7f8), Refusal::Truncated("the end of a section"));
    assert_eq!(section(2, 2, u32::MAX), Refusal::Truncated("the end of a section"));
    assert_eq!(refusal_after(|p| p.section_count = 0xffff), Refusal::Section(3, "has no length"));
}

#[test]
fn an_entry_outside_the_code_is_refused() {
    for entry in [0, 0xfff, TEXT + 0x20, DATA, RELOC, 0x4000, u32::MAX] {
        assert_eq!(refusal_after(|p| p.entry = entry), Refusal::Entry(entry));
    }
}

#[test]
fn invalid_relocations_are_refused() {
    let expect_refused = |directory: (u32, u32), relocations: Vec<u8>| {
        let refusal = refusal_after(|p| {
            p.directories[RELOCATIONS] = directory;
            p.relocations = relocations;
        });
        assert!(matches!(refusal, Refusal::Relocations(_) | Refusal::Truncated(_)), "{refusal}");
    };
    let valid = block(DATA, &[0xa008, 0]);
    expect_refused((0x4000, 12), valid.clone());
    expect_refused((u32::MAX, 12), valid.clone());
    expect_refused((RELOC, u32::MAX), valid.clone());
    expect_refused((RELOC, 11), valid.clone());
    expect_refused((RELOC, 0), valid);
    // A type of other machines.
    expect_refused((RELOC, 12), block(DATA, &[0x3008, 0]));
    // Pointers beyond the end of a section, in no section, and beyond the image.
    expect_refused((RELOC, 12), block(DATA, &[0xaff9, 0]));
    expect_refused((RELOC, 12), block(TEXT, &[0xa019, 0]));
    expect_refused((RELOC, 12), block(0, &[0xa000, 0]));
    expect_refused((RELOC, 12), block(u32::MAX, &[0xafff, 0]));
    // Invalid sizes of a block.
    for size in [0u32, 4, 9, 14, u32::MAX] {
        let mut block = block(DATA, &[0xa008, 0]);
        block[4..8].copy_from_slice(&size.to_le_bytes());
        expect_refused((RELOC, 12), block);
    }
}

#[test]
fn each_refusal_is_one_sentence() {
    let all = [
        Refusal::NotPe,
        Refusal::Truncated("x"),
        Refusal::Machine(0x14c),
        Refusal::Kind("x"),
        Refusal::Needs("imports"),
        Refusal::Header("x"),
        Refusal::TooLarge,
        Refusal::Section(1, "has no length"),
        Refusal::Entry(1),
        Refusal::Relocations("x"),
    ];
    for refusal in all {
        let text = refusal.to_string();
        assert!(text.starts_with("it") && !text.contains('\n') && !text.ends_with('.'), "{text}");
    }
}

#[cfg(windows_programs)]
#[test]
fn the_embedded_windows_program_is_accepted_where_it_is_a_pe_file() {
    let image = read(crate::arch::windows_program());
    if !crate::arch::RUNS_PE {
        assert_eq!(image, Err(Refusal::NotPe));
        return;
    }
    let image = image.unwrap();
    assert_eq!((image.entry, image.segments.len()), (program_memory::BASE + 0x1000, 4));
}
