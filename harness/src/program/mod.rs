// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packs a program of this machine with its interpreter and libraries, to run it in a guest.

mod libraries;

use crate::failure::Failure;
use object::Endianness;
use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64, Machine};
use object::read::elf::{FileHeader, ProgramHeader};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use sudbox_images::initramfs::Entry;
use sudbox_protocol::Program;

/// A program and the files that the guest needs to run it.
#[derive(Debug)]
pub(crate) struct PackedProgram {
    /// The command, environment and working directory.
    pub(crate) program: Program,
    /// The files that the program needs, directories before their contents.
    pub(crate) entries: Vec<Entry>,
}

/// Finds a program as a shell does, and packs it with the files that it needs. In the guest, the
/// program starts in the current directory and with the environment of sudbox.
///
/// # Errors
/// A usage [`Failure`] if the program or a file that it needs cannot be used.
pub(crate) fn pack_program(command: &[OsString]) -> anyhow::Result<PackedProgram> {
    let Some(name) = command.first() else {
        return Err(Failure::usage("no program: `sudbox exec -- PROGRAM ARGUMENTS`"));
    };
    let directory = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("cannot find the current directory: {error}")))?;
    let path = find_program(name, &directory)?;
    let mut arguments = command.to_vec();
    let mut files = PackedFiles::default();
    let mut executed_path = path.clone();
    if let Some((interpreter, argument)) = files.add_program(&path)? {
        // Makes the arguments as fs/binfmt_script.c does, because the guest's kernel may lack
        // CONFIG_BINFMT_SCRIPT.
        arguments[0] = path.into();
        arguments.splice(0..0, argument);
        arguments.insert(0, interpreter.clone().into());
        let unusable =
            |error| Failure::usage(format!("{}: its interpreter: {error:#}", name.display()));
        if files.add_program(&interpreter).map_err(unusable)?.is_some() {
            return Err(Failure::usage(format!(
                "{name} is a script, and its interpreter {interpreter} is a script too: name the \
                 interpreter of {interpreter} as the program",
                name = name.display(),
                interpreter = interpreter.display()
            )));
        }
        executed_path = interpreter;
    }
    files.add_directory(&directory);
    let bytes = |text: OsString| text.into_vec();
    let program = Program {
        path: bytes(executed_path.into()),
        arguments: arguments.into_iter().map(bytes).collect(),
        environment: std::env::vars_os().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        directory: bytes(directory.into()),
    };
    if !program.fits_in_frame() {
        return Err(Failure::usage("arguments and environment together are longer than 256 KiB"));
    }
    Ok(PackedProgram { program, entries: files.entries })
}

/// The path of a program: a name without a slash is looked up in `PATH`.
fn find_program(name: &OsStr, directory: &Path) -> anyhow::Result<PathBuf> {
    let displayed_name = name.display();
    let path = if name.as_bytes().contains(&b'/') {
        directory.join(name)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates =
            std::env::split_paths(&path).map(|folder| directory.join(folder).join(name));
        candidates.find(|path| is_executable(path)).ok_or_else(|| {
            let hint = match is_executable(&directory.join(name)) {
                true => format!("; did you mean `./{displayed_name}`?"),
                false => String::new(),
            };
            Failure::usage(format!("no program `{displayed_name}` is in PATH{hint}"))
        })?
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::usage(format!("{displayed_name}: no such program")))
        }
        Err(error) => Err(Failure::usage(format!("{displayed_name}: {error}"))),
        Ok(file) if file.is_dir() => {
            Err(Failure::usage(format!("{displayed_name} is a directory")))
        }
        Ok(file) if !file.is_file() => {
            Err(Failure::usage(format!("{displayed_name} is not a regular file")))
        }
        Ok(_) if !is_executable(&path) => Err(Failure::usage(format!(
            "{displayed_name} is not executable: run `chmod +x {displayed_name}`"
        ))),
        Ok(_) => Ok(normalized(&path)),
    }
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The path without `.` and `..`. The guest has only the directories on the path of the program.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normalized.pop();
            }
            component => normalized.push(component),
        }
    }
    normalized
}

/// The kind of a program file.
enum ProgramKind {
    /// A static ELF file.
    Static,
    /// A dynamic ELF file with this interpreter.
    Dynamic(PathBuf),
    /// A script: its interpreter and the one argument of its first line.
    Script(PathBuf, Option<OsString>),
}

/// Files and directories for the guest, each of them once.
#[derive(Default)]
struct PackedFiles {
    entries: Vec<Entry>,
    /// The paths of `entries`.
    paths: BTreeSet<PathBuf>,
}

impl PackedFiles {
    /// Adds a program with its libraries. For a script, returns the interpreter and its argument.
    fn add_program(&mut self, path: &Path) -> anyhow::Result<Option<(PathBuf, Option<OsString>)>> {
        let content = read_file(path)?;
        let kind = detect_kind(path, &content)?;
        if let ProgramKind::Dynamic(interpreter) = &kind {
            self.add_file(interpreter, read_file(interpreter)?);
            let libraries = libraries::find_libraries(path, &content, interpreter)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            for (library, content) in libraries {
                self.add_file(&library, content);
            }
        }
        self.add_file(path, content);
        match kind {
            ProgramKind::Static | ProgramKind::Dynamic(_) => Ok(None),
            ProgramKind::Script(interpreter, argument) => Ok(Some((interpreter, argument))),
        }
    }

