// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the shared libraries of a program by reading ELF files. The program is not run, because it
//! may be untrusted.
//!
//! The search order is that of ld.so(8): `DT_RPATH`, `LD_LIBRARY_PATH`, `DT_RUNPATH`, the
//! directories of `/etc/ld.so.conf`, the default directories.

use object::Endianness;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, Machine,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use sudbox_images::{Links, open_regular, read_bounded};

/// Maximum number of libraries of one program. A large desktop program has about 200.
const MAX_LIBRARIES: usize = 1000;

/// Maximum size of a program with its interpreter and libraries, in bytes.
pub(super) const MAX_TOTAL_BYTES: u64 = 2 << 30;

/// Index of the class in an ELF file, and the value for 32-bit files.
pub(super) const EI_CLASS: usize = 4;
pub(super) const ELFCLASS32: u8 = 1;

/// Maximum size of `/etc/ld.so.conf` and of each file that it includes, in bytes.
const MAX_CONF_BYTES: u64 = 1 << 20;

/// Maximum number of files that `/etc/ld.so.conf` may include.
const MAX_INCLUDED_FILES: usize = 200;

/// Error: the libraries of a program were not found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LibraryError {
    /// A library is in none of the directories that are searched.
    #[error("{name}, which {needed_by} needs, is not found; set LD_LIBRARY_PATH to its directory")]
    Missing {
        /// The library's `DT_NEEDED` name.
        name: String,
        /// The file that names it.
        needed_by: String,
    },
    /// The ELF structures of a file contradict each other.
    #[error("{path}: damaged ELF file: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// The message of the parser.
        reason: String,
    },
    /// The program needs more than [`MAX_LIBRARIES`] libraries.
    #[error("it needs more than {MAX_LIBRARIES} libraries")]
    TooMany,
    /// The program and its libraries are larger than [`MAX_TOTAL_BYTES`].
    #[error("it and its libraries are larger than {} GiB", MAX_TOTAL_BYTES >> 30)]
    TooLarge,
}

/// The entries of a dynamic section that the search for libraries needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DynamicSection {
    needed_names: Vec<Vec<u8>>,
    rpath: Option<Vec<u8>>,
    runpath: Option<Vec<u8>>,
}

/// A file whose libraries are searched: the program, or one of its libraries.
struct SearchedFile {
    path: PathBuf,
    dynamic: DynamicSection,
    /// `DT_RPATH` directories inherited from the file that needs this file.
    inherited_rpath: Vec<PathBuf>,
}

/// Returns every library that a program needs, with its content, by path. The interpreter is not
/// included.
///
/// # Errors
/// [`LibraryError`].
pub(crate) fn find_libraries(
    program: &Path,
    content: &[u8],
    interpreter: &Path,
) -> Result<BTreeMap<PathBuf, Vec<u8>>, LibraryError> {
    let (class_and_machine, dynamic) = read_dynamic(program, content)?;
    let default_directories = default_directories(interpreter);
    let library_path = split_search_path(
        std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default().as_bytes(),
        program,
    );
    let mut libraries = BTreeMap::new();
    let mut remaining_bytes = MAX_TOTAL_BYTES.saturating_sub(content.len() as u64);
    let mut names = vec![interpreter.file_name().unwrap_or_default().as_bytes().to_vec()];
    let mut queue =
        VecDeque::from([SearchedFile { path: program.into(), dynamic, inherited_rpath: vec![] }]);
    while let Some(file) = queue.pop_front() {
        let own_rpath = match (&file.dynamic.rpath, &file.dynamic.runpath) {
            (Some(rpath), None) => split_search_path(rpath, &file.path),
            _ => vec![],
        };
        let rpath_and_inherited: Vec<PathBuf> =
            own_rpath.into_iter().chain(file.inherited_rpath).collect();
        let runpath = file.dynamic.runpath.as_deref();
        let runpath = runpath.map_or_else(Vec::new, |path| split_search_path(path, &file.path));
        // A file with DT_RUNPATH is searched without any DT_RPATH.
        let rpath = if file.dynamic.runpath.is_some() { &[][..] } else { &rpath_and_inherited };
        let search_lists = [rpath, &library_path, &runpath, &default_directories];
        for name in file.dynamic.needed_names {
            if names.contains(&name) {
                continue;
            }
            let found = find_library(&name, &search_lists, class_and_machine, remaining_bytes)?;
            let (path, content, dynamic) = found.ok_or_else(|| LibraryError::Missing {
                name: String::from_utf8_lossy(&name).into_owned(),
                needed_by: file.path.display().to_string(),
            })?;
            remaining_bytes -= content.len() as u64;
            names.push(name);
            if names.len() > MAX_LIBRARIES {
                return Err(LibraryError::TooMany);
            }
            queue.push_back(SearchedFile {
                path: path.clone(),
                dynamic,
                inherited_rpath: rpath_and_inherited.clone(),
            });
            libraries.insert(path, content);
        }
    }
    Ok(libraries)
}

/// Class and machine of an ELF file. A library must have the class and machine of its program.
type ClassAndMachine = (u8, Machine);

/// A library: its path, content and dynamic section.
type FoundLibrary = (PathBuf, Vec<u8>, DynamicSection);

