// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of finding, downloading and unpacking releases and packages.

use super::Fault;
use super::reference::ACCEPTED_REFERENCES;
use crate::makefile::NotATree;
use crate::version::{Release, Version};

/// An error in finding, downloading or unpacking a release or package.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(
        "no source of linux {version} can be reached: neither {sources}; connect this machine, set \
         the proxy variables, or give a source tree, or a git tree with --linux (LINUX=)"
    )]
    Unreachable { version: Version, sources: String },
    #[error(
        "kernel {version}: no source has a release of this series; on offer: {offers}; give {ACCEPTED_REFERENCES}"
    )]
    NoSuchSeries { version: Version, offers: String },
    #[error("{substitution_note}, which --exact (EXACT=) refuses")]
    NotExact { substitution_note: String },
    #[error("kernel {name}: upstream's releases.json names no release; name one, such as 6.12")]
    NothingReleased { name: &'static str },
    #[error(
        "kernel {name}: it is v{release}, which no source has; give a git tree with --linux (LINUX=), or name \
         another release"
    )]
    NewestNowhere { name: &'static str, release: Release },
    #[error(
        "kernel {name}: neither upstream nor the distribution's packages can be reached; connect \
         this machine, set the proxy variables, or name a release that is in the cache (sudbox \
         kernels)"
    )]
    NewestUnknown { name: &'static str },
    #[error("cannot download {what}: {output}; {advice}")]
    Download { what: String, output: String, advice: &'static str },
    #[error(
        "{url} is not what was published: its sha256 is {actual}, it should be {published}; somebody \
         between here and there changes files, use another network"
    )]
    Tampered { url: String, actual: String, published: String },
    #[error(
        "{url} has no signature of the kernel's maintainers ({reason}); somebody between here and there \
         changes files, use another network"
    )]
    BadSignature { url: String, reason: String },
    #[error(
        "{variable} is {url}, which others on the network can change; give an address that begins with \
         https:// or file://"
    )]
    InsecureMirror { variable: &'static str, url: String },
    #[error(
        "cannot download {what}: {output}; it is not what was published, use another network or \
         mirror"
    )]
    TamperedPackage { what: String, output: String },
    #[error("apt does not know the checksum of {what}; run apt-get update")]
    NoChecksum { what: String },
    #[error("the archive of the source does not hold one folder; name another release")]
    NotOneFolder,
    #[error("{label}: {reason}")]
    NotLinux { label: String, reason: NotATree, named_by_user: bool },
    #[error("cannot unpack {what}: {output}")]
    CannotUnpack { what: String, output: String },
    #[error("the package holds no {wanted} file; it is not what it was")]
    NotInPackage { wanted: String },
    #[error(
        "the cache's record of where linux {version} is from is damaged; remove its file from the \
         cache's folder `resolved`"
    )]
    DamagedRecord { version: String },
    #[error(
        "kernel {typed}: packages are taken for this machine's own architecture only; for {arch} \
         name a release, a tree or an image"
    )]
    ForeignPackage { typed: String, arch: &'static str },
    #[error(
        "kernel {typed}: the packages have it in part: {package} is there, its part {part} is not; \
         name another (sudbox kernels lists those that are whole)"
    )]
    PackageInPart { typed: String, package: String, part: String },
    #[error(
        "kernel {typed}: packages by name need apt, which this machine does not have; give the .deb file"
    )]
    NeedsApt { typed: String },
    #[error(
        "kernel {typed}: the distribution's packages cannot be reached; connect this machine, set \
         the proxy variables, or give the .deb file"
    )]
    PackagesUnreachable { typed: String },
    #[error(
        "kernel {typed}: the distribution has no such package; on offer: {offers}; give {ACCEPTED_REFERENCES}"
    )]
    NoSuchPackage { typed: String, offers: String },
    #[error(
        "this machine's Rust has no standard library for {target} ({reason}); with rustup: rustup \
         target add {target}"
    )]
    NoRustLibrary { target: String, reason: &'static str },
}

impl SourceError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            SourceError::NoSuchSeries { .. }
            | SourceError::NotLinux { named_by_user: true, .. }
            | SourceError::ForeignPackage { .. }
            | SourceError::InsecureMirror { .. }
            | SourceError::NoSuchPackage { .. } => Fault::Input,
            _ => Fault::Machine,
        }
    }
}
