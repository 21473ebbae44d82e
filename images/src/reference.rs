// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parses the text after `KERNEL=`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::{self, Arch};
use crate::error::{Error, ReferenceError};
use crate::image_file::{self, ImageFile};
use crate::makefile::tree_release;
use crate::patches::Patch;
use crate::paths::expand_home;
use crate::pins::Pins;
use crate::types::Request;
use crate::version::{Series, Version};

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A release or commit, built from source.
    Release {
        /// The release or commit.
        wanted: WantedRelease,
        /// The patches of sudbox for this kernel; only some pinned kernels have patches.
        patches: Vec<Patch>,
    },
    /// A source tree: its canonical path.
    Tree(PathBuf),
    /// A kernel that was built elsewhere.
    Prebuilt(WantedPrebuilt),
}

/// The release or commit that the user requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WantedRelease {
    /// By its version.
    Version(Version),
    /// The newest release, candidates included.
    Latest,
    /// The newest release that is not a candidate.
    Stable,
    /// A commit of the git tree in `LINUX=`, in the syntax of gitrevisions(7).
    Commit(String),
}

/// The prebuilt kernel that the user requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WantedPrebuilt {
    /// An image file.
    Image(ImageFile),
    /// The newest kernel that is installed on this machine.
    Installed,
    /// A Debian package file.
    PackageFile(PathBuf),
    /// A package of the distribution, by name.
    Package(String),
    /// The distribution's newest cloud kernel of a series.
    NewestPackage(Series),
}

impl Reference {
    /// The reference of a request.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub(crate) fn from_request(request: &Request) -> Result<Reference, Error> {
        Reference::parse(&request.reference, request.arch, request.linux.as_deref())
    }

    /// Parses a reference. An empty text and `pinned` mean the pinned default. If there is a git
    /// tree (`linux`), a text of no other form is the name of a commit.
    ///
    /// # Errors
    /// [`ReferenceError`]; its message lists the accepted references.
    pub(crate) fn parse(text: &str, arch: Arch, linux: Option<&Path>) -> Result<Reference, Error> {
        let text = text.trim();
        if let Some(reference) = pinned(text, arch)? {
            return Ok(reference);
        }
        match text {
            "latest" => return Ok(release(WantedRelease::Latest)),
            "stable" => return Ok(release(WantedRelease::Stable)),
            "installed" => return Ok(Reference::Prebuilt(WantedPrebuilt::Installed)),
            "running" => {
                return Err(ReferenceError::Running { typed: text.to_owned() }.into());
            }
            _ => {}
        }
        if let Some(package) = text.strip_prefix("deb:") {
            return parse_package(text, package).map(Reference::Prebuilt);
        }
        if let Ok(version) = text.parse() {
            return Ok(release(WantedRelease::Version(version)));
        }
        let path = expand_home(Path::new(text));
        // symlink_metadata() also finds a symbolic link without a target.
        if path.symlink_metadata().is_ok() {
            return inspect_path(text, &path, arch);
        }
        if linux.is_some() && !text.starts_with(['.', '/', '~']) {
            return Ok(release(WantedRelease::Commit(text.to_owned())));
        }
        let typed = text.to_owned();
        if text.contains('/') || text.starts_with('~') {
            return Err(ReferenceError::NoSuchFile { typed }.into());
        }
        let pinned = pinned_names(&Pins::embedded()?, arch);
        Err(ReferenceError::NotAVersion { typed, pinned }.into())
    }
}

/// The names of an architecture's pinned kernels, joined by commas.
fn pinned_names(pins: &Pins, arch: Arch) -> String {
    pins.names(arch).collect::<Vec<_>>().join(", ")
}

/// A release without patches of sudbox.
fn release(wanted: WantedRelease) -> Reference {
    Reference::Release { wanted, patches: Vec::new() }
}

/// The pinned kernel with the name `text`, if there is one.
fn pinned(text: &str, arch: Arch) -> Result<Option<Reference>, Error> {
    let pins = Pins::embedded()?;
    let name = match text {
        "" | "pinned" => arch::facts(arch).default_kernel,
        _ => text,
    };
    let Some(series) = pins.series(name) else { return Ok(None) };
    if !pins.names(arch).any(|other| other == name) {
        let (typed, arch, pinned) = (text.to_owned(), arch.name(), pinned_names(&pins, arch));
        return Err(ReferenceError::NotForArch { typed, arch, pinned }.into());
    }
    let wanted = WantedRelease::Version(Version::Newest(series));
    Ok(Some(Reference::Release { wanted, patches: pins.patches(name) }))
}

/// Parses the text after `deb:`: a package's name (Debian policy, 5.6.1) or a series.
fn parse_package(text: &str, package: &str) -> Result<WantedPrebuilt, Error> {
    if let Ok(series) = package.parse() {
        return Ok(WantedPrebuilt::NewestPackage(series));
    }
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    if package.len() < 2 || package.starts_with(['+', '-', '.']) || !package.bytes().all(is_allowed)
    {
        return Err(ReferenceError::NotAPackage { typed: text.to_owned() }.into());
    }
    Ok(WantedPrebuilt::Package(package.to_owned()))
}

/// Recognises an existing file or directory as a package, an image or a source tree.
fn inspect_path(text: &str, path: &Path, arch: Arch) -> Result<Reference, Error> {
    let typed = text.to_owned();
    let unreadable = |reason| ReferenceError::Unreadable { typed: text.to_owned(), reason };
    let path = fs::canonicalize(path).map_err(unreadable)?;
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_dir() {
        if image_file::is_deb(&path) {
            return Ok(Reference::Prebuilt(WantedPrebuilt::PackageFile(path)));
        }
        return image_file::inspect(&path, arch)
            .map(|image| Reference::Prebuilt(WantedPrebuilt::Image(image)))
            .map_err(|reason| ReferenceError::NotAKernel { typed, reason }.into());
    }
    match tree_release(&path) {
        Ok(_) => Ok(Reference::Tree(path)),
        Err(reason) => Err(ReferenceError::NotATree { typed, reason }.into()),
    }
}

#[cfg(test)]
mod tests;
