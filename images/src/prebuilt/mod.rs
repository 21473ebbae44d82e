// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prebuilt kernels: unpacks an image, its configuration, and the modules that a guest needs to
//! reach the host (virtio-mmio, vsock).
//!
//! ```text
//! package (file or name), installed, image by path
//!   -> vmlinux if it has a PVH entry, else the image; configuration; modules -> cache -> KernelImage
//! ```

pub(crate) mod deb;
mod image;
mod modules;
pub(crate) mod packages;
mod places;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::arch::{self, Arch};
use crate::cache;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, PrebuiltError, ReferenceError};
use crate::hash::{digest, sha256_of};
use crate::image_file;
use crate::image_file::{Format, ImageFile};
use crate::lock::LockMode;
use crate::reference::WantedPrebuilt;
use crate::types::{KernelImage, Request};
use image::VmlinuxFacts;
use modules::Module;
use packages::WantedPackage;

pub use places::config_of;

/// Version of the layout of cache entries, a part of every key. A change of the layout needs a new
/// version, so that entries of the old layout are not found.
const CACHE_LAYOUT: &str = "sudbox ready 1";

/// Configuration symbols that a guest needs to reach the host, and the names of their modules.
const TRANSPORT_DRIVERS: [(&str, &str); 2] = [
    ("CONFIG_VIRTIO_MMIO", "virtio_mmio"),
    ("CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport"),
];

/// Metadata of a prebuilt kernel in the cache, `meta.json`.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct PrebuiltMetadata {
    /// The kernel's origin for reports.
    label: String,
    /// The release as `uname -r` prints it.
    release: Option<String>,
    /// Names of the modules, in the order in which they are loaded.
    modules: Vec<String>,
    /// Whether the kernel finds virtio-mmio devices by ACPI only.
    #[serde(rename = "acpi")]
    needs_acpi: bool,
}

/// A prebuilt kernel that the user requests.
#[derive(Debug)]
pub(crate) struct PrebuiltKernel {
    prebuilt: WantedPrebuilt,
    /// The reference as typed after `KERNEL=`, for messages.
    typed: String,
    arch: Arch,
}

impl PrebuiltKernel {
    /// Checks that a request for a prebuilt kernel has no patches.
    ///
    /// # Errors
    /// [`ReferenceError::PatchedPrebuilt`] if the request has patches, because these need a source.
    pub(crate) fn new(
        prebuilt: WantedPrebuilt,
        request: &Request,
    ) -> Result<PrebuiltKernel, Error> {
        let typed = request.reference.trim().to_owned();
        if !request.patches.is_empty() {
            return Err(ReferenceError::PatchedPrebuilt { typed }.into());
        }
        Ok(PrebuiltKernel { prebuilt, typed, arch: request.arch })
    }

    /// Finds and unpacks the kernel, unless the cache has it.
    ///
    /// # Errors
    /// [`PrebuiltError`] if the kernel is damaged, or needs modules that are not found.
    pub(crate) fn obtain(&self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let (typed, arch) = (self.typed.as_str(), self.arch);
        match &self.prebuilt {
            WantedPrebuilt::Image(image) => from_image(ctx, image, typed, arch),
            WantedPrebuilt::Installed => {
                let path = places::find_installed_kernel()?;
                let image = image_file::inspect(&path, arch).map_err(|reason| {
                    PrebuiltError::Installed { typed: typed.to_owned(), path, reason }
                })?;
                from_image(ctx, &image, typed, arch)
            }
            WantedPrebuilt::PackageFile(path) => from_package_file(ctx, path, typed, arch),
            WantedPrebuilt::Package(name) => {
                packages::kernel(ctx, typed, arch, WantedPackage::Name(name))
            }
            WantedPrebuilt::NewestPackage(series) => {
                packages::kernel(ctx, typed, arch, WantedPackage::Newest(*series))
            }
        }
    }
}

/// A prebuilt kernel, not yet in the cache.
struct UnpackedKernel {
    /// The reference as typed, for messages.
    typed: String,
    /// The kernel's origin for reports.
    label: String,
    kernel: KernelFile,
    /// The configuration from a file or package. A configuration in the image takes precedence.
    config: Option<String>,
    modules: Vec<Module>,
}

/// A kernel image, not yet in the cache.
enum KernelFile {
    /// A vmlinux that the user gave. It is booted from its own path and not copied into the cache.
    Vmlinux(VmlinuxFacts),
    /// A bzImage, of which the bzImage itself or the vmlinux in it is booted.
    BzImage {
        bytes: Vec<u8>,
        /// The release in its header.
        release: Option<String>,
    },
    /// The boot image of an architecture other than x86-64, booted without unpacking.
    BootImage(Vec<u8>),
}

/// Key of a cache entry: a hash of all inputs of the entry.
fn cache_key(parts: &[&[u8]]) -> String {
    format!("ready-{}", digest(&[&[CACHE_LAYOUT.as_bytes()], parts].concat()))
}

