// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plans the steps from a request to a kernel image, and executes them.

use crate::build::BuildOptions;
use crate::cache::Cache;
use crate::ctx::Ctx;
use crate::error::{Error, ReferenceError};
use crate::lock::EntryLock;
use crate::packages::Tool;
use crate::patches::Patches;
use crate::prebuilt::PrebuiltKernel;
use crate::reference::Reference;
use crate::source::release::{self, ReleaseBuild};
use crate::toolchain;
use crate::tree::TreeBuild;
use crate::types::{KernelImage, Request, Selftests};

/// The steps from a request to a kernel image.
#[derive(Debug)]
pub struct Plan {
    /// Missing tools, to be installed before [`Plan::execute`]. Empty if nothing is built.
    pub missing_tools: Vec<Tool>,
    work: Work,
}

/// The work of a plan.
#[derive(Debug)]
enum Work {
    /// Return this image, which is in the cache.
    UseCached(KernelImage),
    /// Fetch and build a release or commit.
    BuildRelease(ReleaseBuild),
    /// Build a source tree.
    BuildTree(TreeBuild),
    /// Fetch and unpack a kernel that was built elsewhere.
    UnpackPrebuilt(PrebuiltKernel),
}

/// Plans how to get the kernel of a request: finds the release, or mirrors the tree, and looks for
/// the image in the cache.
///
/// # Errors
/// If the request is invalid, the release does not exist, or a patch does not apply.
/// [`Error::fault`] names the party at fault.
pub fn plan(ctx: &mut Ctx<'_>, request: &Request) -> Result<Plan, Error> {
    let _impersonation = ctx.cache.owner.impersonate();
    let mut work = Work::from_request(request)?;
    let cached_image = match &mut work {
        Work::BuildRelease(build) => build.find_cached(ctx)?,
        Work::BuildTree(build) => build.find_cached(ctx)?,
        Work::UseCached(_) | Work::UnpackPrebuilt(_) => None,
    };
    Ok(match cached_image {
        Some(image) => Plan { missing_tools: Vec::new(), work: Work::UseCached(image) },
        None => Plan { missing_tools: work.missing_tools(ctx.cache), work },
    })
}

impl Work {
    /// The work for a request if the cache has no image.
    fn from_request(request: &Request) -> Result<Work, Error> {
        let options = BuildOptions::from_request(request)?;
        Ok(match Reference::from_request(request)? {
            Reference::Prebuilt(prebuilt) => {
                Work::UnpackPrebuilt(PrebuiltKernel::new(prebuilt, request)?)
            }
            Reference::Tree(tree) => {
                let patches = Patches::read(Vec::new(), &request.patches)?;
                Work::BuildTree(TreeBuild::new(tree, options, patches))
            }
            Reference::Release { wanted, patches } => {
                let patches = Patches::read(patches, &request.patches)?;
                Work::BuildRelease(ReleaseBuild::new(wanted, request, options, patches))
            }
        })
    }

    /// The tools that the work needs and this machine lacks.
    fn missing_tools(&self, cache: &Cache) -> Vec<Tool> {
        match self {
            Work::BuildRelease(build) => build.missing_tools(cache),
            Work::BuildTree(build) => build.missing_tools(cache),
            Work::UseCached(_) | Work::UnpackPrebuilt(_) => Vec::new(),
        }
    }
}

impl Plan {
    /// Carries the plan out, and returns the image.
    ///
    /// # Errors
    /// See [`Fault`](crate::Fault).
    pub fn execute(self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let _impersonation = ctx.cache.owner.impersonate();
        match self.work {
            Work::UseCached(image) => Ok(image),
            Work::BuildRelease(build) => build.execute(ctx),
            Work::BuildTree(build) => build.execute(ctx),
            Work::UnpackPrebuilt(prebuilt) => prebuilt.obtain(ctx),
        }
    }
}

/// Plans and executes in one call, for callers that do not install tools.
///
/// # Errors
/// See [`Fault`](crate::Fault).
pub fn kernel(ctx: &mut Ctx<'_>, request: &Request) -> Result<KernelImage, Error> {
    let plan = plan(ctx, request)?;
    if !plan.missing_tools.is_empty() {
        return Err(toolchain::missing_tools_error(&plan.missing_tools));
    }
    plan.execute(ctx)
}

/// Whether a request names a kernel that was built elsewhere: an image or a package.
///
/// # Errors
/// The [`Fault::Input`](crate::Fault::Input) that [`plan`] would return.
pub fn is_prebuilt(request: &Request) -> Result<bool, Error> {
    Ok(matches!(Reference::from_request(request)?, Reference::Prebuilt(_)))
}

/// Checks a request without the network and without changing the cache.
///
/// # Errors
/// The [`Fault::Input`](crate::Fault::Input) that [`plan`] would return.
pub fn check_request(request: &Request) -> Result<(), Error> {
    BuildOptions::from_request(request)?;
    Reference::from_request(request)?;
    Ok(())
}

/// The missing tools for building this request, even if its image is in the cache. Runs the
/// compiler a few times, which takes about 20 ms.
///
/// # Errors
/// [`Fault::Input`](crate::Fault::Input) for an invalid request.
pub fn missing_tools(cache: &Cache, request: &Request) -> Result<Vec<Tool>, Error> {
    Ok(Work::from_request(request)?.missing_tools(cache))
}

/// Finds the selftests of a kernel: in the user's tree, or in the release's source, from which only
/// the selftests are unpacked.
///
/// # Errors
/// See [`Fault`](crate::Fault); a prebuilt kernel has no source.
pub fn selftests(ctx: &mut Ctx<'_>, request: &Request) -> Result<Selftests, Error> {
    let _impersonation = ctx.cache.owner.impersonate();
    match Reference::from_request(request)? {
        Reference::Prebuilt(_) => {
            let typed = request.reference.trim().to_owned();
            Err(ReferenceError::NoSelftests { typed }.into())
        }
        Reference::Tree(tree) => Ok(Selftests { tree, lock: EntryLock::default() }),
        Reference::Release { wanted, .. } => {
            release::selftests(ctx, &wanted, request.linux.as_deref(), request.arch)
        }
    }
}
