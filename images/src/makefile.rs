// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a kernel's release from its top Makefile.

use std::io;
use std::path::Path;

use crate::regular_file;

/// Maximum size of a top Makefile, in bytes. Linux 7.3's has 72 KiB.
const MAX_MAKEFILE_BYTES: u64 = 4 << 20;

/// Error: the directory is not a Linux source tree.
#[derive(Debug, thiserror::Error)]
pub enum NotATree {
    #[error("its Makefile cannot be read: {0}")]
    UnreadableMakefile(io::Error),
    #[error("its Makefile sets no VERSION and PATCHLEVEL")]
    NoVersion,
    #[error("it has no Kconfig or no kernel directory")]
    KernelMissing,
}

/// The release in the top Makefile of a tree, such as `6.12.0-rc3`.
///
/// # Errors
/// [`NotATree`].
pub(crate) fn tree_release(tree: &Path) -> Result<String, NotATree> {
    let makefile = regular_file::read_text_bounded(&tree.join("Makefile"), MAX_MAKEFILE_BYTES)
        .map_err(NotATree::UnreadableMakefile)?;
    let value = |name: &str| {
        makefile.lines().take(40).find_map(|line| {
            let (variable, text) = line.split_once('=')?;
            (variable.trim() == name).then(|| text.trim().to_owned())
        })
    };
    let (Some(version), Some(patchlevel)) = (value("VERSION"), value("PATCHLEVEL")) else {
        return Err(NotATree::NoVersion);
    };
    if !tree.join("Kconfig").is_file() || !tree.join("kernel").is_dir() {
        return Err(NotATree::KernelMissing);
    }
    let sublevel =
        value("SUBLEVEL").filter(|number| !number.is_empty()).unwrap_or_else(|| "0".into());
    let extra = value("EXTRAVERSION").unwrap_or_default();
    Ok(format!("{version}.{patchlevel}.{sublevel}{extra}"))
}