/// The kernel of an image file, with the configuration and modules that belong to it.
///
/// # Errors
/// [`PrebuiltError`] if the image is damaged, has no entry for a VM, or needs modules that were not
/// found.
fn from_image(
    ctx: &mut Ctx<'_>,
    image: &ImageFile,
    typed: &str,
    arch: Arch,
) -> Result<KernelImage, Error> {
    let unreadable = |reason| PrebuiltError::Unreadable { typed: typed.to_owned(), reason };
    let bytes = read_loaded(image).map_err(unreadable)?;
    let vmlinux_facts = (image.format == Format::Vmlinux).then(|| image::vmlinux_facts(&bytes));
    if arch == Arch::X86_64 && vmlinux_facts.as_ref().is_some_and(|facts| !facts.has_pvh_entry) {
        return Err(PrebuiltError::NoEntry { typed: typed.to_owned() }.into());
    }
    let release =
        vmlinux_facts.as_ref().map_or(image.release.clone(), |facts| facts.release.clone());
    let companion_files = places::find_companion_files(&image.path, release.as_deref());
    let modules = companion_files
        .modules
        .transport_modules()
        .map_err(|reason| PrebuiltError::Module { typed: typed.to_owned(), reason })?;
    let mut content: Vec<&[u8]> =
        vec![&bytes, companion_files.config.as_deref().unwrap_or("").as_bytes()];
    content.extend(modules.iter().map(|module| &module.content[..]));
    let key = cache_key(&content);
    let label = format!("{}, as given", image.path.display());
    let users_vmlinux = (image.format == Format::Vmlinux).then_some(image.path.as_path());
    if let Some(mut image) = find_cached(ctx, &key, users_vmlinux)? {
        image.source = label;
        return Ok(image);
    }
    let kernel = match vmlinux_facts {
        Some(vmlinux_facts) => KernelFile::Vmlinux(vmlinux_facts),
        None if image.format == Format::Image => KernelFile::BootImage(bytes),
        None => KernelFile::BzImage { bytes, release },
    };
    let typed = typed.to_owned();
    let config = companion_files.config;
    let unpacked = UnpackedKernel { typed, label, kernel, config, modules };
    store(ctx, &key, unpacked, users_vmlinux)
}

/// The kernel of a package file.
///
/// # Errors
/// [`PrebuiltError`] if the file is damaged, or is not a package of a kernel for this architecture.
fn from_package_file(
    ctx: &mut Ctx<'_>,
    path: &Path,
    typed: &str,
    arch: Arch,
) -> Result<KernelImage, Error> {
    let files = deb::files(path);
    let checksums = files.iter().map(|file| sha256_of(file)).collect::<Result<Vec<_>, _>>()?;
    from_packages(ctx, &checksums, typed, arch, |_| Ok(files))
}

