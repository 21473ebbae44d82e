// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why a prebuilt kernel cannot be used.

use std::io;
use std::path::PathBuf;

use super::Fault;
use crate::image_file::ImageError;
use crate::prebuilt::deb::DebError;
use crate::prebuilt::image::DamagedImage;
use crate::prebuilt::modules::ModuleError;

/// A prebuilt kernel that cannot be used. `typed` is the reference.
#[derive(Debug, thiserror::Error)]
pub enum PrebuiltError {
    #[error(
        "KERNEL=installed: no kernel is installed here: there is neither /boot/vmlinuz-* nor \
         /usr/lib/modules/*/vmlinuz; name another"
    )]
    NothingInstalled,
    #[error("KERNEL={typed}: {}: {why}", path.display())]
    Installed { typed: String, path: PathBuf, why: ImageError },
    #[error("KERNEL={typed}: cannot be read: {why}")]
    Unreadable { typed: String, why: io::Error },
    #[error("KERNEL={typed}: {why}")]
    Package { typed: String, why: DebError },
    #[error("KERNEL={typed}: {why}")]
    Image { typed: String, why: DamagedImage },
    #[error("KERNEL={typed}: {why}")]
    Module { typed: String, why: ModuleError },
    #[error(
        "KERNEL={typed}: its {module} is a module that is not at hand; give the package, or put \
         lib/modules of this kernel beside its directory"
    )]
    ModuleMissing { typed: String, module: &'static str },
    #[error(
        "this kernel cannot be judged: it is built without {symbol}, so its guest cannot reach the \
         host"
    )]
    WithoutTransport { symbol: &'static str },
}

impl PrebuiltError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            PrebuiltError::WithoutTransport { .. } => Fault::Kernel,
            _ => Fault::Input,
        }
    }
}
