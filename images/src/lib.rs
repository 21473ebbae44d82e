//! From what a person types after `KERNEL=` to an image that boots, and from guest-init to an
//! initramfs. Knows nothing of VMs.
//!
//! ```text
//! Request -> reference -> source (git, upstream, distribution) or mirror of a tree
//!                            -> build slot (config, make) -> cache -> KernelImage
//! ```

mod arch;
mod build;
mod cache;
mod config;
mod error;
mod image_file;
pub mod initramfs;
mod mirror;
mod monitor;
mod owner;
mod patches;
mod pins;
mod process;
mod reference;
mod source;
#[cfg(test)]
mod tests;
mod toolchain;
mod tree;
mod trim;
mod version;
mod walk;

use std::path::PathBuf;

pub use arch::Arch;
pub use cache::{Cache, Held};
pub use error::{Error, Fault};
pub use image_file::{Format, ImageFile};
pub use monitor::Monitor;
pub use reference::Reference;
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
    /// The log of the build that made it.
    pub build_log: Option<PathBuf>,
    /// It was built now, and not found in the cache.
    pub built: bool,
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
    let configuration =
        config::Configuration::new(request.arch, &request.flavour, &request.fragments)?;
    let wanted = match Reference::parse(&request.reference, request.arch)? {
        Reference::Image(image) => return Ok(given(image)),
        Reference::Tree(tree) => {
            return tree::kernel(cache, request, &configuration, &tree, monitor);
        }
        Reference::Exact(release) => source::Wanted::Exact(release),
        Reference::Newest(series) => source::Wanted::Newest(series),
    };
    source::kernel(cache, request, &configuration, wanted, monitor)
}

/// An image that the user has.
fn given(image: ImageFile) -> KernelImage {
    KernelImage {
        vmlinux: (image.format == Format::Vmlinux).then(|| image.path.clone()),
        source: format!("{}, as given", image.path.display()),
        release: image.release,
        kernel: image.path,
        ..KernelImage::default()
    }
}

/// What this machine lacks to build what was asked for; nothing if it is an image. Runs the
/// compiler a few times, some 20 ms.
///
/// # Errors
/// As [`kernel`], for a reference that makes no sense.
pub fn missing_tools(cache: &Cache, request: &Request) -> Result<Vec<Tool>, Error> {
    let mut missing = Vec::new();
    match Reference::parse(&request.reference, request.arch)? {
        Reference::Image(_) => return Ok(missing),
        Reference::Tree(_) => {}
        Reference::Exact(_) | Reference::Newest(_) => {
            missing.extend(toolchain::absent(&toolchain::UNPACKING));
            if toolchain::find("apt-get").is_none() {
                missing.extend(toolchain::absent(&[toolchain::CURL]));
            }
            if request.linux.is_some() {
                missing.extend(toolchain::absent(&[toolchain::GIT]));
            }
        }
    }
    if !request.patches.is_empty() {
        missing.extend(toolchain::absent(&[toolchain::PATCH]));
    }
    missing.extend(request.toolchain.missing(cache.owner));
    Ok(missing)
}
