// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a kernel's image, configuration and modules from Debian packages (deb(5)), without dpkg.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use super::modules::Modules;
use crate::arch::{self, Arch};
use crate::compression::{CONFIG_LIMIT, Compression, KERNEL_LIMIT, MODULE_LIMIT};
use crate::error::DebError;
use crate::image_file::DEB_MAGIC;
use crate::regular_file::{read_limited, too_large};

/// Size of a member's header in bytes (ar(5)).
const MEMBER_HEADER_SIZE: usize = 60;

/// Maximum size in bytes of what is kept of the packages of one kernel. Modules are kept as they are packed.
const KEPT_LIMIT: u64 = 1 << 30;

/// Maximum size of a package's `control` file in bytes.
const CONTROL_LIMIT: u64 = 1 << 20;

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
    /// The modules of all packages.
    pub(crate) modules: Modules,
    /// Size of what was read and kept in bytes.
    kept_bytes: u64,
}

/// Reads the packages of one kernel. Some distributions put image, modules and configuration into
/// separate packages.
///
/// # Errors
/// [`DebError`] if a package is damaged or for another architecture, or if no package has an image.
pub(crate) fn read(paths: &[PathBuf], arch: Arch) -> Result<Package, DebError> {
    let mut package = Package::default();
    for path in paths {
        package.read(path, arch)?;
    }
    if package.image.is_empty() {
        return Err(DebError::NoKernel { name: package.name, version: package.version });
    }
    Ok(package)
}

/// The part of a package's name that all packages of one kernel share: `7.3.4+deb13-cloud-amd64` in
/// `linux-image-7.3.4+deb13-cloud-amd64`.
pub(crate) fn kernel_name(package: &str) -> Option<&str> {
    let (_, name) = package.strip_prefix("linux-")?.split_once('-')?;
    name.starts_with(|c: char| c.is_ascii_digit()).then_some(name)
}

/// The package files of one kernel: `path`, and the packages of the same kernel and version in the
/// same folder.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let kernel_of = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".deb")?;
        let (package, version) = name.split_once('_')?;
        let is_part = PARTS.iter().any(|part| package.starts_with(part));
        is_part.then(|| Some((kernel_name(package)?.to_owned(), version.to_owned())))?
    };
    let mut files = vec![path.to_owned()];
    let Some((kernel, folder)) = kernel_of(path).zip(path.parent()) else { return files };
    let neighbours =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut parts: Vec<PathBuf> = neighbours
        .filter(|other| other != path && kernel_of(other).as_ref() == Some(&kernel))
        .collect();
    parts.sort();
    files.extend(parts);
    files
}

/// Prefixes of the packages of a kernel. Ubuntu, and Debian from 6.19 on, split a kernel into
/// several packages.
pub(crate) const PARTS: [&str; 4] =
    ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

impl Package {
    /// Adds the contents of one package.
    fn read(&mut self, path: &Path, arch: Arch) -> Result<(), DebError> {
        let mut file = File::open(path).map_err(DebError::Unreadable)?;
        let length = file.metadata().map_err(DebError::Unreadable)?.len();
        let read_bytes = |file: &mut File, bytes: &mut [u8]| {
            file.read_exact(bytes).map_err(|_| DebError::Truncated)
        };
        let mut magic = [0; DEB_MAGIC.len()];
        read_bytes(&mut file, &mut magic)?;
        if magic != DEB_MAGIC {
            return Err(DebError::NotAPackage);
        }
        loop {
            let mut header = [0; MEMBER_HEADER_SIZE];
            read_bytes(&mut file, &mut header)?;
            let text = String::from_utf8_lossy(&header);
            let size = text.get(48..58).and_then(|size| size.trim().parse::<u64>().ok());
            let (Some(size), true) = (size, text.ends_with("`\n")) else {
                return Err(DebError::NoHeader);
            };
            let remaining =
                length.saturating_sub(file.stream_position().map_err(DebError::Unreadable)?);
            if size > remaining {
                return Err(DebError::Short { remaining, size });
            }
            let name =
                text.get(..16).unwrap_or_default().trim_end().trim_end_matches('/').to_owned();
            let damaged = |reason| DebError::Damaged { name: name.clone(), reason };
            let mut member = (&file).take(size);
            if name.starts_with("control.tar") {
                let archive = open_archive(&name, &mut member)?.map_err(damaged)?;
                self.read_control(archive, arch).map_err(damaged)??;
            } else if name.starts_with("data.tar") {
                let archive = open_archive(&name, &mut member)?.map_err(damaged)?;
                self.read_data(archive).map_err(damaged)?;
                return Ok(());
            }
            io::copy(&mut member, &mut io::sink()).map_err(damaged)?;
            if size % 2 == 1 {
                read_bytes(&mut file, &mut [0])?;
            }
        }
    }
}

/// Opens the tar archive in a member. The member's name tells the compression (`data.tar.xz`). The
/// inner result has the errors of reading the archive.
///
/// # Errors
/// [`DebError::UnknownCompression`].
fn open_archive<'a>(
    name: &str,
    member: impl Read + 'a,
) -> Result<io::Result<tar::Archive<Box<dyn Read + 'a>>>, DebError> {
    let compression = match name.rsplit('.').next() {
        Some("tar") => return Ok(Ok(tar::Archive::new(Box::new(member)))),
        Some("gz") => Compression::Gzip,
        Some("xz") => Compression::Xz,
        Some("zst") => Compression::Zstd,
        Some("bz2") => Compression::Bzip2,
        Some("lzma") => Compression::Lzma,
        _ => return Err(DebError::UnknownCompression { name: name.to_owned() }),
    };
    Ok(compression.reader(member).map(tar::Archive::new))
}

