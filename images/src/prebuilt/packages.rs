// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds and downloads prebuilt kernels in the distribution's packages, by name or as the newest
//! cloud kernel of a series.
//!
//! sudbox searches the suites that the system is configured for, then all other suites
//! (`crate::apt`).

use super::deb;
use crate::apt::{self, Suites};
use crate::arch::{self, Arch};
use crate::ctx::Ctx;
use crate::error::{Error, SourceError};
use crate::types::KernelImage;
use crate::version::{Release, Series};
use std::collections::{BTreeMap, BTreeSet};

/// The requested package.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WantedPackage<'a> {
    /// The package with this name.
    Name(&'a str),
    /// The newest cloud kernel of this series.
    Newest(Series),
}

/// The packages of a kernel that were found. The cache records this structure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct FoundPackages {
    suites: Suites,
    /// The requested package, and its parts.
    parts: Vec<PackagePart>,
}

/// Error: the suites have a package of a kernel, but lack another package of the kernel (`part`).
struct MissingPart {
    package: String,
    part: String,
}

/// A package, or a part of a kernel that is in a separate package.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct PackagePart {
    package: String,
    version: String,
    sha256: String,
}

/// Finds, downloads and unpacks a package of a kernel, unless the cache has it.
pub(super) fn kernel(
    ctx: &mut Ctx<'_>,
    typed: &str,
    arch: Arch,
    wanted: WantedPackage<'_>,
) -> Result<KernelImage, Error> {
    if Arch::host() != Some(arch) {
        let (typed, arch) = (typed.to_owned(), arch.name());
        return Err(SourceError::ForeignPackage { typed, arch }.into());
    }
    let record_key = record_key(arch, typed);
    let mut recorded_packages = ctx.cache.read_record::<FoundPackages>("resolved", &record_key);
    let mut last_error = None;
    let mut has_lists = false;
    for suites in [None, Some(Suites::System), Some(Suites::All)] {
        let found = match suites {
            // The record of an earlier run is tried first, because it needs no network.
            None => recorded_packages.take().map(Ok),
            Some(suites) => {
                has_lists = apt::refresh_lists(ctx, suites)?;
                if !has_lists {
                    continue;
                }
                find(ctx, arch, wanted, suites)?
            }
        };
        let found = match found {
            None => continue,
            Some(Ok(found)) => found,
            Some(Err(MissingPart { package, part })) => {
                let typed = typed.to_owned();
                last_error = Some(SourceError::PackageInPart { typed, package, part });
                continue;
            }
        };
        match unpack(ctx, typed, arch, &found) {
            Ok(image) => {
                ctx.cache.write_record("resolved", &record_key, &found)?;
                return Ok(image);
            }
            // The list may be outdated, and other suites may have the package.
            Err(Error::Source(error @ SourceError::Download { .. })) => last_error = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = last_error {
        return Err(error.into());
    }
    let typed = typed.to_owned();
    if !apt::is_usable(ctx) {
        return Err(SourceError::NeedsApt { typed }.into());
    }
    if !has_lists {
        return Err(SourceError::PackagesUnreachable { typed }.into());
    }
    let offers = newest_offers(ctx, arch)?;
    let series: Vec<String> = offers.iter().map(|(series, _)| format!("deb:{series}")).collect();
    Err(SourceError::NoSuchPackage { typed, offers: series.join(", ") }.into())
}

/// Downloads and unpacks packages, unless the cache has the kernel.
fn unpack(
    ctx: &mut Ctx<'_>,
    typed: &str,
    arch: Arch,
    found: &FoundPackages,
) -> Result<KernelImage, Error> {
    let tmp = ctx.cache.temporary_directory()?;
    let checksums: Vec<String> = found.parts.iter().map(|part| part.sha256.clone()).collect();
    let mut image = super::from_packages(ctx, &checksums, typed, arch, |ctx| {
        let names = found.parts.iter().map(|part| (&*part.package, &*part.version));
        apt::fetch(ctx, &names.collect::<Vec<_>>(), found.suites, tmp.path())
    })?;
    image.source = format!("distribution {}", image.source);
    Ok(image)
}

/// Finds the kernel in these suites. `None` if the suites lack the kernel; [`MissingPart`] if they
/// lack a part of the kernel.
fn find(
    ctx: &mut Ctx<'_>,
    arch: Arch,
    wanted: WantedPackage<'_>,
    suites: Suites,
) -> Result<Option<Result<FoundPackages, MissingPart>>, Error> {
    let offer = match wanted {
        WantedPackage::Name(name) => {
            let packages = look_up(ctx, suites, &[name.to_owned()])?;
            with_parts(ctx, suites, packages)?.pop()
        }
        WantedPackage::Newest(series) => {
            let prefix = format!("linux-image-{series}");
            newest(series, cloud_kernels(ctx, arch, suites, &prefix)?)
        }
    };
    let Some(Offer { package, parts, .. }) = offer else { return Ok(None) };
    let names = match parts {
        Ok(names) => names,
        Err(part) => return Ok(Some(Err(MissingPart { package, part }))),
    };
    let checksums = apt::checksums(ctx, &names, suites)?;
    let part = |((package, version), sha256)| PackagePart { package, version, sha256 };
    Ok(Some(Ok(FoundPackages {
        suites,
        parts: names.into_iter().zip(checksums).map(part).collect(),
    })))
}

/// A package of a kernel that the distribution has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The package's name.
    pub(crate) package: String,
    /// The package's version.
    pub(crate) version: String,
    /// The kernel's release; `None` if the version has none.
    pub(crate) release: Option<Release>,
    /// Names and versions of this package and its parts, or the name of a part that is missing.
    parts: Result<Vec<(String, String)>, String>,
}

/// The cloud kernel that [`kernel`] would return for each series: the recorded kernel of an earlier
/// run, else the newest kernel with all its parts in the first suites that have such a kernel.
pub(crate) fn newest_offers(ctx: &mut Ctx<'_>, arch: Arch) -> Result<Vec<(Series, Offer)>, Error> {
    let mut offers: BTreeMap<Series, Offer> = BTreeMap::new();
    for suites in [Suites::System, Suites::All] {
        if !apt::refresh_lists(ctx, suites)? {
            continue;
        }
        let kernels = cloud_kernels(ctx, arch, suites, "linux-image-")?;
        let series: BTreeSet<Series> =
            kernels.iter().filter_map(|offer| Some(offer.release?.series)).collect();
        for series in series {
            if let Some(offer) = newest(series, kernels.clone()).filter(|offer| offer.parts.is_ok())
            {
                offers.entry(series).or_insert(offer);
            }
        }
    }
    for (series, offer) in &mut offers {
        let record = record_key(arch, &format!("deb:{series}"));
        let recorded_packages = ctx.cache.read_record::<FoundPackages>("resolved", &record);
        if let Some(PackagePart { package, version, .. }) =
            recorded_packages.and_then(|found| found.parts.into_iter().next())
        {
            (offer.package, offer.version) = (package, version);
        }
    }
    Ok(offers.into_iter().collect())
}

/// Key of the record in the cache's folder `resolved` of the packages that were unpacked for a
/// reference.
fn record_key(arch: Arch, typed: &str) -> String {
    format!("{}-{typed}", arch.name())
}

/// The best offer of a series. Criteria, in this order: all parts exist, the release is final, the
/// release is newer, the name sorts last.
fn newest(series: Series, offers: Vec<Offer>) -> Option<Offer> {
    let of_series = offers
        .into_iter()
        .filter(|offer| offer.release.is_some_and(|release| release.series == series));
    of_series.max_by_key(|offer| {
        let release = offer.release.map(|release| (release.candidate.is_none(), release));
        (offer.parts.is_ok(), release, offer.package.clone())
    })
}

/// The cloud kernels whose package names begin with `prefix`.
fn cloud_kernels(
    ctx: &mut Ctx<'_>,
    arch: Arch,
    suites: Suites,
    prefix: &str,
) -> Result<Vec<Offer>, Error> {
    let mut names = apt::command(ctx, "apt-cache", suites);
    names.args(["pkgnames", prefix]);
    let text = ctx.capture(names)?.unwrap_or_default();
    let suffix = format!("-cloud-{}", arch::facts(arch).debian_arch);
    // Skip meta packages, which have no release in their names.
    let is_cloud_kernel = |name: &&str| name.ends_with(&suffix) && deb::kernel_name(name).is_some();
    let names: Vec<String> = text.lines().filter(is_cloud_kernel).map(str::to_owned).collect();
    let packages = look_up(ctx, suites, &names)?;
    with_parts(ctx, suites, packages)
}

/// A package in the lists of apt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedPackage {
    package: String,
    version: String,
    /// Dependencies that are packages of the same kernel; for a meta package, the kernel's package.
    dependencies: Vec<String>,
}

