// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plans how a request becomes a kernel image, and carries the plan out.

use crate::build::Options;
use crate::cache::Cache;
use crate::ctx::Ctx;
use crate::error::{Error, ReferenceError};
use crate::lock::Held;
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
    /// The tools that are needed and that this machine lacks: install them before
    /// [`Plan::execute`]. Empty if nothing is built.
    pub tools: Vec<Tool>,
    step: Step,
}

/// The work of a plan.
#[derive(Debug)]
enum Step {
    /// None: the image is in the cache.
    Take(KernelImage),
    /// Fetch and build a release or commit.
    BuildRelease(ReleaseBuild),
    /// Build a source tree.
    BuildTree(TreeBuild),
    /// Take a kernel that somebody else has built.
    TakePrebuilt(PrebuiltKernel),
}

/// Plans how to get the kernel of a request: finds the release or reads the tree that is meant, and
/// looks for its image in the cache.
///
/// # Errors
/// [`Error::fault`] names the party at fault; the message says what happened, why, and what to do
/// next.
pub fn plan(ctx: &mut Ctx<'_>, request: &Request) -> Result<Plan, Error> {
    let _acting = ctx.cache.owner.act();
    let options = Options::of(request)?;
    let reference = Reference::of(request)?;
    let (tools, step) = match reference {
        Reference::Prebuilt(prebuilt) => {
            let prebuilt = PrebuiltKernel::new(prebuilt, request)?;
            (Vec::new(), Step::TakePrebuilt(prebuilt))
        }
        Reference::Tree(tree) => {
            let patches = Patches::read(Vec::new(), &request.patches)?;
            let mut build = TreeBuild::new(tree, options, patches);
            match build.cached(ctx)? {
                Some(image) => (Vec::new(), Step::Take(image)),
                None => (build.missing_tools(ctx.cache), Step::BuildTree(build)),
            }
        }
        Reference::Release { wanted, patches } => {
            let patches = Patches::read(patches, &request.patches)?;
            let mut build = ReleaseBuild::new(wanted, request, options, patches);
            match build.cached(ctx)? {
                Some(image) => (Vec::new(), Step::Take(image)),
                None => (build.missing_tools(ctx.cache), Step::BuildRelease(build)),
            }
        }
    };
    Ok(Plan { tools, step })
}

impl Plan {
    /// Fetches and builds what the plan says.
    ///
    /// # Errors
    /// See [`Fault`](crate::Fault).
    pub fn execute(self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let _acting = ctx.cache.owner.act();
        match self.step {
            Step::Take(image) => Ok(image),
            Step::BuildRelease(build) => build.run(ctx),
            Step::BuildTree(build) => build.run(ctx),
            Step::TakePrebuilt(prebuilt) => prebuilt.obtain(ctx),
        }
    }
}

/// Plans and executes, for callers that install no tools.
///
/// # Errors
/// See [`Fault`](crate::Fault).
pub fn kernel(ctx: &mut Ctx<'_>, request: &Request) -> Result<KernelImage, Error> {
    let plan = plan(ctx, request)?;
    if !plan.tools.is_empty() {
        return Err(toolchain::refusal(&plan.tools));
    }
    plan.execute(ctx)
}

/// Whether a request names a kernel that somebody else has built: an image or a package.
///
/// # Errors
/// [`Fault::Input`](crate::Fault::Input), as [`plan`] would find.
pub fn is_prebuilt(request: &Request) -> Result<bool, Error> {
    Ok(matches!(Reference::of(request)?, Reference::Prebuilt(_)))
}

/// Checks whether a request makes sense, by the files of this machine alone.
///
/// # Errors
/// [`Fault::Input`](crate::Fault::Input), as [`plan`] would find.
pub fn check(request: &Request) -> Result<(), Error> {
    Options::of(request)?;
    Reference::of(request)?;
    Ok(())
}

/// The tools that building this request needs and this machine lacks, whatever the cache holds.
/// Runs the compiler a few times, some 20 ms.
///
/// # Errors
/// [`Fault::Input`](crate::Fault::Input) for a request that makes no sense.
pub fn missing_tools(cache: &Cache, request: &Request) -> Result<Vec<Tool>, Error> {
    let options = Options::of(request)?;
    Ok(match Reference::of(request)? {
        Reference::Prebuilt(_) => Vec::new(),
        Reference::Tree(tree) => {
            let patches = Patches::read(Vec::new(), &request.patches)?;
            TreeBuild::new(tree, options, patches).missing_tools(cache)
        }
        Reference::Release { wanted, patches } => {
            let patches = Patches::read(patches, &request.patches)?;
            ReleaseBuild::new(wanted, request, options, patches).missing_tools(cache)
        }
    })
}

/// Finds the selftests of a kernel: in its tree, or in its source, of which nothing else is
/// unpacked.
///
/// # Errors
/// See [`Fault`](crate::Fault); a prebuilt kernel has no source.
pub fn selftests(ctx: &mut Ctx<'_>, request: &Request) -> Result<Selftests, Error> {
    let _acting = ctx.cache.owner.act();
    match Reference::of(request)? {
        Reference::Prebuilt(_) => {
            let typed = request.reference.trim().to_owned();
            Err(ReferenceError::NoSelftests { typed }.into())
        }
        Reference::Tree(tree) => Ok(Selftests { tree, held: Held::default() }),
        Reference::Release { wanted, .. } => {
            release::selftests(ctx, &wanted, request.linux.as_deref(), request.arch)
        }
    }
}
