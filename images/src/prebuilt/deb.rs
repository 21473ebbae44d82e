// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a kernel's image, configuration and modules from Debian packages (deb(5)), without dpkg.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use super::modules::Modules;
use crate::arch::{self, Arch};
use crate::compression::Compression;
use crate::error::DebError;
use crate::image_file::DEB_MAGIC;

/// Size of a member's header in bytes (ar(5)).
const HEADER: usize = 60;

/// The contents of the packages of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Package {
    /// Name of the first package.
    pub(crate) name: String,
    /// Version of the first package.
    pub(crate) version: String,
    /// The kernel image; empty if no package has one.
    pub(crate) image: Vec<u8>,
    /// The configuration, if a package has it.
    pub(crate) config: Option<String>,
    pub(crate) modules: Modules,
}

/// Reads the packages of one kernel. There may be several, because distributions put image, modules
/// and configuration into separate packages.
///
/// # Errors
/// [`DebError`] if a package is damaged, is for another architecture, or none has an image.
pub(crate) fn read(paths: &[PathBuf], arch: Arch) -> Result<Package, DebError> {
    let mut whole = Package::default();
    for path in paths {
        whole.read(path, arch)?;
    }
    if whole.image.is_empty() {
        return Err(DebError::NoKernel { name: whole.name, version: whole.version });
    }
    Ok(whole)
}

/// The part of a package's name that all packages of one kernel share: `7.3.4+deb13-cloud-amd64` in
/// `linux-image-7.3.4+deb13-cloud-amd64`.
pub(crate) fn kernel_name(package: &str) -> Option<&str> {
    let (_, rest) = package.strip_prefix("linux-")?.split_once('-')?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(rest)
}

/// The package files of one kernel: the given one, and its other parts in the same folder.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let of = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".deb")?;
        let (package, version) = name.split_once('_')?;
        let is_part = PARTS.iter().any(|part| package.starts_with(part));
        is_part.then(|| Some((kernel_name(package)?.to_owned(), version.to_owned())))?
    };
    let mut all = vec![path.to_owned()];
    let Some((kernel, folder)) = of(path).zip(path.parent()) else { return all };
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut parts: Vec<PathBuf> =
        beside.filter(|other| other != path && of(other).as_ref() == Some(&kernel)).collect();
    parts.sort();
    all.extend(parts);
    all
}

/// Prefixes of the packages of a kernel. Ubuntu, and Debian from 6.19 on, split kernels into several.
pub(crate) const PARTS: [&str; 4] =
    ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

impl Package {
    /// Adds the contents of one package.
    fn read(&mut self, path: &Path, arch: Arch) -> Result<(), DebError> {
        let mut file = File::open(path).map_err(DebError::Unreadable)?;
        let length = file.metadata().map_err(DebError::Unreadable)?.len();
        let take = |file: &mut File, bytes: &mut [u8]| {
            file.read_exact(bytes).map_err(|_| DebError::Truncated)
        };
        let mut magic = [0; DEB_MAGIC.len()];
        take(&mut file, &mut magic)?;
        if magic != DEB_MAGIC {
            return Err(DebError::NotAPackage);
        }
        loop {
            let mut header = [0; HEADER];
            take(&mut file, &mut header)?;
            let text = String::from_utf8_lossy(&header);
            let size = text.get(48..58).and_then(|size| size.trim().parse::<u64>().ok());
            let (Some(size), true) = (size, text.ends_with("`\n")) else {
                return Err(DebError::NoHeader);
            };
            let left = length.saturating_sub(file.stream_position().map_err(DebError::Unreadable)?);
            if size > left {
                return Err(DebError::Short { left, size });
            }
            let name =
                text.get(..16).unwrap_or_default().trim_end().trim_end_matches('/').to_owned();
            let damaged = |why| DebError::Damaged { name: name.clone(), why };
            let mut member = (&file).take(size);
            if name.starts_with("control.tar") {
                self.control(unpacked(&name, &mut member).map_err(damaged)?, arch)
                    .map_err(damaged)??;
            } else if name.starts_with("data.tar") {
                self.data(unpacked(&name, &mut member).map_err(damaged)?).map_err(damaged)?;
                return Ok(());
            }
            io::copy(&mut member, &mut io::sink()).map_err(damaged)?;
            if size % 2 == 1 {
                take(&mut file, &mut [0])?;
            }
        }
    }
}