/// The kernel of the packages with these checksums, from the cache or from the files that `fetch`
/// returns.
///
/// # Errors
/// As [`from_package_file`], and those of `fetch`.
fn from_packages(
    ctx: &mut Ctx<'_>,
    checksums: &[String],
    typed: &str,
    arch: Arch,
    fetch: impl FnOnce(&mut Ctx<'_>) -> Result<Vec<PathBuf>, Error>,
) -> Result<KernelImage, Error> {
    let key = cache_key(&[b"package", checksums.join(" ").as_bytes()]);
    if let Some(image) = find_cached(ctx, &key, None)? {
        return Ok(image);
    }
    let files = fetch(ctx)?;
    ctx.phase("unpacking the package");
    let package = deb::read(&files, arch)
        .map_err(|reason| PrebuiltError::Package { typed: typed.to_owned(), reason })?;
    let modules = package
        .modules
        .transport_modules()
        .map_err(|reason| PrebuiltError::Module { typed: typed.to_owned(), reason })?;
    let unpacked = UnpackedKernel {
        typed: typed.to_owned(),
        label: format!(
            "package {} {}, sha256 {}",
            package.name,
            package.version,
            checksums.join(" ")
        ),
        kernel: KernelFile::BzImage { bytes: package.image, release: None },
        config: package.config,
        modules,
    };
    store(ctx, &key, unpacked, None)
}

/// Reads an image, without the symbols and debug information of a vmlinux.
fn read_loaded(image: &ImageFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(&image.path)?;
    if image.format == Format::Vmlinux {
        (&mut file).take(4096).read_to_end(&mut bytes)?;
        let end = image::loaded_end(&bytes).unwrap_or(usize::MAX);
        let remaining = end.saturating_sub(bytes.len());
        file.take(u64::try_from(remaining).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    } else {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads the cache entry `key`; `None` if the entry does not exist or is damaged. The entry of a
/// vmlinux that the user gave (`users_vmlinux`) has no copy of the vmlinux, so the image to boot is
/// the user's file.
fn find_cached(
    ctx: &mut Ctx<'_>,
    key: &str,
    users_vmlinux: Option<&Path>,
) -> Result<Option<KernelImage>, Error> {
    let folder = ctx.entry_path("images", key);
    if !folder.is_dir() {
        return Ok(None);
    }
    let lock = ctx.lock("images", key, LockMode::Shared)?;
    let Ok(text) = fs::read(folder.join("meta.json")) else { return Ok(None) };
    let Ok(metadata) = serde_json::from_slice::<PrebuiltMetadata>(&text) else { return Ok(None) };
    Ok(Some(KernelImage {
        kernel: users_vmlinux.map_or_else(|| folder.join("kernel"), Path::to_owned),
        vmlinux: users_vmlinux.map(Path::to_owned),
        config: Some(folder.join("config")).filter(|path| path.exists()),
        release: metadata.release,
        source: metadata.label,
        modules: metadata.modules.iter().map(|name| folder.join(format!("{name}.ko"))).collect(),
        needs_acpi: metadata.needs_acpi,
        is_prebuilt: true,
        lock,
        ..KernelImage::default()
    }))
}

/// Stores a kernel as the cache entry `key` atomically, and returns the entry.
fn store(
    ctx: &mut Ctx<'_>,
    key: &str,
    unpacked: UnpackedKernel,
    users_vmlinux: Option<&Path>,
) -> Result<KernelImage, Error> {
    let UnpackedKernel { typed, label, kernel, config, modules } = unpacked;
    let (vmlinux_facts, boot_image, unpacked_vmlinux, release) = match kernel {
        KernelFile::Vmlinux(vmlinux_facts) => (Some(vmlinux_facts), None, None, None),
        KernelFile::BootImage(bytes) => (None, Some(bytes), None, None),
        KernelFile::BzImage { bytes, release } => {
            ctx.phase("unpacking the kernel");
            let vmlinux = image::unpack(&bytes)
                .map_err(|reason| PrebuiltError::Image { typed: typed.clone(), reason })?;
            (vmlinux.as_deref().map(image::vmlinux_facts), Some(bytes), vmlinux, release)
        }
    };
    let takes_command_line_devices =
        vmlinux_facts.as_ref().map(|facts| facts.takes_command_line_devices);
    let has_pvh_entry = vmlinux_facts.as_ref().is_some_and(|facts| facts.has_pvh_entry);
    let (embedded_config, embedded_release) =
        vmlinux_facts.map(|facts| (facts.config, facts.release)).unwrap_or_default();
    let config = embedded_config.or(config);
    let is_set = |line: &str| config.as_deref().map(|text| text.lines().any(|other| other == line));
    check_transport(&typed, config.as_deref(), &modules)?;
    let is_pvh_bootable =
        has_pvh_entry && arch::pvh_entry_works(config.as_deref().unwrap_or_default());
    let booted_image = match unpacked_vmlinux {
        Some(vmlinux) if is_pvh_bootable => Some(vmlinux),
        _ => boot_image,
    };
    let metadata = PrebuiltMetadata {
        label,
        release: embedded_release.or(release),
        modules: modules.iter().map(|module| module.name.clone()).collect(),
        // Without image facts and configuration, assume that the kernel takes virtio-mmio devices
        // from the command line, like the kernels that sudbox builds.
        needs_acpi: !takes_command_line_devices
            .or(is_set("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y"))
            .unwrap_or(true),
    };

    let tmp = ctx.cache.temporary_directory()?;
    let folder = tmp.path().join("image");
    fs::create_dir(&folder).context("make", &folder)?;
    let text = serde_json::to_vec_pretty(&metadata)
        .map_err(std::io::Error::from)
        .context("write the metadata (meta.json) of the kernel in", &folder)?;
    let mut files = vec![("meta.json".to_owned(), text)];
    files.extend(booted_image.map(|bytes| ("kernel".to_owned(), bytes)));
    files.extend(config.map(|text| ("config".to_owned(), text.into_bytes())));
    files.extend(modules.into_iter().map(|module| (format!("{}.ko", module.name), module.content)));
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).context("write", &path)?;
    }
    let lock = ctx.lock("images", key, LockMode::Exclusive)?;
    let entry_path = ctx.entry_path("images", key);
    if entry_path.exists() {
        // The entry is damaged, or another run stored the same kernel meanwhile. Replace the entry
        // in both cases.
        fs::rename(&entry_path, tmp.path().join("broken")).context("replace", &entry_path)?;
    }
    lock.record_size(cache::disk_usage(&folder));
    fs::rename(&folder, &entry_path).context("write", &entry_path)?;
    drop(lock);
    let stored = find_cached(ctx, key, users_vmlinux)?;
    ctx.cache.evict();
    stored.ok_or_else(|| Error::Vanished {
        item: "the kernel that was just unpacked",
        directory: ctx.cache.root().to_owned(),
    })
}

/// Checks that each driver of [`TRANSPORT_DRIVERS`] is built in or among `modules`. Without a
/// configuration, checks nothing.
fn check_transport(typed: &str, config: Option<&str>, modules: &[Module]) -> Result<(), Error> {
    let Some(config) = config else { return Ok(()) };
    for (symbol, module) in TRANSPORT_DRIVERS {
        let value = config
            .lines()
            .find_map(|line| line.strip_prefix(symbol)?.strip_prefix('='))
            .unwrap_or("n");
        if value == "m" && !modules.iter().any(|found_module| found_module.name == module) {
            return Err(PrebuiltError::ModuleMissing { typed: typed.to_owned(), module }.into());
        }
        if value == "n" {
            return Err(PrebuiltError::WithoutTransport { symbol }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
