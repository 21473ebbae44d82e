// SPDX-License-Identifier: Apache-2.0 OR MIT

//! guest-init and the initramfs made of it. That of this machine's architecture is embedded; others
//! are built when they are first needed.

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

/// guest-init for this machine as a program.
pub(crate) fn embedded() -> &'static [u8] {
    GUEST_INIT
}

/// guest-init for an architecture.
///
/// # Errors
/// When it has to be built and cannot be.
pub(crate) fn guest_init(
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Cow<'static, [u8]>> {
    if arch::is_own(arch) {
        return Ok(Cow::Borrowed(GUEST_INIT));
    }
    foreign::guest_init(arch, progress).map(Cow::Owned)
}

/// Whether [`guest_init`] has what it needs for an architecture, as far as that is seen without building.
/// Installs a linker that is missing.
///
/// # Errors
/// When something is missing and stays so.
pub(crate) fn install_requirements(arch: Arch, progress: &mut Progress) -> anyhow::Result<()> {
    if arch::is_own(arch) { Ok(()) } else { foreign::install_requirements(arch, progress) }
}

/// An initramfs with guest-init as `/init` and the nodes and mount points it starts with.
///
/// # Errors
/// If a module cannot be read.
pub(crate) fn initramfs(init: &[u8], modules: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    Ok(initramfs::pack(&entries(init, modules)?))
}

/// What is in it, for who adds to it: with the modules that guest-init loads, which it does in the
/// order of their names.
///
/// # Errors
/// If a module cannot be read.
pub(crate) fn entries(init: &[u8], modules: &[PathBuf]) -> anyhow::Result<Vec<Entry>> {
    let mut all = vec![
        Entry::directory("dev", 0o755),
        // Without it the kernel gives its init no standard streams (`console_on_rootfs`).
        Entry::char_device("dev/console", 0o600, 5, 1),
        Entry::directory("proc", 0o555),
        Entry::directory("sys", 0o555),
        Entry::directory("tmp", 0o1777),
        Entry::file("init", 0o755, init),
    ];
    if !modules.is_empty() {
        all.push(Entry::directory("modules", 0o755));
    }
    for (number, path) in modules.iter().enumerate() {
        let content = std::fs::read(path).map_err(|why| {
            Failure::machine(format!("the module {} cannot be read: {why}", path.display()))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        all.push(Entry::file(format!("modules/{number:02}-{name}"), 0o644, content));
    }
    Ok(all)
}
