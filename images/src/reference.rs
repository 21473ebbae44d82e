// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a person types after `KERNEL=`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::Error;
use crate::image_file;
use crate::image_file::ImageFile;
use crate::makefile::tree_release;
use crate::paths::expand_home;
use crate::pins::Pins;
use crate::prebuilt::deb;
use crate::version::{Release, Series};

/// A kernel reference, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// This release and no other, such as `v6.12.117`.
    Exact(Release),
    /// The newest of a series, such as `6.12`.
    Newest(Series),
    /// A pinned kernel, by its name.
    Pinned(String),
    /// A source tree, by its canonical path.
    Tree(PathBuf),
    /// A commit of the git tree that `LINUX=` names, as git-rev-parse(1) takes it.
    Commit(String),
    /// The newest release there is, candidates included.
    Latest,
    /// The newest release that is no candidate.
    Stable,
    /// A kernel image that is there already.
    Image(ImageFile),
    /// The newest kernel that is installed here.
    Installed,
    /// The file of a distribution package.
    PackageFile(PathBuf),
    /// A distribution package by its name.
    Package(String),
    /// The distribution's newest package of a series for clouds.
    NewestPackage(Series),
}

impl Reference {
    /// Understands a reference. Empty means the pinned default, and so does `pinned`. In a git tree (`linux`), what is
    /// none of the rest is a commit.
    ///
    /// # Errors
    /// [`Error::Input`] with one sentence that says what is wrong and what is accepted;
    /// [`Error::Machine`] if a file cannot be read.
    pub(crate) fn parse(text: &str, arch: Arch, linux: Option<&Path>) -> Result<Reference, Error> {
        let text = text.trim();
        let pins = Pins::embedded()?;
        let name = match text {
            "" | "pinned" => pins.default_name(arch).unwrap_or(text),
            _ => text,
        };
        if let Some(series) = pins.series(name) {
            if !pins.names(arch).any(|other| other == name) {
                return Err(Error::Input(format!(
                    "KERNEL={text} is not for {}; pinned for it: {}; {ACCEPTED}",
                    arch.name(),
                    pins.names(arch).collect::<Vec<_>>().join(", ")
                )));
            }
            return Ok(match pins.patches(name).is_empty() {
                true => Reference::Newest(series),
                false => Reference::Pinned(name.to_owned()),
            });
        }
        match text {
            "latest" => return Ok(Reference::Latest),
            "stable" => return Ok(Reference::Stable),
            "installed" => return Ok(Reference::Installed),
            "running" => {
                return Err(Error::Input(format!(
                    "KERNEL={text}: the kernel that is running here has no image to boot; {ACCEPTED}"
                )));
            }
            _ => {}
        }
        if let Some(package) = text.strip_prefix("deb:") {
            return of_package(text, package);
        }
        if let Some(release) = text.strip_prefix('v').and_then(|rest| rest.parse().ok()) {
            return Ok(Reference::Exact(release));
        }
        if let Ok(series) = text.parse() {
            return Ok(Reference::Newest(series));
        }
        if let Ok(release) = text.parse::<Release>() {
            return Ok(Reference::Exact(release));
        }
        let path = expand_home(Path::new(text));
        if path.exists() {
            return of_path(text, &path, arch);
        }
        if linux.is_some() && !text.starts_with(['.', '/', '~']) {
            return Ok(Reference::Commit(text.to_owned()));
        }
        Err(Error::Input(if text.contains('/') || text.starts_with('~') {
            format!("KERNEL={text}: there is no such file or directory; {ACCEPTED}")
        } else {
            let names: Vec<&str> = pins.names(arch).collect();
            format!(
                "KERNEL={text}: neither a version nor a file; pinned here: {}; {ACCEPTED}",
                names.join(", ")
            )
        }))
    }
}

impl Reference {
    /// Whether it is built here.
    pub(crate) fn has_source(&self) -> bool {
        match self {
            Reference::Exact(_)
            | Reference::Newest(_)
            | Reference::Pinned(_)
            | Reference::Tree(_)
            | Reference::Commit(_)
            | Reference::Latest
            | Reference::Stable => true,
            Reference::Image(_)
            | Reference::Installed
            | Reference::PackageFile(_)
            | Reference::Package(_)
            | Reference::NewestPackage(_) => false,
        }
    }
}

/// What is accepted, said wherever something else was given.
pub(crate) const ACCEPTED: &str = "give a release such as v6.12.117, a series such as 6.12, latest, \
     stable, installed, the directory of a Linux source tree, a vmlinux, bzImage or .deb file, \
     deb:6.12 or deb:PACKAGE, or a commit of the git tree in LINUX=";

/// A package by its name (Debian policy, 5.6.1), or the newest of a series.
fn of_package(text: &str, package: &str) -> Result<Reference, Error> {
    if let Ok(series) = package.parse() {
        return Ok(Reference::NewestPackage(series));
    }
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    if package.len() < 2 || package.starts_with(['+', '-', '.']) || !package.bytes().all(known) {
        return Err(Error::Input(format!(
            "KERNEL={text}: not the name of a package; give a series such as deb:6.12 or a package \
             such as deb:linux-image-6.12.117+deb12-cloud-amd64"
        )));
    }
    Ok(Reference::Package(package.to_owned()))
}

fn of_path(text: &str, path: &Path, arch: Arch) -> Result<Reference, Error> {
    let unreadable =
        |e: std::io::Error| Error::Input(format!("KERNEL={text}: cannot be read: {e}"));
    let path = fs::canonicalize(path).map_err(unreadable)?;
    let meta = fs::metadata(&path).map_err(unreadable)?;
    if !meta.is_dir() {
        let mut head = [0; deb::MAGIC.len()];
        let is_package = fs::File::open(&path)
            .and_then(|mut file| file.read_exact(&mut head))
            .is_ok_and(|()| head == deb::MAGIC);
        if is_package {
            return Ok(Reference::PackageFile(path));
        }
        return image_file::inspect(&path, arch)
            .map(Reference::Image)
            .map_err(|why| Error::Input(format!("KERNEL={text}: {why}")));
    }
    match tree_release(&path) {
        Ok(_) => Ok(Reference::Tree(path)),
        Err(what) => Err(Error::Input(format!(
            "KERNEL={text}: not a Linux source tree: {what}; name the directory that holds Linux's \
             top Makefile"
        ))),
    }
}

#[cfg(test)]
mod tests;