/// The tar archive in a member. The member's name tells the compression (`data.tar.xz`).
fn unpacked<'a>(
    name: &str,
    member: impl Read + 'a,
) -> io::Result<tar::Archive<Box<dyn Read + 'a>>> {
    let compression = match name.rsplit('.').next() {
        Some("tar") => return Ok(tar::Archive::new(Box::new(member))),
        Some("gz") => Compression::Gzip,
        Some("xz") => Compression::Xz,
        Some("zst") => Compression::Zstd,
        Some("bz2") => Compression::Bzip2,
        Some("lzma") => Compression::Lzma,
        _ => return Err(io::Error::other("its compression is not known here")),
    };
    Ok(tar::Archive::new(compression.reader(member)?))
}

impl Package {
    /// Reads name and version from the control archive, and checks the architecture. The outer result
    /// has the errors of reading the archive.
    fn control(
        &mut self,
        mut archive: tar::Archive<impl Read>,
        arch: Arch,
    ) -> io::Result<Result<(), DebError>> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.path()?.file_name().is_none_or(|name| name != "control") {
                continue;
            }
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.unwrap_or_default().trim().to_owned()
            };
            let name = field("Package");
            if self.name.is_empty() {
                (self.name, self.version) = (name.clone(), field("Version"));
            }
            let theirs = field("Architecture");
            if theirs != arch::facts(arch).debian && theirs != "all" {
                let wanted = arch::facts(arch).debian;
                return Ok(Err(DebError::ForeignPackage { name, theirs, wanted }));
            }
        }
        Ok(Ok(()))
    }

    /// Reads image, configuration and modules from the data archive.
    fn data(&mut self, mut archive: tar::Archive<impl Read>) -> io::Result<()> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            let size = usize::try_from(entry.size()).unwrap_or(0);
            let mut content = || {
                // The size in the header is not trusted for the allocation.
                let mut content = Vec::with_capacity(size.min(1 << 20));
                entry.read_to_end(&mut content).map(|_| content)
            };
            let file = path.rsplit('/').next().unwrap_or_default();
            if path.starts_with("boot/vmlinuz") || file == "vmlinuz" {
                self.image = content()?;
            } else if path.starts_with("boot/config-")
                || (file == "config" && path.contains("/modules/"))
            {
                self.config = String::from_utf8(content()?).ok();
            } else {
                self.modules.add(&path, content)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_kernel_are_found_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let binary = put("linux-binary-7.3.4-cloud_7.3.4-1_amd64.deb");
        let modules = put("linux-modules-7.3.4-cloud_7.3.4-1_amd64.deb");
        put("linux-modules-7.3.4-cloud_7.3.4-2_amd64.deb");
        put("linux-modules-7.3.5-cloud_7.3.4-1_amd64.deb");
        put("linux-headers-7.3.4-cloud_7.3.4-1_amd64.deb");
        assert_eq!(files(&binary), [binary.clone(), modules]);
        let other = put("kernel.deb");
        assert_eq!(files(&other), std::slice::from_ref(&other));
        assert_eq!(kernel_name("linux-image-6.1.0-9-amd64"), Some("6.1.0-9-amd64"));
        assert_eq!(kernel_name("linux-image-amd64"), None);
    }

    #[test]
    fn damaged_and_truncated_packages_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        let header = |name: &str, size: usize| {
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644)
        };
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            super::read(std::slice::from_ref(&path), Arch::X86_64).unwrap_err().to_string()
        };
        assert!(read("hello, hello".into()).contains("not a Debian package"));
        assert!(read("!<arch>\n".into()).contains("truncated"));
        let whole =
            format!("!<arch>\n{}2.0\n{}", header("debian-binary", 4), header("data.tar", 99));
        assert!(read(whole).contains("truncated: 0 of 99"));
        assert!(read(format!("!<arch>\n{}", "x".repeat(60))).contains("damaged"));
        let empty = format!("!<arch>\n{}{}", header("data.tar", 1024), "\0".repeat(1024));
        assert!(read(empty).contains("holds no kernel"));
    }
}
