// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads and writes files below a folder without following symbolic links. A hostile build can
//! create links, FIFOs and devices in its slot, and a hostile tree or patch in the copies of its
//! files. This process is not contained as a build is, so these functions refuse them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::regular_file;

/// Maximum size of a file that [`Folder::read_to_string`] reads, in bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// A folder whose files strangers may have made.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at this path, which is not a symbolic link.
    pub(crate) fn new(root: PathBuf) -> Folder {
        Folder { root }
    }

    /// The path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the file or a folder above it is a link or special file.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let (folder, file) = self.open_parent(name, OnMissing::Fail)?;
        // Without NONBLOCK, opening a FIFO waits.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder.as_fd(), file, flags, Mode::empty());
        regular_file::require_regular(opened.map(File::from).map_err(io::Error::from))
    }

    /// The content of a file of at most `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        regular_file::read_bounded(self.open(name)?, limit)
    }

    /// The text of a file of at most [`MAX_TEXT_BYTES`].
    pub(crate) fn read_to_string(&self, name: &str) -> io::Result<String> {
        regular_file::text(self.read(name, MAX_TEXT_BYTES)?)
    }

    /// Copies a file to a path outside the folder.
    pub(crate) fn copy(&self, name: &str, to: &Path) -> io::Result<()> {
        io::copy(&mut self.open(name)?, &mut File::create(to)?).map(drop)
    }

    /// Creates an empty file. Removes an existing file with this name.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let (folder, file) = self.open_parent(name, OnMissing::Fail)?;
        create_in(&folder, file)
    }

    /// Creates an empty file, and the folders above it where they are missing. Removes an existing
    /// file with this name.
    pub(crate) fn create_with_parents(&self, name: &str) -> io::Result<File> {
        let (folder, file) = self.open_parent(name, OnMissing::Create)?;
        create_in(&folder, file)
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let (folder, file) = self.open_parent(name, OnMissing::Fail)?;
        Ok(rustix::fs::unlinkat(folder.as_fd(), file, AtFlags::empty())?)
    }

    /// Creates a file with this text. Removes an existing file with this name.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.create(name)?.write_all(text.as_bytes())
    }

    /// Creates a folder, unless it exists. Removes a file of any other type with this name.
    pub(crate) fn create_folder(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => return Ok(()),
            Ok(_) => fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir(&path)
    }

    /// Opens the parent folder of a file, component by component and without symbolic links. Returns
    /// the folder and the last component of `name`.
    fn open_parent<'a>(
        &self,
        name: &'a str,
        on_missing: OnMissing,
    ) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::open(&self.root, flags, Mode::empty())?;
        let mut components = Path::new(name).components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(part) = component else { break };
            if components.peek().is_none() {
                return Ok((folder, part));
            }
            if on_missing == OnMissing::Create {
                match rustix::fs::mkdirat(folder.as_fd(), part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            folder = match rustix::fs::openat(folder.as_fd(), part, flags, Mode::empty()) {
                Ok(subfolder) => subfolder,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(&folder, part)),
                Err(error) => return Err(error.into()),
            };
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path below the folder"))
    }
}

/// The treatment of a missing folder above a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnMissing {
    Fail,
    Create,
}

/// The error for a component that is not a folder. Below a regular file there is no file; a link is
/// refused.
fn not_a_folder(parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Error {
    match rustix::fs::statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            io::ErrorKind::NotFound.into()
        }
        _ => regular_file::not_regular(),
    }
}

/// Creates an empty file in an open folder. Removes an existing file with this name.
fn create_in(folder: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<File> {
    match rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    Ok(rustix::fs::openat(folder.as_fd(), name, flags, mode)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Creates a folder with a slot and, beside the slot, the file `secret`.
    fn folder_with_slot() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("slot/deep")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let files = Folder::new(folder.path().join("slot"));
        (folder, files)
    }

    #[test]
    fn regular_files_are_read_written_and_copied() {
        let (folder, files) = folder_with_slot();
        files.write("deep/file", "one").unwrap();
        files.write("deep/file", "two").unwrap();
        assert_eq!(files.read_to_string("deep/file").unwrap(), "two");
        files.copy("deep/file", &folder.path().join("copy")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("copy")).unwrap(), "two");
        assert!(files.read_to_string("missing").is_err());
    }

    #[test]
    fn links_fifos_and_paths_outside_are_refused() {
        let (folder, files) = folder_with_slot();
        symlink("../secret", files.path().join("link")).unwrap();
        symlink("..", files.path().join("up")).unwrap();
        let fifo = files.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        for name in ["link", "up/secret", "../secret", "/etc/passwd", "fifo", "deep", ""] {
            assert!(files.read_to_string(name).is_err(), "{name}");
        }
        files.write("link", "log").unwrap();
        assert!(files.write("up/secret", "log").is_err());
        assert_eq!(fs::read_to_string(folder.path().join("secret")).unwrap(), "secret");
        symlink("..", files.path().join("tmp")).unwrap();
        files.create_folder("tmp").unwrap();
        assert!(!files.path().join("tmp").is_symlink());
    }
}