/// Maximum length of a chain of dependencies: meta package, image, part, part of a part.
const MAX_DEPTH: usize = 4;

/// Looks up the parts of packages.
fn with_parts(
    ctx: &mut Ctx<'_>,
    suites: Suites,
    packages: Vec<ListedPackage>,
) -> Result<Vec<Offer>, Error> {
    let mut listed_packages = packages.clone();
    for _ in 0..MAX_DEPTH {
        let mut wanted: Vec<String> =
            listed_packages.iter().flat_map(|listed| listed.dependencies.clone()).collect();
        wanted.retain(|name| listed_packages.iter().all(|listed| listed.package != *name));
        wanted.sort();
        wanted.dedup();
        let parts = look_up(ctx, suites, &wanted)?;
        if parts.is_empty() {
            break;
        }
        listed_packages.extend(parts);
    }
    Ok(packages.into_iter().map(|listed| to_offer(listed, &listed_packages)).collect())
}

/// Makes the offer of a package. `lists` contains the package and its existing parts.
fn to_offer(listed: ListedPackage, lists: &[ListedPackage]) -> Offer {
    let mut names: Vec<(String, String)> = Vec::new();
    let mut wanted = vec![listed.package.clone()];
    let mut missing = None;
    while let Some(name) = wanted.pop() {
        match lists.iter().find(|listed| listed.package == name) {
            _ if names.iter().any(|(added, _)| *added == name) => {}
            Some(found_package) => {
                names.push((name, found_package.version.clone()));
                wanted.extend(found_package.dependencies.clone());
            }
            // linux-base-* has only the configuration, which is optional.
            None if name.starts_with("linux-base-") => {}
            None => missing = Some(name),
        }
    }
    Offer {
        release: apt::upstream_version(&listed.version),
        package: listed.package,
        version: listed.version,
        parts: missing.map_or(Ok(names), Err),
    }
}

