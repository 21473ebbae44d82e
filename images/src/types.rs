// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The request for a kernel, and the image that answers it.

use std::path::PathBuf;
use std::time::Duration;

use crate::arch::Arch;
use crate::lock::Held;
use crate::toolchain::Toolchain;

/// A request for a kernel.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// As typed after `KERNEL=`; empty means the pinned default.
    pub reference: String,
    /// Architecture.
    pub arch: Arch,
    /// Flavour; empty means `default`.
    pub flavour: String,
    /// `EXACT=`: refuse a release that would stand in for the one that is named.
    pub exact: bool,
    /// `LINUX=`: a git tree, the first source of releases.
    pub linux: Option<PathBuf>,
    /// `CONFIG=`: configuration fragments; later ones win.
    pub fragments: Vec<PathBuf>,
    /// The compiler and its flags.
    pub toolchain: Toolchain,
    /// `PATCHES=`: files and folders of patches, applied in this order.
    pub patches: Vec<PathBuf>,
}

/// A kernel that can be booted.
#[derive(Clone, Debug, Default)]
pub struct KernelImage {
    /// The file to boot: a vmlinux with a PVH note, a bzImage, or an Image.
    pub kernel: PathBuf,
    /// The vmlinux with symbols, if there is one.
    pub vmlinux: Option<PathBuf>,
    /// Its final .config, if it is known.
    pub config: Option<PathBuf>,
    /// A file with the text of its `include/uapi/linux/prctl.h` and `ptrace.h`, if it was built
    /// from source.
    pub uapi: Option<PathBuf>,
    /// Its release, as `uname -r` prints it, if that is known.
    pub release: Option<String>,
    /// Its origin with the checksum of its source, in one line for the report.
    pub source: String,
    /// One sentence, if it is not the release that was asked for.
    pub stands_in: Option<String>,
    /// Modules that guest-init loads before it connects to the host, in this order.
    pub modules: Vec<PathBuf>,
    /// Whether it finds virtio devices by ACPI only, and not by the command line.
    pub acpi: bool,
    /// The log of the build that made it.
    pub build_log: Option<PathBuf>,
    /// Whether it was built now, rather than found in the cache.
    pub built: bool,
    /// Time that make took to build it now.
    pub make: Duration,
    /// Lock that keeps the files in the cache.
    pub held: Held,
}

/// The selftests of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Selftests {
    /// A tree that holds at least `tools/testing/selftests/{syscall_user_dispatch,ptrace}`, what
    /// they include from there, and the headers `include/uapi/linux/{prctl,ptrace}.h`.
    pub tree: PathBuf,
    /// Lock that keeps the tree in the cache.
    pub held: Held,
}