/// Returns the first file of this name that is an ELF file of the right class and machine.
///
/// # Errors
/// [`LibraryError::TooLarge`] if a file of this name is longer than `limit` bytes.
fn find_library(
    name: &[u8],
    search_lists: &[&[PathBuf]],
    expected: ClassAndMachine,
    limit: u64,
) -> Result<Option<FoundLibrary>, LibraryError> {
    let name = OsStr::from_bytes(name);
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![PathBuf::from(name)]
    } else {
        search_lists.iter().flat_map(|list| list.iter()).map(|folder| folder.join(name)).collect()
    };
    for path in candidates {
        let content = match read_file(&path, limit) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                return Err(LibraryError::TooLarge);
            }
            Err(_) => continue,
        };
        match read_dynamic(&path, &content) {
            Ok((class_and_machine, dynamic)) if class_and_machine == expected => {
                return Ok(Some((path, content, dynamic)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    read_bounded(open_regular(path, Links::Follow)?, limit)
}

/// Splits a search path of the file `file` into directories. Replaces `$ORIGIN` by the directory of
/// the file.
fn split_search_path(path: &[u8], file: &Path) -> Vec<PathBuf> {
    let origin = file.canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned()));
    let origin = origin.unwrap_or_default().into_os_string();
    path.split(|byte| *byte == b':')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let part = String::from_utf8_lossy(part);
            let origin = origin.to_string_lossy();
            part.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).into()
        })
        .collect()
}

/// The directories that the interpreter searches for every program.
fn default_directories(interpreter: &Path) -> Vec<PathBuf> {
    let name = interpreter.file_name().unwrap_or_default().to_string_lossy();
    if let Some(arch) = name.strip_prefix("ld-musl-").and_then(|suffix| suffix.split('.').next()) {
        let configured = std::fs::read(format!("/etc/ld-musl-{arch}.path")).unwrap_or_default();
        let configured: Vec<PathBuf> = configured
            .split(|byte| b":\n".contains(byte))
            .filter(|part| !part.is_empty())
            .map(|part| PathBuf::from(OsStr::from_bytes(part)))
            .collect();
        if !configured.is_empty() {
            return configured;
        }
        return ["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from).to_vec();
    }
    let mut folders = Vec::new();
    read_conf(Path::new("/etc/ld.so.conf"), &mut folders, &mut 0);
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    folders.extend(interpreter.canonicalize().ok().and_then(|path| Some(path.parent()?.into())));
    folders
}

/// Reads `ld.so.conf`: a directory on each line, and `include` lines with a glob as last component.
fn read_conf(path: &Path, folders: &mut Vec<PathBuf>, file_count: &mut usize) {
    *file_count += 1;
    if *file_count > MAX_INCLUDED_FILES {
        return;
    }
    let Ok(text) = read_file(path, MAX_CONF_BYTES) else { return };
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let pattern = path.parent().unwrap_or(path).join(pattern.trim());
            for included in included_files(&pattern) {
                read_conf(&included, folders, file_count);
            }
        } else if line.starts_with('/') {
            folders.push(line.into());
        }
    }
}

/// The files that an `include` line names, sorted.
fn included_files(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let Ok(glob) = globset::Glob::new(&name).map(|glob| glob.compile_matcher()) else {
        return vec![];
    };
    let entries = pattern.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| glob.is_match(entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Reads class, machine and dynamic section of an ELF file.
fn read_dynamic(
    path: &Path,
    content: &[u8],
) -> Result<(ClassAndMachine, DynamicSection), LibraryError> {
    let class = content.get(EI_CLASS).copied().unwrap_or_default();
    let result = match class {
        ELFCLASS32 => parse_dynamic_section::<FileHeader32<Endianness>>(content),
        _ => parse_dynamic_section::<FileHeader64<Endianness>>(content),
    };
    let (machine, dynamic) = result.map_err(|error| LibraryError::Damaged {
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(((class, machine), dynamic))
}

fn parse_dynamic_section<E: FileHeader<Endian = Endianness>>(
    content: &[u8],
) -> Result<(Machine, DynamicSection), object::Error> {
    let header = E::parse(content)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    let segments = header.program_headers(endian, content)?;
    let mut dynamic = DynamicSection::default();
    for segment in segments {
        let Some(entries) = segment.dynamic(endian, content)? else { continue };
        let value = |tag| {
            let entry = entries.iter().find(|entry| entry.tag(endian) == tag);
            entry.map(|entry| -> u64 { entry.d_val(endian).into() })
        };
        let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { continue };
        let strings = segments
            .iter()
            .find_map(|segment| segment.data_range(endian, content, address, size).ok().flatten())
            .unwrap_or_default();
        let string = |offset: u64| -> Option<Vec<u8>> {
            let tail = strings.get(usize::try_from(offset).ok()?..)?;
            tail.split(|byte| *byte == 0).next().map(<[u8]>::to_vec)
        };
        dynamic.rpath = value(DT_RPATH).and_then(string);
        dynamic.runpath = value(DT_RUNPATH).and_then(string);
        let needed_entries = entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED);
        dynamic.needed_names =
            needed_entries.filter_map(|entry| string(entry.d_val(endian).into())).collect();
    }
    Ok((machine, dynamic))
}

#[cfg(test)]
mod tests;