/// Looks up packages by name. Returns the packages that the suites have.
fn look_up(
    ctx: &mut Ctx<'_>,
    suites: Suites,
    names: &[String],
) -> Result<Vec<ListedPackage>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut show = apt::command(ctx, "apt-cache", suites);
    show.arg("showpkg").args(names);
    Ok(parse_showpkg(&ctx.capture(show)?.unwrap_or_default()))
}

/// Parses the output of `apt-cache showpkg`, which has for each package its versions, newest first,
/// and after `Dependencies:` the dependencies of each version. Skips packages without a version.
fn parse_showpkg(text: &str) -> Vec<ListedPackage> {
    let mut packages: Vec<ListedPackage> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(package) = line.strip_prefix("Package: ") {
            if lines.next().is_none_or(|line| line.trim_end() != "Versions:") {
                continue;
            }
            if let Some((version, _)) = lines.next().and_then(|line| line.split_once(" (")) {
                let (package, version) = (package.to_owned(), version.to_owned());
                packages.push(ListedPackage { package, version, dependencies: Vec::new() });
            }
        } else if let Some(listed) = packages.last_mut()
            && let Some(depends) = line.strip_prefix(&*listed.version)
            && let Some(depends) = depends.strip_prefix(" - ")
            && listed.dependencies.is_empty()
        {
            listed.dependencies = select_parts(&listed.package, depends.split_whitespace());
        }
    }
    packages
}

