// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

const TEXT: u32 = 0x1000;
const DATA: u32 = 0x2000;
const RELOC: u32 = 0x3000;

/// A section as the table has it: address, size in memory, place and size in the file, access.
type Row = [u32; 5];

const CODE: u32 = 0x6000_0020;
const WRITABLE: u32 = 0xc000_0040;
const READABLE: u32 = 0x4000_0040;

/// A program that can be changed before it is written down.
struct Program {
    machine: u16,
    characteristics: u16,
    magic: u16,
    entry: u32,
    base: u64,
    alignment: u32,
    size: u32,
    headers: u32,
    count: u16,
    directories: u32,
    directory: [(u32, u32); 16],
    rows: Vec<Row>,
    relocations: Vec<u8>,
}

impl Default for Program {
    fn default() -> Program {
        let relocations = block(DATA, &[0xa008, 0]);
        let mut directory = [(0, 0); 16];
        directory[RELOCATIONS] = (RELOC, 12);
        Program {
            machine: AMD64,
            characteristics: 0x22,
            magic: PE32_PLUS,
            entry: TEXT + 4,
            base: 0x1_8000_0000,
            alignment: PAGE_SIZE,
            size: 0x4000,
            headers: 0x200,
            count: 3,
            directories: 16,
            directory,
            rows: vec![
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
        put(0x46, &self.count.to_le_bytes());
        put(0x54, &(112u16 + 128).to_le_bytes());
        put(0x56, &self.characteristics.to_le_bytes());
        put(0x58, &self.magic.to_le_bytes());
        put(0x58 + 16, &self.entry.to_le_bytes());
        put(0x58 + 24, &self.base.to_le_bytes());
        put(0x58 + 32, &self.alignment.to_le_bytes());
        put(0x58 + 56, &self.size.to_le_bytes());
        put(0x58 + 60, &self.headers.to_le_bytes());
        put(0x58 + 108, &self.directories.to_le_bytes());
        for (index, (place, length)) in self.directory.iter().enumerate() {
            put(0x58 + 112 + 8 * index, &[place.to_le_bytes(), length.to_le_bytes()].concat());
        }
        for (index, [start, size, raw, raw_size, access]) in self.rows.iter().enumerate() {
            let at = 0x58 + 240 + 40 * index;
            put(at + 8, &[size, start, raw_size, raw].map(|word| word.to_le_bytes()).concat());
            put(at + 36, &access.to_le_bytes());
        }
        put(0x200, &[0xcc; 0x20]);
        put(0x408, &(self.base + 0x1004).to_le_bytes());
        put(0x600, &self.relocations);
        file
    }
}

fn refused(change: impl FnOnce(&mut Program)) -> Refusal {
    let mut program = Program::default();
    change(&mut program);
    read(&program.bytes()).expect_err("it is taken")
}

#[test]
fn sections_come_to_the_arena_relocated() {
    let image = read(&Program::default().bytes()).unwrap();
    assert_eq!(image.entry, program_memory::BASE + 0x1004);
    let at = |segment: &Segment| (segment.address - program_memory::BASE, segment.length);
    let places: Vec<_> = image.segments.iter().map(at).collect();
    assert_eq!(places, [(0, 0x1000), (0x1000, 0x1000), (0x2000, 0x1000), (0x3000, 0x1000)]);
    let protections: Vec<_> = image.segments.iter().map(|segment| segment.protection).collect();
    let (read, write, execute) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    assert_eq!(protections, [read, read | execute, read | write, read]);
    assert_eq!(image.segments[1].bytes, [0xcc; 0x20]);
    assert_eq!(image.segments[2].bytes[8..], (program_memory::BASE + 0x1004).to_le_bytes()[..5]);
}

#[test]
fn a_program_at_home_needs_no_relocations() {
    let home = |program: &mut Program| {
        program.base = program_memory::BASE;
        program.characteristics |= RELOCATIONS_STRIPPED;
        program.directory[RELOCATIONS] = (0, 0);
    };
    let mut program = Program::default();
    home(&mut program);
    let image = read(&program.bytes()).unwrap();
    assert_eq!(image.segments[2].bytes[8..], (program_memory::BASE + 0x1004).to_le_bytes()[..5]);
    let away = refused(|program| {
        home(program);
        program.base += 0x10000;
    });
    assert_eq!(away, Refusal::Relocations("there are none, and its preferred address is not free"));
}

#[test]
fn every_truncation_is_refused() {
    let whole = Program::default().bytes();
    // 0x60c is the end of the relocations. The reader ignores the bytes after them.
    for length in 0..0x60c {
        assert!(read(&whole[..length]).is_err(), "{length:#x} bytes are taken");
    }
    assert!(read(&whole[..0x60c]).is_ok());
    assert_eq!(read(&whole[..0x30]), Err(Refusal::Truncated("the place of its PE header")));
    assert_eq!(read(b"\x7fELF"), Err(Refusal::NotPe));
}

#[test]
fn what_is_no_program_for_here_is_refused() {
    assert_eq!(refused(|p| p.machine = 0xaa64), Refusal::Machine(0xaa64));
    assert_eq!(refused(|p| p.machine = 0x14c), Refusal::Machine(0x14c));
    assert_eq!(refused(|p| p.characteristics |= LIBRARY), Refusal::Kind("a library"));
    let object = Refusal::Kind("an object that was never linked");
    assert_eq!(refused(|p| p.characteristics = 0x20), object);
    assert!(matches!(refused(|p| p.magic = 0x10b), Refusal::Header(_)));
    for (index, what) in UNSUPPORTED_DIRECTORIES {
        assert_eq!(refused(|p| p.directory[index] = (DATA, 20)), Refusal::Needs(what));
    }
    for place in [TEXT, 0x3ff0, u32::MAX] {
        assert_eq!(refused(|p| p.directory[IMPORTS] = (place, 20)), Refusal::Needs("imports"));
    }
    // No more than the end of the list.
    let mut program = Program::default();
    program.directory[IMPORTS] = (DATA + 0x800, 20);
    assert!(read(&program.bytes()).is_ok());
}

#[test]
fn headers_without_sense_are_refused() {
    for change in [
        (|p| p.alignment = 0x200) as fn(&mut Program),
        |p| p.directories = 17,
        |p| p.directories = u32::MAX,
        |p| p.size = 0,
        |p| p.size = 0x4001,
        |p| p.headers = 0,
        |p| p.headers = 0x5000,
        |p| p.count = 0,
    ] {
        let got = refused(change);
        assert!(matches!(got, Refusal::Header(_)), "{got}");
    }
    assert_eq!(refused(|p| p.size = 0x1000_0000), Refusal::TooLarge);
    assert_eq!(refused(|p| p.size = u32::MAX), Refusal::TooLarge);
}

#[test]
fn sections_without_sense_are_refused() {
    let section = |row: usize, field: usize, value: u32| refused(|p| p.rows[row][field] = value);
    let empty = refused(|p| {
        p.rows[1][1] = 0;
        p.rows[1][3] = 0;
    });
    assert_eq!(empty, Refusal::Section(1, "has no length"));
    assert_eq!(section(1, 0, 0x2010), Refusal::Section(1, "does not begin at a page"));
    assert_eq!(section(1, 0, TEXT), Refusal::Section(1, "overlaps what is before it"));
    assert_eq!(section(0, 0, 0), Refusal::Section(0, "overlaps what is before it"));
    assert_eq!(section(1, 1, 0x1001), Refusal::Section(2, "overlaps what is before it"));
    assert_eq!(section(2, 1, 0x1001), Refusal::Section(2, "is not within the image"));
    assert_eq!(section(2, 1, u32::MAX), Refusal::Section(2, "is not within the image"));
    assert_eq!(section(2, 2, 0x7f8), Refusal::Truncated("the end of a section"));
    assert_eq!(section(2, 2, u32::MAX), Refusal::Truncated("the end of a section"));
    assert_eq!(refused(|p| p.count = 0xffff), Refusal::Section(3, "has no length"));
}

#[test]
fn an_entry_without_code_is_refused() {
    for entry in [0, 0xfff, TEXT + 0x20, DATA, RELOC, 0x4000, u32::MAX] {
        assert_eq!(refused(|p| p.entry = entry), Refusal::Entry(entry));
    }
}

#[test]
fn relocations_without_sense_are_refused() {
    let wrong = |place: (u32, u32), relocations: Vec<u8>| {
        let got = refused(|p| {
            p.directory[RELOCATIONS] = place;
            p.relocations = relocations;
        });
        assert!(matches!(got, Refusal::Relocations(_) | Refusal::Truncated(_)), "{got}");
    };
    let fine = block(DATA, &[0xa008, 0]);
    wrong((0x4000, 12), fine.clone());
    wrong((u32::MAX, 12), fine.clone());
    wrong((RELOC, u32::MAX), fine.clone());
    wrong((RELOC, 11), fine.clone());
    wrong((RELOC, 0), fine);
    // A kind of other machines; places beyond a section and beyond all; lengths that lead nowhere.
    wrong((RELOC, 12), block(DATA, &[0x3008, 0]));
    wrong((RELOC, 12), block(DATA, &[0xaff9, 0]));
    wrong((RELOC, 12), block(TEXT, &[0xa019, 0]));
    wrong((RELOC, 12), block(0, &[0xa000, 0]));
    wrong((RELOC, 12), block(u32::MAX, &[0xafff, 0]));
    for size in [0u32, 4, 9, 14, u32::MAX] {
        let mut block = block(DATA, &[0xa008, 0]);
        block[4..8].copy_from_slice(&size.to_le_bytes());
        wrong((RELOC, 12), block);
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
fn the_program_of_this_project_is_taken_where_it_is_a_pe_file() {
    let image = read(crate::arch::windows_program());
    if !crate::arch::RUNS_PE {
        assert_eq!(image, Err(Refusal::NotPe));
        return;
    }
    let image = image.unwrap();
    assert_eq!((image.entry, image.segments.len()), (program_memory::BASE + 0x1000, 4));
}
