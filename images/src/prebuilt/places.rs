// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds installed kernels, and the configuration and modules of an image, at the paths that
//! distributions use.

use std::borrow::Cow;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::modules::Modules;
use crate::compression;
use crate::error::{Error, PrebuiltError};

/// Configuration and modules of an image.
pub(super) struct CompanionFiles {
    /// The configuration, if it was found.
    pub(super) config: Option<String>,
    /// The modules that were found.
    pub(super) modules: Modules,
}

/// Finds configuration and modules of an image: in the image's folder, in the unpacked package
/// (`boot/vmlinuz-*` and `lib/modules` have a common parent), and among the installed kernels by the
/// release. Finds nothing if the release, which is the image's own claim, is not one component of a path.
pub(super) fn find_companion_files(image: &Path, release: Option<&str>) -> CompanionFiles {
    let folder = image.parent().unwrap_or(Path::new("/"));
    let Some(release) = release.filter(|release| is_path_component(release)) else {
        return CompanionFiles { config: None, modules: Modules::default() };
    };
    let mut folders = vec![folder.to_owned()];
    if let Some(root) = folder.parent() {
        folders.extend(
            ["lib/modules", "usr/lib/modules"].map(|modules| root.join(modules).join(release)),
        );
    }
    folders.push(Path::new("/lib/modules").join(release));
    // The modules of an image `/usr/lib/modules/RELEASE/vmlinuz` are in the same directory.
    let has_modules = |folder: &&PathBuf| {
        folder.is_dir() && folder.file_name().is_some_and(|name| name == release)
    };
    let config_paths = [folder.join(format!("config-{release}")), folder.join("config")];
    let config = config_paths.iter().find_map(|path| fs::read_to_string(path).ok());
    CompanionFiles {
        config: config.or_else(|| config_of(release)),
        modules: folders
            .iter()
            .find(has_modules)
            .map_or_else(Modules::default, |folder| Modules::in_folder(folder)),
    }
}

/// Whether this is one component of a path, which leads to no other folder.
fn is_path_component(text: &str) -> bool {
    let mut components = Path::new(text).components();
    let first = components.next();
    matches!(first, Some(Component::Normal(name)) if name == text) && components.next().is_none()
}

/// The configuration of an installed kernel: a file that distributions install, or
/// `/proc/config.gz` of the running kernel.
pub fn config_of(release: &str) -> Option<String> {
    let paths = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    paths.iter().find_map(|path| fs::read_to_string(path).ok()).or_else(|| {
        let running_release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let compressed =
            (running_release.trim() == release).then(|| fs::read("/proc/config.gz").ok())??;
        let limit = compression::CONFIG_LIMIT;
        String::from_utf8(
            compression::decompress_if_compressed(Cow::Owned(compressed), limit).ok()?,
        )
        .ok()
    })
}

/// The newest installed kernel, in `/boot` or in its directory of modules.
///
/// # Errors
/// [`PrebuiltError::NothingInstalled`].
pub(crate) fn find_installed_kernel() -> Result<PathBuf, Error> {
    newest_below(Path::new("/")).ok_or_else(|| PrebuiltError::NothingInstalled.into())
}

/// The newest kernel below `root`, which is `/` except in tests.
fn newest_below(root: &Path) -> Option<PathBuf> {
    let entries = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let in_boot = entries("boot").filter_map(|entry| {
        let release = entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        Some((release, entry.path()))
    });
    let with_modules = entries("usr/lib/modules").filter_map(|entry| {
        Some((entry.file_name().into_string().ok()?, entry.path().join("vmlinuz")))
    });
    in_boot
        .chain(with_modules)
        .filter(|(release, path)| {
            release.starts_with(|c: char| c.is_ascii_digit()) && path.is_file()
        })
        .max_by_key(|(release, _)| sort_key(release))
        .map(|(_, path)| path)
}

/// Key for sorting releases by their numbers: `6.12.9+deb12` before `6.12.10+deb12`, and `6.12-rc7`
/// before `6.12`.
fn sort_key(release: &str) -> Vec<i64> {
    let text = release.replace("-rc", ".-");
    let mut numbers = Vec::new();
    let mut remaining = text.as_str();
    while let Some(start) = remaining.find(|c: char| c.is_ascii_digit()) {
        // The number of a release candidate sorts before all other numbers.
        let offset = if remaining[..start].ends_with(".-") { -1_000_000 } else { 0 };
        let end = remaining[start..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(remaining.len(), |length| start + length);
        numbers.push(remaining[start..end].parse().unwrap_or(0) + offset);
        remaining = &remaining[end..];
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_installed_kernel_is_found_by_its_release() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(newest_below(root.path()), None);
        let create = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        create("boot/vmlinuz-6.12.9+deb12-amd64");
        create("boot/vmlinuz-6.12.10+deb12-amd64");
        create("boot/vmlinuz-rescue-0815");
        create("boot/config-9.9.9");
        let below_root = |path: &str| Some(root.path().join(path));
        assert_eq!(newest_below(root.path()), below_root("boot/vmlinuz-6.12.10+deb12-amd64"));
        create("usr/lib/modules/6.17.1-arch1-1/vmlinuz");
        create("usr/lib/modules/7.0.0-without-image/modules.dep");
        let newest = below_root("usr/lib/modules/6.17.1-arch1-1/vmlinuz");
        assert_eq!(newest_below(root.path()), newest);
    }

    #[test]
    fn sort_keys_have_the_order_of_the_releases() {
        let sorted = ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.0-rc7", "6.12.0-1", "6.12.10"];
        assert!(sorted.map(sort_key).is_sorted());
    }

    #[test]
    fn configuration_and_modules_of_an_unpacked_package_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let image = write("boot/vmlinuz-9.9.9-x", "");
        write("boot/config-9.9.9-x", "CONFIG_A=y\n");
        // A way out of the folder for a release of `9/..`.
        write("boot/config-9/x", "");
        write("boot/secret", "secret");
        write("lib/modules/9.9.9-x/kernel/virtio_mmio.ko", "\x7fELF\0depends=\0");
        let files = find_companion_files(&image, Some("9.9.9-x"));
        assert_eq!(files.config.as_deref(), Some("CONFIG_A=y\n"));
        assert_eq!(files.modules.transport_modules().unwrap().len(), 1);
        for release in ["9/../secret", "9/../config-9.9.9-x", "9.9.9-x/.", "..", ""] {
            let files = find_companion_files(&image, Some(release));
            assert_eq!(files.config, None, "{release}");
        }
        let files = find_companion_files(&image, Some("9.9.8-x"));
        assert!(files.config.is_none() && files.modules.transport_modules().unwrap().is_empty());
    }
}
