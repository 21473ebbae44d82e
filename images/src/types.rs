// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What goes into the crate, and what comes out of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::arch::Arch;
use crate::lock::Held;
use crate::toolchain::Toolchain;

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

/// Where the selftests of a kernel are.
#[derive(Clone, Debug, Default)]
pub struct Selftests {
    /// A tree that holds at least `tools/testing/selftests/{syscall_user_dispatch,ptrace}`, what
    /// they include from there, and the headers `include/uapi/linux/{prctl,ptrace}.h`.
    pub tree: PathBuf,
    /// Keeps it in the cache while it lives.
    pub held: Held,
}
