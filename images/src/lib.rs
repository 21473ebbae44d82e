// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds, unpacks or finds the kernel that a reference (the text after `KERNEL=`) names, and packs
//! an initramfs. This crate knows nothing of VMs.
//!
//! ```text
//! Request -> plan -> Reference: release -> source (git, upstream, packages) -> build slot
//!                               tree    -> mirror                           -> build slot
//!                               prebuilt image or package                   -> unpack
//!                                                          -> cache -> KernelImage
//! ```
//!
//! [`plan()`] looks for the image in the cache and, if the image has to be built, lists the missing
//! tools. [`Plan::execute`] does the work. images/README.md has the design and its limits.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)
)]

mod apt;
mod arch;
mod bisection;
mod build;
mod cache;
mod command;
mod compression;
mod config;
mod containment;
mod ctx;
mod curl;
mod error;
mod file_owner;
mod folder;
mod git;
mod hash;
mod history;
mod image_file;
pub mod initramfs;
mod instrumentation;
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
mod regular_file;
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
pub use bisection::{Bisection, BisectionTerms, Mark, NextStep};
pub use cache::Cache;
pub use ctx::Ctx;
pub use error::{ACCEPTED_REFERENCES, Error, Fault};
pub use file_owner::{Owner, OwnerGuard};
pub use hash::digest;
pub use history::{Commit, History};
pub use instrumentation::InstrumentedFile;
pub use lock::{EntryLock, LockMode};
pub use monitor::Monitor;
pub use packages::{Packages, Tool};
pub use paths::{expand_home, read_text};
pub use plan::{Plan, check_request, is_prebuilt, kernel, missing_tools, plan, selftests};
pub use prebuilt::config_of;
pub use process::status_and_lines;
pub use regular_file::{Links, open_regular, read_bounded};
pub use rust_toolchain::distribution_rust;
pub use toolchain::{Toolchain, is_on_path};
pub use types::{Contain, KernelImage, Request, Selftests};