    fn add_file(&mut self, path: &Path, content: Vec<u8>) {
        if let Some(parent) = path.parent() {
            self.add_directory(parent);
        }
        if self.paths.insert(path.to_owned()) {
            self.entries.push(Entry::file(path.to_string_lossy(), 0o755, content));
        }
    }

    fn add_directory(&mut self, path: &Path) {
        let ancestors: Vec<&Path> = path.ancestors().collect();
        for directory in ancestors.into_iter().rev().skip(1) {
            if self.paths.insert(directory.to_owned()) {
                // Every user may write to the directory, as /tmp requires.
                self.entries.push(Entry::directory(directory.to_string_lossy(), 0o1777));
            }
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.to_str().is_none() {
        return Err(Failure::usage(format!("{}: the path is not UTF-8", path.display())));
    }
    libraries::read_file(path, libraries::MAX_TOTAL_BYTES)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn detect_kind(path: &Path, content: &[u8]) -> anyhow::Result<ProgramKind> {
    let displayed_path = path.display();
    if let Some(script) = content.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let mut words = line.splitn(2, |byte| b" \t".contains(byte));
        let interpreter = words.next().unwrap_or_default();
        if !interpreter.starts_with(b"/") {
            return Err(Failure::usage(format!(
                "{displayed_path} is a script whose first line has no absolute interpreter path"
            )));
        }
        let argument =
            words.next().map(|argument| OsStr::from_bytes(argument.trim_ascii()).to_owned());
        return Ok(ProgramKind::Script(PathBuf::from(OsStr::from_bytes(interpreter)), argument));
    }
    let refusal = |reason: String| {
        Failure::usage(format!("{displayed_path} is not a program for x86_64: {reason}"))
    };
    let interpreter = match content.get(libraries::EI_CLASS) {
        _ if !content.starts_with(b"\x7fELF") => return Err(refusal("it is no ELF file".into())),
        Some(&libraries::ELFCLASS32) => {
            elf_interpreter::<FileHeader32<Endianness>>(content, EM_386)
        }
        _ => elf_interpreter::<FileHeader64<Endianness>>(content, EM_X86_64),
    };
    Ok(interpreter
        .map_err(|error| refusal(error.to_string()))?
        .map_or(ProgramKind::Static, ProgramKind::Dynamic))
}

/// The reason why an ELF file cannot be run.
#[derive(Debug, thiserror::Error)]
enum ElfError {
    /// The headers of the file contradict each other.
    #[error("its ELF headers are damaged: {0}")]
    Damaged(#[from] object::Error),
    /// The file is for another machine.
    #[error("its machine is number {0} of elf.h")]
    Machine(u16),
}

/// The interpreter of an ELF file for `machine`; `None` if the file is static.
fn elf_interpreter<E: FileHeader<Endian = Endianness>>(
    content: &[u8],
    machine: Machine,
) -> Result<Option<PathBuf>, ElfError> {
    let header = E::parse(content)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != machine {
        return Err(ElfError::Machine(header.e_machine(endian).0));
    }
    for segment in header.program_headers(endian, content)? {
        if let Some(name) = segment.interpreter(endian, content)? {
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> anyhow::Result<ProgramKind> {
        detect_kind(Path::new("x"), text.as_bytes())
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let Ok(ProgramKind::Script(program, argument)) = script("#! /bin/sh -e x \nrest") else {
            panic!()
        };
        assert_eq!(program, Path::new("/bin/sh"));
        assert_eq!(argument.as_deref(), Some(OsStr::new("-e x")));
        let Ok(ProgramKind::Script(_, None)) = script("#!/bin/sh") else { panic!() };
        assert!(script("#!\n").is_err());
    }

    #[test]
    fn files_that_are_not_programs_for_x86_64_are_refused() {
        let mut program = std::fs::read("/proc/self/exe").expect("this program");
        assert!(detect_kind(Path::new("x"), &program).is_ok());
        assert!(detect_kind(Path::new("x"), &program[..70]).is_err());
        // e_machine: EM_AARCH64.
        program[18] = 183;
        let Err(error) = detect_kind(Path::new("x"), &program) else { panic!() };
        assert!(error.to_string().contains("number 183"), "{error}");
        assert!(script("hello").is_err());
        assert!(script("").is_err());
    }

    #[test]
    fn interpreters_that_are_not_regular_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.expect("mkfifo").success());
        let sparse = folder.path().join("sparse");
        std::fs::File::create(&sparse)
            .and_then(|file| file.set_len(1 << 40))
            .expect("a sparse file");
        for (interpreter, expected) in [
            (Path::new("/dev/zero"), "not a regular file"),
            (&fifo, "not a regular file"),
            (&sparse, "longer than"),
        ] {
            let script = folder.path().join("script");
            std::fs::write(&script, format!("#!{}\n", interpreter.display())).expect("a script");
            let mut permissions = std::fs::metadata(&script).expect("a script").permissions();
            permissions.set_mode(0o755);
            std::fs::set_permissions(&script, permissions).expect("a script");
            let error = pack_program(&[script.into()]).expect_err("no interpreter");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn normalized_paths_have_no_dots() {
        assert_eq!(normalized(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }

    #[test]
    fn directories_come_once_and_before_their_files() {
        let mut files = PackedFiles::default();
        files.add_file(Path::new("/a/b/c"), vec![]);
        files.add_directory(Path::new("/a/b"));
        let paths: Vec<&str> = files.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/a/b", "/a/b/c"]);
    }
}
