// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program of this machine, and what it needs to run elsewhere: its interpreter, its libraries.

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

/// A program and the files of it that are to be in the guest.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The program to execute.
    pub(crate) program: Program,
    /// The files it needs, directories before their contents.
    pub(crate) entries: Vec<Entry>,
}

/// Finds the program as a shell does, and what it needs. It starts in the directory in which we are,
/// with our environment.
///
/// # Errors
/// A [`Failure`] of usage that says what is not as it should be.
pub(crate) fn pack(command: &[OsString]) -> anyhow::Result<Packed> {
    let Some(name) = command.first() else {
        return Err(Failure::usage("no program: `sudbox exec -- PROGRAM ARGUMENTS`"));
    };
    let directory = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("the directory that this is in: {error}")))?;
    let path = find(name, &directory)?;
    let mut arguments = command.to_vec();
    let mut files = Files::default();
    let mut start = path.clone();
    if let Some((interpreter, argument)) = files.add_program(&path)? {
        // As the kernel does it (fs/binfmt_script.c), which may be built without.
        arguments[0] = path.into();
        arguments.splice(0..0, argument);
        arguments.insert(0, interpreter.clone().into());
        if files.add_program(&interpreter)?.is_some() {
            return Err(Failure::usage(format!(
                "{} is a script, and so is its interpreter {}: name the program that runs them",
                name.display(),
                interpreter.display()
            )));
        }
        start = interpreter;
    }
    files.add_directory(&directory);
    let bytes = |text: OsString| text.into_vec();
    let program = Program {
        path: bytes(start.into()),
        arguments: arguments.into_iter().map(bytes).collect(),
        environment: std::env::vars_os().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        directory: bytes(directory.into()),
    };
    if !program.fits() {
        return Err(Failure::usage("arguments and environment together are longer than 256 KiB"));
    }
    Ok(Packed { program, entries: files.entries })
}

/// The path of a program: a name without a slash is looked up in `PATH`.
fn find(name: &OsStr, directory: &Path) -> anyhow::Result<PathBuf> {
    let shown = name.display();
    let path = if name.as_bytes().contains(&b'/') {
        directory.join(name)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|place| directory.join(place).join(name));
        places.find(|path| is_executable(path)).ok_or_else(|| {
            let hint = match is_executable(&directory.join(name)) {
                true => format!("; ./{shown} is one right here"),
                false => String::new(),
            };
            Failure::usage(format!("no program `{shown}` is in PATH{hint}"))
        })?
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::usage(format!("{shown}: there is no such program")))
        }
        Err(error) => Err(Failure::usage(format!("{shown}: {error}"))),
        Ok(file) if file.is_dir() => Err(Failure::usage(format!("{shown} is a directory"))),
        Ok(_) if !is_executable(&path) => Err(Failure::usage(format!(
            "{shown} is not executable: `chmod +x {shown}` makes it so"
        ))),
        Ok(_) => Ok(normal(&path)),
    }
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Without `.` and `..`, which would need directories that nothing else does.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The way a program is started.
enum Kind {
    /// Nothing.
    Static,
    /// This interpreter, and the libraries of the file's dynamic section.
    Dynamic(PathBuf),
    /// It is a script: this program with this argument.
    Script(PathBuf, Option<OsString>),
}

#[derive(Default)]
struct Files {
    entries: Vec<Entry>,
    there: BTreeSet<PathBuf>,
}

impl Files {
    /// Adds a program with its libraries. Gives interpreter and argument if it is a script.
    fn add_program(&mut self, path: &Path) -> anyhow::Result<Option<(PathBuf, Option<OsString>)>> {
        let content = read(path)?;
        let kind = kind(path, &content)?;
        if let Kind::Dynamic(interpreter) = &kind {
            self.add(interpreter, read(interpreter)?);
            let found = libraries::libraries(path, &content, interpreter)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            for (library, content) in found {
                self.add(&library, content);
            }
        }
        self.add(path, content);
        match kind {
            Kind::Static | Kind::Dynamic(_) => Ok(None),
            Kind::Script(interpreter, argument) => Ok(Some((interpreter, argument))),
        }
    }

