// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From a request to a kernel image.

use crate::cache::Cache;
use crate::error::Error;
use crate::lock::Held;
use crate::monitor::Monitor;
use crate::packages::Tool;
use crate::patches::Patches;
use crate::pins::Pins;
use crate::reference::Reference;
use crate::source::{Asked, Wanted};
use crate::types::{KernelImage, Request, Selftests};
use crate::{config, image_file, prebuilt, source, toolchain, tree};

/// Finds, configures and builds the kernel, or finds it in the cache.
///
/// # Errors
/// See [`Fault`] for whose fault it is; the message says what happened, why, and what to do next.
pub fn kernel(
    cache: &Cache,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Error> {
    let _acting = cache.owner.act();
    let request = &request.targeting();
    let configuration =
        config::Configuration::new(request.arch, &request.flavour, &request.fragments)?;
    let typed = request.reference.trim();
    let mut pinned = Vec::new();
    let reference = parse(request)?;
    if !reference.has_source() && !request.patches.is_empty() {
        return Err(Error::Input(format!(
            "KERNEL={typed} is a ready kernel, to which no patch can be applied: name a release or a \
             tree"
        )));
    }
    let asked = match reference {
        Reference::Image(image) => return prebuilt::of_image(cache, &image, typed, monitor),
        Reference::Installed => {
            let path = prebuilt::installed()?;
            let image = image_file::inspect(&path, request.arch).map_err(|why| {
                Error::Input(format!("KERNEL={typed}: {}: {why}", path.display()))
            })?;
            return prebuilt::of_image(cache, &image, typed, monitor);
        }
        Reference::PackageFile(path) => {
            return prebuilt::of_package_file(cache, &path, typed, request.arch, monitor);
        }
        Reference::Package(name) => {
            return prebuilt::packages::kernel(
                cache,
                request,
                prebuilt::packages::Asked::Name(&name),
                monitor,
            );
        }
        Reference::NewestPackage(series) => {
            return prebuilt::packages::kernel(
                cache,
                request,
                prebuilt::packages::Asked::Newest(series),
                monitor,
            );
        }
        Reference::Tree(tree) => {
            let patches = Patches::read(Vec::new(), &request.patches)?;
            return tree::kernel(cache, request, &configuration, &patches, &tree, monitor);
        }
        Reference::Exact(release) => Asked::Release(Wanted::Exact(release)),
        Reference::Newest(series) => Asked::Release(Wanted::Newest(series)),
        Reference::Pinned(name) => {
            let asked = of_pin(&name)?;
            pinned = Pins::embedded()?.patches(&name);
            asked
        }
        Reference::Latest => Asked::Latest,
        Reference::Stable => Asked::Stable,
        Reference::Commit(name) => Asked::Commit(name),
    };
    let patches = Patches::read(pinned, &request.patches)?;
    source::kernel(cache, request, &configuration, &patches, &asked, monitor)
}

/// What a pinned kernel is made from.
fn of_pin(name: &str) -> Result<Asked, Error> {
    let series = Pins::embedded()?.series(name);
    let series = series.ok_or_else(|| Error::Input(format!("KERNEL={name} is not pinned")))?;
    Ok(Asked::Release(Wanted::Newest(series)))
}

fn parse(request: &Request) -> Result<Reference, Error> {
    Reference::parse(&request.reference, request.arch, request.linux.as_deref())
}

/// Whether a request makes sense, without looking for what it names beyond this machine's files.
///
/// # Errors
/// [`Fault::Input`], as [`kernel`] would find.
pub fn check(request: &Request) -> Result<(), Error> {
    config::Configuration::new(request.arch, &request.flavour, &request.fragments)?;
    parse(request)?;
    Ok(())
}

/// Finds the selftests of a kernel: in its tree, or in its source, of which nothing else is
/// unpacked.
///
/// # Errors
/// See [`Fault`]; an image has no source.
pub fn selftests(
    cache: &Cache,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<Selftests, Error> {
    let _acting = cache.owner.act();
    let asked = match parse(request)? {
        Reference::Pinned(name) => of_pin(&name)?,
        Reference::Image(_)
        | Reference::Installed
        | Reference::PackageFile(_)
        | Reference::Package(_)
        | Reference::NewestPackage(_) => {
            return Err(Error::Input(format!(
                "{} is a ready kernel and has no selftests: name a release or a tree",
                request.reference.trim()
            )));
        }
        Reference::Tree(tree) => return Ok(Selftests { tree, held: Held::default() }),
        Reference::Exact(release) => Asked::Release(Wanted::Exact(release)),
        Reference::Newest(series) => Asked::Release(Wanted::Newest(series)),
        Reference::Latest => Asked::Latest,
        Reference::Stable => Asked::Stable,
        Reference::Commit(name) => Asked::Commit(name),
    };
    source::selftests(cache, request, &asked, monitor)
}

/// What this machine lacks to build what was asked for; nothing if it is an image. Runs the
/// compiler a few times, some 20 ms.
///
/// # Errors
/// As [`kernel`], for a reference that makes no sense.
pub fn missing_tools(cache: &Cache, request: &Request) -> Result<Vec<Tool>, Error> {
    let mut missing = Vec::new();
    let reference = parse(request)?;
    let is_patched = !request.patches.is_empty() || matches!(reference, Reference::Pinned(_));
    match reference {
        Reference::Image(_)
        | Reference::Installed
        | Reference::PackageFile(_)
        | Reference::Package(_)
        | Reference::NewestPackage(_) => return Ok(missing),
        Reference::Tree(_) => {}
        Reference::Commit(_) => {
            missing.extend(toolchain::absent(&[toolchain::UNPACKING[0], toolchain::GIT]));
        }
        Reference::Exact(_)
        | Reference::Newest(_)
        | Reference::Pinned(_)
        | Reference::Latest
        | Reference::Stable => {
            missing.extend(toolchain::absent(&toolchain::UNPACKING));
            if toolchain::find("apt-get").is_none() {
                missing.extend(toolchain::absent(&[toolchain::CURL]));
            }
            if request.linux.is_some() {
                missing.extend(toolchain::absent(&[toolchain::GIT]));
            }
        }
    }
    if is_patched {
        missing.extend(toolchain::absent(&[toolchain::PATCH]));
    }
    missing.extend(request.toolchain.targeting(request.arch).missing(cache.owner));
    Ok(missing)
}
