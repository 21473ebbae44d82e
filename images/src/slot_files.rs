// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads and writes files of a build slot. A hostile build can create symbolic links, FIFOs and
//! devices in its slot. These functions refuse them, because this process is not contained as the
//! build is.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The files of a build slot.
#[derive(Debug)]
pub(crate) struct SlotFiles {
    slot: PathBuf,
}

impl SlotFiles {
    /// The files of the slot in this folder, which is not a symbolic link.
    pub(crate) fn new(slot: PathBuf) -> SlotFiles {
        SlotFiles { slot }
    }

    /// The path of the slot.
    pub(crate) fn path(&self) -> &Path {
        &self.slot
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let (folder, file) = self.open_parent(name)?;
        // Without NONBLOCK, opening a FIFO waits.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(folder.as_fd(), file, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }

    /// The text of a file.
    pub(crate) fn read_to_string(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(name)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Copies a file to a path outside the slot.
    pub(crate) fn copy(&self, name: &str, to: &Path) -> io::Result<()> {
        io::copy(&mut self.open(name)?, &mut File::create(to)?).map(drop)
    }

    /// Creates an empty file. Removes an existing file with this name.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (folder, file) = self.open_parent(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        Ok(rustix::fs::openat(folder.as_fd(), file, flags, mode)?.into())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let (folder, file) = self.open_parent(name)?;
        Ok(rustix::fs::unlinkat(folder.as_fd(), file, rustix::fs::AtFlags::empty())?)
    }

    /// Creates a file with this text. Removes an existing file with this name.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.create(name)?.write_all(text.as_bytes())
    }

    /// Creates a folder, unless it exists. Removes a file of any other type with this name.
    pub(crate) fn create_folder(&self, name: &str) -> io::Result<()> {
        let path = self.slot.join(name);
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
    fn open_parent<'a>(&self, name: &'a str) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::open(&self.slot, flags, Mode::empty())?;
        let mut components = Path::new(name).components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(part) = component else { break };
            if components.peek().is_none() {
                return Ok((folder, part));
            }
            folder = rustix::fs::openat(folder.as_fd(), part, flags, Mode::empty())?;
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path below the build slot"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Creates a folder with a slot and, beside the slot, the file `secret`.
    fn folder_with_slot() -> (tempfile::TempDir, SlotFiles) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("slot/deep")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let files = SlotFiles::new(folder.path().join("slot"));
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
