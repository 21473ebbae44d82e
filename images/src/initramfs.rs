// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs an initramfs: a cpio archive in the "new ASCII" format that the kernel unpacks
//! (Documentation/driver-api/early-userspace/buffer-format.rst, `do_header()` in init/initramfs.c).
//!
//! Equal entries give equal bytes: the archive has no times, owners or inode numbers of the host.

/// One file system object of an initramfs, owned by root, with time 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute or relative path in the guest, such as `init` or `/dev/console`.
    pub path: String,
    /// Permission bits, such as 0o755.
    pub mode: u32,
    /// Type and content.
    pub kind: EntryKind,
}

/// The type of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file and its content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Entry {
    /// A regular file.
    pub fn file(path: impl Into<String>, mode: u32, content: impl Into<Vec<u8>>) -> Entry {
        Entry { path: path.into(), mode, kind: EntryKind::File(content.into()) }
    }

    /// A directory.
    pub fn directory(path: impl Into<String>, mode: u32) -> Entry {
        Entry { path: path.into(), mode, kind: EntryKind::Directory }
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<String>, target: impl Into<String>) -> Entry {
        Entry { path: path.into(), mode: 0o777, kind: EntryKind::Symlink(target.into()) }
    }

    /// A character device.
    pub fn char_device(path: impl Into<String>, mode: u32, major: u32, minor: u32) -> Entry {
        Entry { path: path.into(), mode, kind: EntryKind::CharDevice { major, minor } }
    }
}

/// An archive is padded to a multiple of this many bytes, as cpio(1) does. QEMU expects this padding in
/// concatenated archives.
const ARCHIVE_ALIGNMENT: usize = 512;

/// Packs the entries in their order. A directory must come before its entries, because the kernel
/// does not create parent directories.
///
/// # Panics
/// If the length of a file or of a path does not fit the format's 32-bit fields (4 GiB).
#[must_use]
pub fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for (inode, entry) in (1u32..).zip(entries) {
        let path = entry.path.trim_start_matches('/');
        let (file_type, content, device): (u32, &[u8], (u32, u32)) = match &entry.kind {
            EntryKind::File(content) => (libc::S_IFREG, content, (0, 0)),
            EntryKind::Directory => (libc::S_IFDIR, &[], (0, 0)),
            EntryKind::Symlink(target) => (libc::S_IFLNK, target.as_bytes(), (0, 0)),
            EntryKind::CharDevice { major, minor } => (libc::S_IFCHR, &[], (*major, *minor)),
        };
        let links = if file_type == libc::S_IFDIR { 2 } else { 1 };
        let mode = file_type | (entry.mode & 0o7777);
        append_member(&mut out, inode, mode, links, device, path, content);
    }
    append_member(&mut out, 0, 0, 1, (0, 0), "TRAILER!!!", &[]);
    pad(&mut out, ARCHIVE_ALIGNMENT);
    out
}

/// Appends one member: header with name, and content, each padded to four bytes.
fn append_member(
    out: &mut Vec<u8>,
    inode: u32,
    mode: u32,
    links: u32,
    (major, minor): (u32, u32),
    name: &str,
    content: &[u8],
) {
    let size = u32::try_from(content.len()).expect("an initramfs file is below 4 GiB");
    let name_size = u32::try_from(name.len() + 1).expect("a path is below 4 GiB");
    out.extend_from_slice(b"070701");
    // c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_maj c_min c_rmaj c_rmin c_namesize
    // c_chksum
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, 4);
    out.extend_from_slice(content);
    pad(out, 4);
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

#[cfg(test)]
mod tests;