/// The packages of the same kernel among these names; for a meta package, the kernel's package.
fn select_parts<'a>(package: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let kernel = deb::kernel_name(package);
    let is_part = |name: &&str| {
        deb::PARTS.iter().any(|part| name.starts_with(part))
            && deb::kernel_name(name).is_some()
            && (kernel.is_none() || deb::kernel_name(name) == kernel)
    };
    words.filter(is_part).filter(|name| *name != package).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_their_parts_are_parsed_and_a_missing_part_is_named() {
        let text = "Package: linux-image-7.3-c\nVersions: \n7.3~rc7-1~exp1 (/lists/x_Packages.lz4)\n \
                    Description Language:\n\n7.2-1 (/lists/y)\n\nReverse Depends: \n  z,a\n\
                    Dependencies: \n7.3~rc7-1~exp1 - dracut (16 (null)) linux-base (2 4.12~) \
                    linux-modules-7.3-c (5 7.3~rc7-1~exp1) linux-modules-7.2-c (0 (null))\n\
                    7.2-1 - linux-base-7.3-c (0 (null))\nProvides: \n7.3~rc7-1~exp1 - $kernel\n\
                    Package: linux-base-7.3-c\nVersions: \n\nReverse Depends: \n  z,a\n\
                    Package: linux-image-c\nVersions: \n7.3+1 (/lists/x)\nDependencies: \n\
                    7.3+1 - linux-image-7.3-c (5 7.3)\nProvides: \n7.3+1 - \n";
        let listed = |package: &str, version: &str, dependencies: &[&str]| ListedPackage {
            package: package.into(),
            version: version.into(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        };
        let image = listed("linux-image-7.3-c", "7.3~rc7-1~exp1", &["linux-modules-7.3-c"]);
        let meta = listed("linux-image-c", "7.3+1", &["linux-image-7.3-c"]);
        assert_eq!(parse_showpkg(text), [image.clone(), meta.clone()]);

        let without_modules = [image.clone(), meta.clone()];
        let offer = to_offer(meta.clone(), &without_modules);
        assert_eq!(offer.parts, Err("linux-modules-7.3-c".into()));
        let dependencies = ["linux-image-7.3-c", "linux-base-7.3-c"];
        let modules = listed("linux-modules-7.3-c", "7.3~rc7-1~exp1", &dependencies);
        let parts = to_offer(meta.clone(), &[image, meta, modules]).parts.unwrap();
        let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["linux-image-c", "linux-image-7.3-c", "linux-modules-7.3-c"]);
    }

    #[test]
    fn complete_offers_are_preferred_then_final_releases_then_newer_releases() {
        let offer = |version: &str, parts| Offer {
            release: version.parse().ok(),
            package: format!("linux-image-{version}"),
            version: version.to_owned(),
            parts,
        };
        let complete_offer = |version| offer(version, Ok(Vec::new()));
        let mut offers = ["7.3-rc7", "7.2.13", "7.3.4", "7.3.11"].map(complete_offer).to_vec();
        offers.push(offer("7.3.12", Err("linux-modules".into())));
        let newest_version = |series: &str| {
            newest(series.parse().unwrap(), offers.clone()).map(|offer| offer.version)
        };
        assert_eq!(newest_version("7.3").as_deref(), Some("7.3.11"));
        assert_eq!(newest_version("7.2").as_deref(), Some("7.2.13"));
        assert_eq!(newest_version("6.1"), None);
    }
}
