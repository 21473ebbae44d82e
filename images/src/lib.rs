//! From what a person types after `KERNEL=` to an image that boots, and from guest-init to an
//! initramfs. Knows nothing of VMs.
//!
//! ```text
//! Request -> reference -> source (git, upstream, distribution) or mirror of a tree
//!                            -> build slot (config, make) -> cache -> KernelImage
//! ```

mod arch;
mod bisection;
#[cfg(test)]
mod bisection_tests;
mod build;
mod cache;
mod compressed;
mod config;
mod error;
mod history;
mod image_file;
pub mod initramfs;
pub mod kernels;
mod mirror;
mod monitor;
mod owner;
mod patches;
mod pins;
mod process;
mod ready;
mod reference;
mod source;
#[cfg(test)]
mod tests;
mod toolchain;
mod tree;
mod trim;
mod version;
mod walk;

use patches::Patches;
use pins::Pins;
use std::path::PathBuf;
use std::time::Duration;

pub use arch::Arch;
pub use bisection::{Bisection, Mark, Next, Terms};
pub use cache::{Cache, Held, Mode};
pub use error::{Error, Fault};
pub use history::{Commit, History};
pub use image_file::{Format, ImageFile};
pub use monitor::Monitor;
pub use owner::{Acting, Owner};
pub use process::hear;
pub use ready::config_of;
pub use reference::Reference;
pub use source::distribution_rust;
use source::{Asked, Wanted, packages};
pub use toolchain::{Packages, Tool, Toolchain};
pub use version::{NoVersion, Release, Series};

/// What a person asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// As typed after `KERNEL=`; empty means the pinned default.
    pub reference: String,
    /// Architecture.
    pub arch: Arch,
    /// Flavour; empty means `default`.
    pub flavour: String,
    /// `LINUX=`: a git tree in which versions are looked for first.
    pub linux: Option<PathBuf>,
    /// `CONFIG=`: the user's fragments, later ones win.
    pub fragments: Vec<PathBuf>,
    /// The compiler.
    pub toolchain: Toolchain,
    /// `PATCHES=`: applied in this order, in the mirror only.
    pub patches: Vec<PathBuf>,
}

impl Request {
    /// The same with the compiler that its architecture needs here.
    fn targeting(&self) -> Request {
        Request { toolchain: self.toolchain.targeting(self.arch), ..self.clone() }
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug, Default)]
pub struct KernelImage {
    /// What to boot: a vmlinux with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// The vmlinux with symbols, if it is at hand.
    pub vmlinux: Option<PathBuf>,
    /// Its final .config, if it is at hand.
    pub config: Option<PathBuf>,
    /// The text of its `include/uapi/linux/prctl.h` and `ptrace.h`, if the source is at hand.
    pub uapi: Option<PathBuf>,
    /// What `uname -r` will say, if that is known.
    pub release: Option<String>,
    /// Where it is from, with the source's checksum, one line for people.
    pub source: String,
    /// One sentence, if this is not exactly the release that was asked for.
    pub stands_in: Option<String>,
    /// Modules that its init loads before it dials, in this order.
    pub modules: Vec<PathBuf>,
    /// It finds devices by ACPI alone: the command line tells it of none.
    pub acpi: bool,
    /// The log of the build that made it.
    pub build_log: Option<PathBuf>,
    /// It was built now, and not found in the cache.
    pub built: bool,
    /// Time that make took for it now.
    pub make: Duration,
    /// Keeps the files in the cache while it lives.
    pub held: Held,
}

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
        Reference::Image(image) => return ready::of_image(cache, &image, typed, monitor),
        Reference::Installed => {
            let path = ready::installed()?;
            let image = image_file::inspect(&path, request.arch).map_err(|why| {
                Error::Input(format!("KERNEL={typed}: {}: {why}", path.display()))
            })?;
            return ready::of_image(cache, &image, typed, monitor);
        }
        Reference::PackageFile(path) => {
            return ready::of_package_file(cache, &path, typed, request.arch, monitor);
        }
        Reference::Package(name) => {
            return packages::kernel(cache, request, packages::Asked::Name(&name), monitor);
        }
        Reference::NewestPackage(series) => {
            return packages::kernel(cache, request, packages::Asked::Newest(series), monitor);
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

/// Where the selftests of a kernel are.
#[derive(Clone, Debug, Default)]
pub struct Selftests {
    /// A tree that holds at least `tools/testing/selftests/{syscall_user_dispatch,ptrace}`, what
    /// they include from there, and the headers `include/uapi/linux/{prctl,ptrace}.h`.
    pub tree: PathBuf,
    /// Keeps it in the cache while it lives.
    pub held: Held,
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
