// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads regular files of strangers. Opening a FIFO, or reading a device, could wait or go on for
//! ever.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The treatment of a path that names a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Open the file to which the link points.
    Follow,
    /// Fail. This concerns the last component of the path only.
    Refuse,
}

/// Opens a regular file for reading.
///
/// # Errors
/// As open(2); [`io::ErrorKind::IsADirectory`] for a directory; [`io::ErrorKind::InvalidInput`] for a
/// special file, and for a link that is refused.
pub fn open_regular(path: &Path, links: Links) -> io::Result<File> {
    let no_follow = if links == Links::Refuse { libc::O_NOFOLLOW } else { 0 };
    // Without NONBLOCK, opening a FIFO waits for a writer.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | no_follow).open(path);
    require_regular(opened)
}

/// Reads a file to its end.
///
/// # Errors
/// As read(2); [`io::ErrorKind::FileTooLarge`] if the file is longer than `limit` bytes.
pub fn read_bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // The size is known at once, but files of /proc have size 0, and a file may grow.
    if file.metadata()?.len() > limit {
        return Err(too_large(limit));
    }
    read_limited(file, limit)
}

/// Reads to the end of at most `limit` bytes.
///
/// # Errors
/// If reading fails, or [`io::ErrorKind::FileTooLarge`] if there are more.
pub(crate) fn read_limited(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = reader.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if length as u64 > limit { Err(too_large(limit)) } else { Ok(content) }
}

/// The error about data of more than `limit` bytes.
pub(crate) fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {} MiB", limit >> 20))
}

/// Reads a regular text file. Follows symbolic links.
///
/// # Errors
/// As [`open_regular`] and [`read_bounded`]; [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub(crate) fn read_text_bounded(path: &Path, limit: u64) -> io::Result<String> {
    text(read_bounded(open_regular(path, Links::Follow)?, limit)?)
}

/// The text of a file.
pub(crate) fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces the result of open(2) by an error unless a regular file was opened.
pub(crate) fn require_regular(opened: io::Result<File>) -> io::Result<File> {
    match opened {
        Ok(file) => {
            let file_type = file.metadata()?.file_type();
            if file_type.is_file() {
                Ok(file)
            } else if file_type.is_dir() {
                Err(io::ErrorKind::IsADirectory.into())
            } else {
                Err(not_regular())
            }
        }
        // A link that is not followed; a socket, or a device without a driver.
        Err(error) if [Some(libc::ELOOP), Some(libc::ENXIO)].contains(&error.raw_os_error()) => {
            Err(not_regular())
        }
        Err(error) => Err(error),
    }
}

/// The error for a link or a special file.
pub(crate) fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        let mode = rustix::fs::Mode::RWXU;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let error = open_regular(&path("."), Links::Follow).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        for name in ["fifo", "socket", "zero"] {
            let error = open_regular(&path(name), Links::Follow).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(open_regular(&path("link"), Links::Follow).is_ok());
        let error = open_regular(&path("link"), Links::Refuse).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let read = |limit| read_bounded(open_regular(&path("file"), Links::Refuse)?, limit);
        assert_eq!(read(4).unwrap(), b"text");
        assert_eq!(read(3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