    fn add(&mut self, path: &Path, content: Vec<u8>) {
        if let Some(parent) = path.parent() {
            self.add_directory(parent);
        }
        if self.there.insert(path.to_owned()) {
            self.entries.push(Entry::file(path.to_string_lossy(), 0o755, content));
        }
    }

    fn add_directory(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().collect();
        for place in above.into_iter().rev().skip(1) {
            if self.there.insert(place.to_owned()) {
                // As wide as /tmp has to be.
                self.entries.push(Entry::directory(place.to_string_lossy(), 0o1777));
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.to_str().is_none() {
        return Err(Failure::usage(format!("{}: the path is not UTF-8", path.display())));
    }
    std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn kind(path: &Path, content: &[u8]) -> anyhow::Result<Kind> {
    let shown = path.display();
    if let Some(rest) = content.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let mut words = line.splitn(2, |byte| b" \t".contains(byte));
        let interpreter = words.next().unwrap_or_default();
        if !interpreter.starts_with(b"/") {
            return Err(Failure::usage(format!("{shown} is a script that names no interpreter")));
        }
        let argument = words.next().map(|rest| OsStr::from_bytes(rest.trim_ascii()).to_owned());
        return Ok(Kind::Script(PathBuf::from(OsStr::from_bytes(interpreter)), argument));
    }
    let odd = |what: String| Failure::usage(format!("{shown} is no program for x86_64: {what}"));
    let interpreter = match content.get(4) {
        _ if !content.starts_with(b"\x7fELF") => return Err(odd("it is no ELF file".into())),
        Some(1) => interpreter::<FileHeader32<Endianness>>(content, EM_386),
        _ => interpreter::<FileHeader64<Endianness>>(content, EM_X86_64),
    };
    Ok(interpreter.map_err(odd)?.map_or(Kind::Static, Kind::Dynamic))
}

/// The interpreter that an ELF file for this machine names.
fn interpreter<E: FileHeader<Endian = Endianness>>(
    content: &[u8],
    machine: Machine,
) -> Result<Option<PathBuf>, String> {
    let damaged = |error: object::Error| format!("its ELF headers are damaged: {error}");
    let header = E::parse(content).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_machine(endian) != machine {
        return Err(format!("its machine is number {} of elf.h", header.e_machine(endian).0));
    }
    for part in header.program_headers(endian, content).map_err(damaged)? {
        if let Some(name) = part.interpreter(endian, content).map_err(damaged)? {
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> anyhow::Result<Kind> {
        kind(Path::new("x"), text.as_bytes())
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let Ok(Kind::Script(program, argument)) = script("#! /bin/sh -e x \nrest") else {
            panic!()
        };
        assert_eq!(program, Path::new("/bin/sh"));
        assert_eq!(argument.as_deref(), Some(OsStr::new("-e x")));
        let Ok(Kind::Script(_, None)) = script("#!/bin/sh") else { panic!() };
        assert!(script("#!\n").is_err());
    }

    #[test]
    fn what_is_no_program_of_this_machine_is_refused() {
        let mut arm = std::fs::read("/proc/self/exe").expect("this program");
        assert!(kind(Path::new("x"), &arm).is_ok());
        assert!(kind(Path::new("x"), &arm[..70]).is_err());
        arm[18] = 183;
        let Err(error) = kind(Path::new("x"), &arm) else { panic!() };
        assert!(error.to_string().contains("number 183"), "{error}");
        assert!(script("hello").is_err());
        assert!(script("").is_err());
    }

    #[test]
    fn paths_lose_their_dots() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut files = Files::default();
        files.add(Path::new("/a/b/c"), vec![]);
        files.add_directory(Path::new("/a/b"));
        let paths: Vec<&str> = files.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/a/b", "/a/b/c"]);
    }
}