impl Package {
    /// Reads name and version from the control archive, and checks the architecture. The outer
    /// result has the errors of reading the archive.
    fn read_control(
        &mut self,
        mut archive: tar::Archive<impl Read>,
        arch: Arch,
    ) -> io::Result<Result<(), DebError>> {
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.path()?.file_name().is_none_or(|name| name != "control") {
                continue;
            }
            let text = String::from_utf8_lossy(&read_limited(entry, CONTROL_LIMIT)?).into_owned();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.unwrap_or_default().trim().to_owned()
            };
            let name = field("Package");
            if self.name.is_empty() {
                (self.name, self.version) = (name.clone(), field("Version"));
            }
            let package_arch = field("Architecture");
            if package_arch != arch::facts(arch).debian_arch && package_arch != "all" {
                let wanted = arch::facts(arch).debian_arch;
                return Ok(Err(DebError::ForeignPackage { name, package_arch, wanted }));
            }
        }
        Ok(Ok(()))
    }

    /// Reads image, configuration and modules from the data archive.
    fn read_data(&mut self, mut archive: tar::Archive<impl Read>) -> io::Result<()> {
        for entry in archive.entries()? {
            let entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            let kept_bytes = &mut self.kept_bytes;
            let content = |limit| {
                let content = read_limited(entry, limit)?;
                *kept_bytes += content.len() as u64;
                if *kept_bytes > KEPT_LIMIT { Err(too_large(KEPT_LIMIT)) } else { Ok(content) }
            };
            let file = path.rsplit('/').next().unwrap_or_default();
            if path.starts_with("boot/vmlinuz") || file == "vmlinuz" {
                self.image = content(KERNEL_LIMIT)?;
            } else if path.starts_with("boot/config-")
                || (file == "config" && path.contains("/modules/"))
            {
                // Symbols are ASCII, but a comment or a string may have any bytes.
                self.config = Some(String::from_utf8_lossy(&content(CONFIG_LIMIT)?).into_owned());
            } else {
                self.modules.add(&path, || content(MODULE_LIMIT))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_packages_of_a_kernel_are_found_in_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let binary = create("linux-binary-7.3.4-cloud_7.3.4-1_amd64.deb");
        let modules = create("linux-modules-7.3.4-cloud_7.3.4-1_amd64.deb");
        create("linux-modules-7.3.4-cloud_7.3.4-2_amd64.deb");
        create("linux-modules-7.3.5-cloud_7.3.4-1_amd64.deb");
        create("linux-headers-7.3.4-cloud_7.3.4-1_amd64.deb");
        assert_eq!(files(&binary), [binary.clone(), modules]);
        let other = create("kernel.deb");
        assert_eq!(files(&other), std::slice::from_ref(&other));
        assert_eq!(kernel_name("linux-image-6.1.0-9-amd64"), Some("6.1.0-9-amd64"));
        assert_eq!(kernel_name("linux-image-amd64"), None);
    }

    /// Formats the header of a package's member (ar(5)).
    fn member_header(name: &str, size: usize) -> String {
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644)
    }

    #[test]
    fn an_unknown_compression_is_reported_and_not_as_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        std::fs::write(&path, format!("!<arch>\n{}2.0\n", member_header("data.tar.br", 4)))
            .unwrap();
        let error = read(std::slice::from_ref(&path), Arch::X86_64).unwrap_err();
        assert!(matches!(&error, DebError::UnknownCompression { name } if name == "data.tar.br"));
        assert!(!error.to_string().contains("damaged"), "{error}");
    }

    /// Reads a package with these files.
    fn read_package_with(files: &[(&str, &[u8])]) -> Result<Package, DebError> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let mut package = b"!<arch>\n".to_vec();
        package.extend(member_header("data.tar", archive.len()).into_bytes());
        package.extend(archive);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        std::fs::write(&path, package).unwrap();
        read(&[path], Arch::X86_64)
    }

    #[test]
    fn a_configuration_that_is_not_utf8_is_kept() {
        let package = read_package_with(&[
            ("./boot/vmlinuz-1", b"kernel"),
            ("./boot/config-1", b"# \xfcber\nCONFIG_A=y\n"),
        ]);
        let package = package.unwrap();
        assert!(package.config.unwrap().lines().any(|line| line == "CONFIG_A=y"));
    }

    #[test]
    fn files_that_are_too_large_are_refused() {
        let content = vec![0; usize::try_from(CONFIG_LIMIT + 1).unwrap()];
        let error = read_package_with(&[("./boot/config-1", &content)]).unwrap_err().to_string();
        assert!(error.contains("longer than 16 MiB"), "{error}");
    }

    #[test]
    fn damaged_and_truncated_packages_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        let error_message = |text: String| {
            std::fs::write(&path, text).unwrap();
            read(std::slice::from_ref(&path), Arch::X86_64).unwrap_err().to_string()
        };
        assert!(error_message("hello, hello".into()).contains("not a Debian package"));
        assert!(error_message("!<arch>\n".into()).contains("truncated"));
        let without_content = format!(
            "!<arch>\n{}2.0\n{}",
            member_header("debian-binary", 4),
            member_header("data.tar", 99)
        );
        assert!(error_message(without_content).contains("truncated: 0 of 99"));
        assert!(error_message(format!("!<arch>\n{}", "x".repeat(60))).contains("damaged"));
        let empty = format!("!<arch>\n{}{}", member_header("data.tar", 1024), "\0".repeat(1024));
        assert!(error_message(empty).contains("holds no kernel"));
    }
}
