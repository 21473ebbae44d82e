// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The source files that flavour `coverage` instruments for KCOV, and the place of their code in vmlinux.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use object::read::elf::ElfFile64;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ReadCache, RelocationFlags,
    RelocationTarget, SymbolKind,
};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;

const LIST: &str = include_str!("../../kernel-config/coverage.list");

/// Maximum size of an object file, in bytes.
const MAX_OBJECT_BYTES: u64 = 256 << 20;

/// The function that instrumented code calls in each basic block (kernel/kcov.c).
const TRACE_FUNCTION: &str = "__sanitizer_cov_trace_pc";

/// A source file of a kernel that is instrumented for KCOV.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstrumentedFile {
    /// The path, such as `kernel/signal.c`.
    pub path: String,
    /// The number of instrumented basic blocks, without those of init code.
    pub blocks: u64,
    /// The addresses of the file's code.
    pub code: Vec<Range<u64>>,
}

/// The files of `coverage.list`.
pub(crate) fn listed_files() -> Vec<&'static str> {
    let lines = LIST.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

/// The argument that makes kbuild instrument exactly these files; `None` for no files. kbuild expands
/// `KCOV_INSTRUMENT` for each object file (scripts/Makefile.lib), and a variable on the command line takes
/// precedence over those of the Makefiles.
pub(crate) fn make_argument(files: &[&str]) -> Option<String> {
    let objects: Vec<String> = files.iter().map(|file| object_file(file)).collect();
    (!objects.is_empty()).then(|| {
        let objects = objects.join(" ");
        format!("KCOV_INSTRUMENT=$(if $(filter {objects},$(obj)/$(target-stem).o),y,n)")
    })
}

/// The object file of a source file.
fn object_file(source: &str) -> String {
    format!("{}.o", source.strip_suffix(".c").unwrap_or(source))
}

/// Finds the code of these files in the slot's vmlinux. Leaves out files that are
/// not part of the kernel, and files without instrumented code.
///
/// # Errors
/// If vmlinux or an object file cannot be read, or is no ELF file.
pub(crate) fn locate(slot: &Folder, files: &[&str]) -> io::Result<Vec<InstrumentedFile>> {
    let vmlinux = ReadCache::new(slot.open("vmlinux")?);
    let vmlinux =
        ElfFile64::<Endianness, _>::parse(&vmlinux).map_err(|error| invalid("vmlinux", &error))?;
    // `None` for a name that several symbols have.
    let mut addresses: HashMap<&str, Option<u64>> = HashMap::new();
    for symbol in vmlinux.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let address = Some(symbol.address());
        let name = symbol.name().map_err(|error| invalid("vmlinux", &error))?;
        addresses.entry(name).and_modify(|other| *other = None).or_insert(address);
    }
    let address = |name: &str| addresses.get(name).copied().flatten();
    let mut located = Vec::new();
    for path in files {
        let name = object_file(path);
        let bytes = match slot.read(&name, MAX_OBJECT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let (blocks, code) = instrumented_code(&bytes, address).map_err(|e| invalid(&name, &e))?;
        if blocks > 0 {
            located.push(InstrumentedFile { path: (*path).to_owned(), blocks, code });
        }
    }
    Ok(located)
}

fn invalid(file: &str, error: &object::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file}: {error}"))
}

