// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of prebuilt kernels.

use std::io;
use std::path::PathBuf;

use super::Fault;
use crate::image_file::ImageError;

/// An error about a prebuilt kernel. `typed` is the reference.
#[derive(Debug, thiserror::Error)]
pub enum PrebuiltError {
    #[error(
        "kernel installed: no kernel is installed here: there is neither /boot/vmlinuz-* nor \
         /usr/lib/modules/*/vmlinuz; name another"
    )]
    NothingInstalled,
    #[error("kernel {typed}: {}: {reason}", path.display())]
    Installed { typed: String, path: PathBuf, reason: ImageError },
    #[error("kernel {typed}: cannot be read: {reason}")]
    Unreadable { typed: String, reason: io::Error },
    #[error("kernel {typed}: {reason}")]
    Package { typed: String, reason: DebError },
    #[error("kernel {typed}: {reason}")]
    Image { typed: String, reason: DamagedImage },
    #[error("kernel {typed}: {reason}")]
    Module { typed: String, reason: ModuleError },
    #[error(
        "kernel {typed}: its {module} is a module that is not at hand; give the package, or put \
         lib/modules of this kernel beside the image's directory"
    )]
    ModuleMissing { typed: String, module: &'static str },
    #[error(
        "kernel {typed}: this vmlinux has no PVH entry, by which a VM enters it: give its bzImage, or \
         build it with CONFIG_PVH=y"
    )]
    NoEntry { typed: String },
    #[error(
        "this kernel cannot be judged: it is built without {symbol}, so its guest cannot reach the \
         host"
    )]
    WithoutTransport { symbol: &'static str },
}

impl PrebuiltError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            PrebuiltError::WithoutTransport { .. } | PrebuiltError::NoEntry { .. } => Fault::Kernel,
            _ => Fault::Input,
        }
    }
}

/// An error about a Debian package.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("not a Debian package")]
    NotAPackage,
    #[error("truncated: the package ends too soon")]
    Truncated,
    #[error("truncated: {remaining} of {size} bytes of its content are there")]
    Short { remaining: u64, size: u64 },
    #[error("damaged: a member of the package has no header")]
    NoHeader,
    #[error(
        "its {name} has a compression that sudbox does not know; pack it again with xz \
         (dpkg-deb -Zxz)"
    )]
    UnknownCompression { name: String },
    #[error("damaged: {name} cannot be unpacked: {reason}")]
    Damaged { name: String, reason: io::Error },
    #[error("the package {name} is for {package_arch}, not for {wanted}")]
    ForeignPackage { name: String, package_arch: String, wanted: &'static str },
    #[error(
        "the package {name} {version} holds no kernel (vmlinuz); name one such as \
         linux-image-6.12.117+deb12-cloud-amd64"
    )]
    NoKernel { name: String, version: String },
}

/// An error in unpacking a bzImage.
#[derive(Debug, thiserror::Error)]
pub enum DamagedImage {
    #[error("truncated: the file ends before its compressed kernel does")]
    Truncated,
    #[error("its kernel, packed with {compression}, is damaged: {reason}")]
    Payload { compression: &'static str, reason: String },
}

/// An error about a module.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("its module {name} cannot be read: {reason}")]
    Unreadable { name: String, reason: io::Error },
    #[error("its module {name} depends on itself")]
    Circular { name: String },
}
