// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lists the pinned kernels, the entries of the cache and the distribution's kernels; prunes the
//! cache.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::arch::{self, Arch};
use crate::cache::{Cache, Entry};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::pins::Pins;
use crate::prebuilt::packages;
use crate::version::Version;

/// A pinned kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Name, as typed after `KERNEL=`.
    pub name: String,
    /// Whether an empty `KERNEL=` names this kernel.
    pub default: bool,
}

/// The pinned kernels of an architecture.
///
/// # Errors
/// If the embedded table `kernels.toml` is invalid.
pub fn pinned(arch: Arch) -> Result<Vec<Pinned>, Error> {
    let pins = Pins::embedded()?;
    let default = arch::facts(arch).default_kernel;
    let pinned = |name: &str| Pinned { name: name.to_owned(), default: default == name };
    Ok(pins.names(arch).map(pinned).collect())
}

/// An entry of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Release of a kernel image; for any other entry, the key in the cache.
    pub name: String,
    /// `image`, `source`, `tree`, `selftests`, `guest`, `toolchain` or `bisection`.
    pub kind: &'static str,
    /// The origin of the kernel's source or package, if it is recorded.
    pub source: Option<String>,
    /// Size in bytes, including build slots.
    pub bytes: u64,
    /// Time of the last use.
    pub used: SystemTime,
}

/// The entries of the cache, most recently used first.
#[must_use]
pub fn cached(cache: &Cache) -> Vec<Cached> {
    let mut entries = cache.entries();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_used));
    entries.iter().map(cached_entry).collect()
}

/// Describes an entry by its metadata (`meta.json`).
fn cached_entry(entry: &Entry) -> Cached {
    #[derive(Default, serde::Deserialize)]
    struct Metadata {
        release: Option<String>,
        /// Present if the image was built from source.
        source: Option<String>,
        /// Present if the image is prebuilt.
        label: Option<String>,
    }
    let metadata: Metadata = std::fs::read(entry.path.join("meta.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    Cached {
        name: metadata.release.unwrap_or_else(|| entry.key.clone()),
        kind: match entry.folder {
            "images" => "image",
            "sources" => "source",
            "trees" => "tree",
            "guests" => "guest",
            "toolchains" => "toolchain",
            "bisections" => "bisection",
            "behaviours" => "behaviour",
            other => other,
        },
        source: metadata.source.or(metadata.label),
        bytes: entry.bytes,
        used: entry.last_used,
    }
}

/// Returns the entries that were not used for at least `min_age` and are not in use now. If `remove`
/// is set, also removes these entries.
#[must_use]
pub fn prune(cache: &Cache, min_age: Duration, remove: bool) -> Vec<Cached> {
    let _impersonation = cache.owner.impersonate();
    let is_old = |entry: &Entry| entry.last_used.elapsed().is_ok_and(|age| age >= min_age);
    let mut pruned = Vec::new();
    for entry in cache.entries().into_iter().filter(is_old) {
        let description = cached_entry(&entry);
        if if remove { cache.remove(&entry) } else { cache.is_unlocked(&entry) } {
            pruned.push(description);
        }
    }
    pruned
}

/// A prebuilt kernel that the distribution's packages offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Reference, as typed after `KERNEL=`.
    pub reference: String,
    /// Name and version of the package.
    pub package: String,
}

/// The newest prebuilt kernel of each series that the distribution's packages offer. Records the
/// references in the cache, for [`references`].
///
/// # Errors
/// If the caller interrupts, or the cache cannot be written to.
pub fn on_offer(ctx: &mut Ctx<'_>, arch: Arch) -> Result<Vec<Offered>, Error> {
    let _impersonation = ctx.cache.owner.impersonate();
    let offers = packages::newest_offers(ctx, arch)?;
    let offers: Vec<Offered> = offers
        .into_iter()
        .map(|(series, offer)| Offered {
            reference: format!("deb:{series}"),
            package: format!("{} {}", offer.package, offer.version),
        })
        .collect();
    let references: Vec<&str> = offers.iter().map(|offer| offer.reference.as_str()).collect();
    ctx.cache.write_record("resolved", &offers_record(arch), &references)?;
    Ok(offers)
}

/// Name of the record in the cache's folder `resolved` with the references of [`on_offer`]. The
/// names of the other records in this folder begin with the architecture.
fn offers_record(arch: Arch) -> String {
    format!("offers-{}", arch.name())
}

/// The kernels that are known without the network, as typed after `KERNEL=`: the pinned kernels,
/// the kernels that were used or offered before, and the releases of images in the cache.
#[must_use]
pub fn references(cache: &Cache, arch: Arch) -> BTreeSet<String> {
    let pinned = pinned(arch).unwrap_or_default().into_iter();
    let mut references: BTreeSet<String> = pinned.map(|pinned| pinned.name).collect();
    references.extend(
        cache.read_record::<Vec<String>>("resolved", &offers_record(arch)).unwrap_or_default(),
    );
    let records = fs::read_dir(cache.root().join("resolved")).into_iter().flatten().flatten();
    let prefix = format!("{}-", arch.name());
    references.extend(
        records.filter_map(|entry| {
            Some(entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned())
        }),
    );
    let images = cached(cache).into_iter().filter(|entry| entry.kind == "image");
    references.extend(images.map(|image| format!("v{}", image.name)).filter(|reference| {
        reference.parse().is_ok_and(|version| matches!(version, Version::Exact(_)))
    }));
    references
}