/// The number of instrumented basic blocks of an object file, and the addresses of its code in vmlinux.
/// `address` gives the address in vmlinux of a symbol whose name is unique there.
fn instrumented_code(
    bytes: &[u8],
    address: impl Fn(&str) -> Option<u64>,
) -> object::Result<(u64, Vec<Range<u64>>)> {
    let file = ElfFile64::<Endianness, _>::parse(bytes)?;
    let trace_symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(TRACE_FUNCTION))
        .map(|symbol| RelocationTarget::Symbol(symbol.index()));
    let (mut blocks, mut code) = (0, Vec::new());
    for section in file.sections() {
        if section.name()?.starts_with(".init") {
            continue;
        }
        let calls = section.relocations().filter(|(_, relocation)| {
            // objtool leaves `R_*_NONE`, which is 0, where it removes a call from a `noinstr` function.
            let is_removed =
                matches!(relocation.flags(), RelocationFlags::Elf { r_type } if r_type.0 == 0);
            Some(relocation.target()) == trace_symbol && !is_removed
        });
        let calls = calls.count() as u64;
        if calls == 0 {
            continue;
        }
        blocks += calls;
        // The linker moves a section as a whole, so that one symbol tells where the section is.
        let start = file
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(section.index()))
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
            .find_map(|symbol| address(symbol.name().ok()?)?.checked_sub(symbol.address()));
        code.extend(start.map(|start| start..start + section.size()));
    }
    Ok((blocks, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_source_files_once() {
        let files = listed_files();
        assert!(files.contains(&"kernel/entry/syscall_user_dispatch.c"), "{files:?}");
        assert!(files.iter().all(|file| file.ends_with(".c") && !file.contains(' ')), "{files:?}");
        let unique: std::collections::HashSet<_> = files.iter().collect();
        assert_eq!(unique.len(), files.len());
    }

    #[test]
    fn the_instrumented_code_of_a_file_is_found_where_it_was_linked() {
        let directory = tempfile::tempdir().unwrap();
        let sources = [
            (
                "traced.c",
                "int other(int); static __attribute__((noinline)) int inner(int x)\n\
                 { return x ? other(x) : 3; }\nint traced(int x) { return inner(x) + 1; }\n",
            ),
            (
                "plain.c",
                "int traced(int); int other(int x) { return x; }\n\
                 void __sanitizer_cov_trace_pc(void) {}\nvoid _start(void) { traced(1); }\n",
            ),
        ];
        let gcc = |arguments: &str| {
            let mut gcc = std::process::Command::new("gcc");
            gcc.current_dir(directory.path()).args(arguments.split(' '));
            assert!(gcc.status().unwrap().success(), "gcc {arguments}");
        };
        for (name, text) in sources {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        gcc("-c -O2 -fno-pic -fsanitize-coverage=trace-pc traced.c");
        gcc("-c -O2 -fno-pic plain.c");
        gcc("-nostdlib -static -no-pie -o vmlinux plain.o traced.o");

        let slot = Folder::new(directory.path().to_owned());
        let files = locate(&slot, &["traced.c", "plain.c", "absent.c"]).unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].path, "traced.c");
        assert!(files[0].blocks >= 4, "two functions, one of them with a branch: {files:?}");
        let bytes = std::fs::read(directory.path().join("vmlinux")).unwrap();
        let vmlinux = ElfFile64::<Endianness, _>::parse(&*bytes).unwrap();
        let contains = |name: &str| {
            let symbol = vmlinux.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
            files[0].code.iter().any(|code| code.contains(&symbol.address()))
        };
        assert!(contains("traced") && contains("inner"), "{files:?}");
        assert!(!contains("other") && !contains("_start"), "{files:?}");
    }

    #[test]
    fn make_instruments_the_listed_files_of_their_folders_only() {
        let argument = make_argument(&["kernel/signal.c", "kernel/entry/common.c"]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // The sub-make gets the variable as kbuild's do, and sets it otherwise, as kernel/entry/Makefile does.
        std::fs::write(
            directory.path().join("Makefile"),
            "all: ; @$(MAKE) --no-print-directory -f sub.mk\n",
        )
        .unwrap();
        std::fs::write(
            directory.path().join("sub.mk"),
            "KCOV_INSTRUMENT := n\n\
             target-stem = $(basename $(notdir $@))\nobj = $(patsubst %/,%,$(dir $@))\n\
             all: kernel/signal.o arch/x86/kernel/signal.o kernel/entry/common.o lib/common.o ; @:\n\
             %.o: ; @echo $@ $(KCOV_INSTRUMENT)\n",
        )
        .unwrap();
        let output = std::process::Command::new("make")
            .current_dir(directory.path())
            .env_remove("MAKEFLAGS")
            .args(["--no-print-directory", &argument])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "kernel/signal.o y\narch/x86/kernel/signal.o n\nkernel/entry/common.o y\nlib/common.o n\n"
        );
        assert_eq!(make_argument(&[]), None);
    }
}
