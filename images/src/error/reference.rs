// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors in the text after `KERNEL=`.

use std::io;

use crate::image_file::ImageError;
use crate::makefile::NotATree;

/// An invalid reference. `typed` is the reference.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "kernel {typed} is not for {arch}; pinned for it: {pinned}; give {ACCEPTED_REFERENCES}"
    )]
    NotForArch { typed: String, arch: &'static str, pinned: String },
    #[error(
        "kernel {typed}: the kernel that is running here has no image to boot; give {ACCEPTED_REFERENCES}"
    )]
    Running { typed: String },
    #[error("kernel {typed}: there is no such file or directory; give {ACCEPTED_REFERENCES}")]
    NoSuchFile { typed: String },
    #[error(
        "kernel {typed}: neither a version nor a file; pinned here: {pinned}; give {ACCEPTED_REFERENCES}"
    )]
    NotAVersion { typed: String, pinned: String },
    #[error(
        "kernel {typed}: not the name of a package; give a series such as deb:6.12 or a package \
         such as deb:linux-image-6.12.117+deb12-cloud-amd64"
    )]
    NotAPackage { typed: String },
    #[error("kernel {typed}: cannot be read: {reason}")]
    Unreadable { typed: String, reason: io::Error },
    #[error("kernel {typed}: {reason}")]
    NotAKernel { typed: String, reason: ImageError },
    #[error(
        "kernel {typed}: not a Linux source tree: {reason}; name the directory that holds Linux's \
         top Makefile"
    )]
    NotATree { typed: String, reason: NotATree },
    #[error(
        "kernel {typed} is a prebuilt kernel, which cannot be patched: name a release or a tree"
    )]
    PatchedPrebuilt { typed: String },
    #[error("{typed} is a prebuilt kernel and has no selftests: name a release or a tree")]
    NoSelftests { typed: String },
    #[error("{0}")]
    UnknownArch(sudbox_protocol::UnknownArch),
}

/// The references that [`Reference::parse`](crate::reference::Reference::parse) accepts, for messages and help.
pub const ACCEPTED_REFERENCES: &str = "a release such as v6.12.117, a series such as 6.12, latest, \
     stable, installed, the directory of a Linux source tree, a vmlinux, bzImage or .deb file, \
     deb:6.12 or deb:PACKAGE, or a commit of the git tree of --linux (LINUX=)";
