// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Provides guest-init and its initramfs. guest-init for the host's architecture is embedded in
//! sudbox. For other architectures, sudbox builds guest-init at first use.

mod foreign;

use crate::arch;
use crate::failure::Failure;
use crate::output::progress::Progress;
use std::borrow::Cow;
use std::path::PathBuf;
use sudbox_images::Arch;
use sudbox_images::initramfs::{self, Entry};

/// guest-init as built for this architecture by the build script.
const GUEST_INIT: &[u8] = include_bytes!(env!("SUDBOX_GUEST_INIT"));

/// The embedded guest-init, an ELF file for the host's architecture.
pub(crate) fn embedded_guest_init() -> &'static [u8] {
    GUEST_INIT
}

/// guest-init for an architecture: embedded, cached or built now.
///
/// # Errors
/// If guest-init must be built and cannot be built.
pub(crate) fn guest_init(
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Cow<'static, [u8]>> {
    if arch::is_host_arch(arch) {
        return Ok(Cow::Borrowed(GUEST_INIT));
    }
    foreign::guest_init(arch, progress).map(Cow::Owned)
}

/// Checks that [`guest_init`] can provide guest-init for an architecture, and installs a missing
/// linker.
///
/// # Errors
/// If something is missing and cannot be installed.
pub(crate) fn install_requirements(arch: Arch, progress: &mut Progress) -> anyhow::Result<()> {
    if arch::is_host_arch(arch) { Ok(()) } else { foreign::install_requirements(arch, progress) }
}

/// Makes an initramfs with guest-init as `/init`, the kernel modules, and the device nodes and
/// mount points that guest-init needs.
///
/// # Errors
/// If a module cannot be read.
pub(crate) fn initramfs(init: &[u8], modules: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let entries = initramfs_entries(init, modules)?;
    Ok(initramfs::pack(&entries))
}

/// The entries of the initramfs that [`initramfs`] makes. guest-init loads the modules in the order
/// of their names.
///
/// # Errors
/// If a module cannot be read.
pub(crate) fn initramfs_entries(init: &[u8], modules: &[PathBuf]) -> anyhow::Result<Vec<Entry>> {
    let mut entries = vec![
        Entry::directory("dev", 0o755),
        // Without /dev/console, init has no standard streams (console_on_rootfs()).
        Entry::char_device("dev/console", 0o600, 5, 1),
        Entry::directory("proc", 0o555),
        Entry::directory("sys", 0o555),
        Entry::directory("tmp", 0o1777),
        Entry::file("init", 0o755, init),
    ];
    if !modules.is_empty() {
        entries.push(Entry::directory("modules", 0o755));
    }
    for (number, path) in modules.iter().enumerate() {
        let content = std::fs::read(path).map_err(|error| {
            Failure::machine(format!("the module {} cannot be read: {error}", path.display()))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        entries.push(Entry::file(format!("modules/{number:02}-{name}"), 0o644, content));
    }
    Ok(entries)
}
