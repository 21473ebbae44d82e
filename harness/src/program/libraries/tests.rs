// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::fs;
use std::io::Write as _;
use std::process::Command;

/// A 64-bit ELF file for x86-64 with these entries in its dynamic section. The file consists of an
/// `Elf64_Ehdr`, two `Elf64_Phdr`, the dynamic section and the string table.
fn elf(entries: &[(u64, &str)]) -> Vec<u8> {
    let mut strings = vec![0];
    let mut dynamic = Vec::new();
    for (tag, text) in entries {
        dynamic.extend([*tag, strings.len() as u64]);
        strings.extend(text.as_bytes());
        strings.push(0);
    }
    let (headers_size, dynamic_size) = (64 + 2 * 56, 16 * (entries.len() as u64 + 3));
    let strings_offset = headers_size + dynamic_size;
    // DT_STRTAB, DT_STRSZ, DT_NULL.
    dynamic.extend([5, strings_offset, 10, strings.len() as u64, 0, 0]);
    // e_ident: 64 bits, little-endian, version 1.
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    // e_type (ET_DYN), e_machine (EM_X86_64), e_version.
    file.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    // e_entry, e_phoff, e_shoff.
    for word in [0, 64, 0] {
        file.extend(u64::to_le_bytes(word));
    }
    // e_flags, e_ehsize, e_phentsize, e_phnum, no section headers.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let file_size = strings_offset + strings.len() as u64;
    // PT_LOAD and PT_DYNAMIC, both with PF_R.
    for (segment_type, offset, size) in [(1_u32, 0, file_size), (2, headers_size, dynamic_size)] {
        file.extend(segment_type.to_le_bytes());
        file.extend([4, 0, 0, 0]);
        // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
        for word in [offset, offset, offset, size, size, 8] {
            file.extend(u64::to_le_bytes(word));
        }
    }
    file.extend(dynamic.iter().flat_map(|word| word.to_le_bytes()));
    file.extend(strings);
    file
}

/// `DT_NEEDED`, `DT_RPATH` and `DT_RUNPATH` of elf.h.
const NEEDED: u64 = 1;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// The libraries that the program needs, as paths relative to `folder`.
fn resolve(folder: &Path, program: &[u8]) -> Result<Vec<String>, LibraryError> {
    let libraries =
        find_libraries(&folder.join("program"), program, Path::new("/lib64/ld-test.so.1"))?;
    let names = libraries.keys().map(|path| path.strip_prefix(folder).unwrap_or(path));
    Ok(names.map(|name| name.display().to_string()).collect())
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("a file");
}

#[test]
fn libraries_of_libraries_are_found_beside_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = elf(&[(RUNPATH, "$ORIGIN/lib"), (NEEDED, "one.so")]);
    write(folder.path(), "program", &program);
    write(folder.path(), "lib/one.so", &elf(&[(RUNPATH, "${ORIGIN}"), (NEEDED, "two.so")]));
    write(folder.path(), "lib/two.so", &elf(&[(NEEDED, "one.so"), (NEEDED, "ld-test.so.1")]));
    assert_eq!(
        resolve(folder.path(), &program),
        Ok(vec!["lib/one.so".into(), "lib/two.so".into()])
    );
}

#[test]
fn rpath_is_inherited_and_runpath_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "lib/one.so", &elf(&[(NEEDED, "two.so")]));
    write(folder.path(), "lib/two.so", &elf(&[]));
    let program = elf(&[(RPATH, "$ORIGIN/lib"), (NEEDED, "one.so")]);
    write(folder.path(), "program", &program);
    assert_eq!(resolve(folder.path(), &program).map(|libraries| libraries.len()), Ok(2));
    let program = elf(&[(RUNPATH, "$ORIGIN/lib"), (NEEDED, "one.so")]);
    let missing = resolve(folder.path(), &program).expect_err("two.so is not in the search path");
    assert!(missing.to_string().contains("two.so"), "{missing}");
}

#[test]
fn a_file_of_another_machine_is_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut foreign = elf(&[]);
    // e_machine: EM_AARCH64.
    foreign[18] = 183;
    write(folder.path(), "a/one.so", &foreign);
    write(folder.path(), "b/one.so", &elf(&[]));
    let program = elf(&[(RUNPATH, "$ORIGIN/a:$ORIGIN/b"), (NEEDED, "one.so")]);
    write(folder.path(), "program", &program);
    assert_eq!(resolve(folder.path(), &program), Ok(vec!["b/one.so".into()]));
}

#[test]
fn fifos_are_skipped_and_libraries_have_a_total_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = elf(&[(RUNPATH, "$ORIGIN/a:$ORIGIN/b"), (NEEDED, "one.so")]);
    write(folder.path(), "program", &program);
    write(folder.path(), "b/one.so", &elf(&[]));
    fs::create_dir(folder.path().join("a")).expect("a folder");
    let first = folder.path().join("a/one.so");
    assert!(Command::new("mkfifo").arg(&first).status().expect("mkfifo").success());
    assert_eq!(resolve(folder.path(), &program), Ok(vec!["b/one.so".into()]));
    fs::remove_file(&first).expect("a FIFO");
    fs::File::create(&first).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let search = [folder.path().join("a")];
    let found = find_library(b"one.so", &[&search], (2, object::elf::EM_X86_64), 1 << 20);
    assert_eq!(found.unwrap_err(), LibraryError::TooLarge);
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = elf(&[(RUNPATH, "$ORIGIN"), (NEEDED, "one.so")]);
    for length in 0..program.len() {
        // The file may be refused or have fewer libraries. The search must not panic.
        let _ = resolve(folder.path(), &program[..length]);
    }
    assert!(resolve(folder.path(), &program[..70]).is_err());
    assert!(resolve(folder.path(), b"").is_err());
}

#[test]
fn this_program_is_resolved_as_the_loader_resolved_it() {
    let path = fs::read_link("/proc/self/exe").expect("this program");
    let content = fs::read(&path).expect("this program");
    let interpreter = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !interpreter.exists() {
        // Not by a macro, whose output cargo captures.
        let _ = writeln!(std::io::stderr(), "NOT RUN: no {}", interpreter.display());
        return;
    }
    let libraries = find_libraries(&path, &content, interpreter).expect("its libraries");
    let maps = fs::read_to_string("/proc/self/maps").expect("a map");
    for library in libraries.keys() {
        let library = library.canonicalize().expect("a path");
        assert!(maps.contains(library.to_str().expect("UTF-8")), "{}", library.display());
    }
    assert!(!libraries.is_empty());
}
