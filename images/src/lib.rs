// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From what a person types after `KERNEL=` to an image that boots, and from guest-init to an
//! initramfs. Knows nothing of VMs.
//!
//! ```text
//! Request -> reference -> source (git, upstream, distribution) or mirror of a tree
//!                            -> build slot (config, make) -> cache -> KernelImage
//! ```

mod apt;
mod arch;
mod bisection;
mod build;
mod cache;
mod compression;
mod config;
mod ctx;
mod error;
mod file_owner;
mod git;
mod hash;
mod history;
mod image_file;
pub mod initramfs;
pub mod kernels;
mod lock;
mod makefile;
mod mirror;
mod monitor;
mod net;
mod packages;
mod patches;
mod paths;
mod pins;
mod plan;
mod poll;
mod prebuilt;
mod process;
mod reference;
mod rust_toolchain;
mod source;
mod source_files;
mod source_filter;
#[cfg(test)]
mod testing;
mod toolchain;
mod tree;
mod types;
mod version;

pub use arch::Arch;
pub use bisection::{Bisection, Mark, Next, Terms};
pub use cache::Cache;
pub use ctx::Ctx;
pub use error::{Error, Fault};
pub use file_owner::{Acting, Owner};
pub use history::{Commit, History};
pub use lock::{Held, Mode};
pub use monitor::Monitor;
pub use packages::{Packages, Tool};
pub use paths::expand_home;
pub use plan::{Plan, check, kernel, missing_tools, plan, selftests};
pub use prebuilt::config_of;
pub use process::hear;
pub use rust_toolchain::distribution_rust;
pub use toolchain::Toolchain;
pub use types::{KernelImage, Request, Selftests};
