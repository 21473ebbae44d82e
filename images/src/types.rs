// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The request for a kernel, and the results: a kernel image or a tree of selftests.

use std::path::PathBuf;
use std::time::Duration;

use crate::arch::Arch;
use crate::instrumentation::InstrumentedFile;
use crate::lock::EntryLock;
use crate::toolchain::Toolchain;

/// A request for a kernel.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The reference as typed after `KERNEL=`; empty means the pinned default.
    pub reference: String,
    /// Architecture.
    pub arch: Arch,
    /// Flavour; empty means `default`.
    pub flavour: String,
    /// `EXACT=`: whether to refuse any release other than the named one.
    pub exact: bool,
    /// `CONTAIN=`: whether the build must, may or must not be contained.
    pub contain: Contain,
    /// `LINUX=`: a git tree, the first source of releases.
    pub linux: Option<PathBuf>,
    /// `CONFIG=`: configuration fragments. A later fragment takes precedence.
    pub fragments: Vec<PathBuf>,
    /// The compiler and its flags.
    pub toolchain: Toolchain,
    /// `PATCHES=`: files and folders of patches, applied in the order of this list.
    pub patches: Vec<PathBuf>,
}

/// The containment of a build, so that the tree's Makefiles and scripts reach nothing else on this
/// machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contain {
    /// The measures that this machine allows. A note names the missing measures.
    #[default]
    Auto,
    /// All measures. If one is missing, nothing is built.
    Require,
    /// No measures.
    Off,
}

/// A kernel that can be booted.
#[derive(Clone, Debug, Default)]
pub struct KernelImage {
    /// The file to boot: a vmlinux with a PVH note, a bzImage, or an Image.
    pub kernel: PathBuf,
    /// The vmlinux with symbols, if there is one.
    pub vmlinux: Option<PathBuf>,
    /// The final .config, if it is known.
    pub config: Option<PathBuf>,
    /// The kernel's `include/uapi/linux/prctl.h` and `ptrace.h`, joined in one file, if the kernel
    /// was built from source.
    pub uapi_headers: Option<PathBuf>,
    /// The files that are instrumented for KCOV; empty unless the flavour is `coverage`.
    pub instrumented_files: Vec<InstrumentedFile>,
    /// The release as `uname -r` prints it, if it is known.
    pub release: Option<String>,
    /// The source and its checksum, in one line for the report.
    pub source: String,
    /// A note for the user if this is not the requested release.
    pub substitution_note: Option<String>,
    /// Modules that guest-init loads, in this order, before it connects to the host.
    pub modules: Vec<PathBuf>,
    /// Whether the kernel finds virtio devices only by ACPI, not by the command line.
    pub needs_acpi: bool,
    /// The log of the build.
    pub build_log: Option<PathBuf>,
    /// Whether the kernel was built elsewhere, with another configuration than sudbox's.
    pub is_prebuilt: bool,
    /// Whether the image was built now; false if it was found in the cache.
    pub is_newly_built: bool,
    /// Time that make took for this build; zero if nothing was built.
    pub make_duration: Duration,
    /// Lock that keeps the files in the cache.
    pub lock: EntryLock,
}

/// The selftests of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Selftests {
    /// A source tree with at least `tools/testing/selftests/{syscall_user_dispatch,ptrace}`, the
    /// kselftest headers, and `include/uapi/linux/{prctl,ptrace}.h`.
    pub tree: PathBuf,
    /// Lock that keeps the tree in the cache.
    pub lock: EntryLock,
}
