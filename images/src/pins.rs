// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pinned kernels, from the embedded table `kernel-config/kernels.toml`.

use std::collections::BTreeMap;

use crate::arch::Arch;
use crate::error::{ConfigError, Error};
use crate::patches::Patch;
use crate::version::Series;

/// The table, embedded.
const PINS_TOML: &str = include_str!("../../kernel-config/kernels.toml");

/// The patches that the table names: path below `kernel-config/patches/`, and embedded text.
const EMBEDDED_PATCHES: [(&str, &str); 1] = [(
    "aarch64/6.12-sud.patch",
    include_str!("../../kernel-config/patches/aarch64/6.12-sud.patch"),
)];

/// The pinned kernels by name.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Pins {
    kernel: BTreeMap<String, Pin>,
}

/// One pinned kernel.
#[derive(Debug, serde::Deserialize)]
struct Pin {
    series: String,
    /// The only architecture of this kernel; `None` for all.
    arch: Option<String>,
    #[serde(default)]
    patches: Vec<String>,
}

impl Pins {
    /// Reads the embedded table.
    pub(crate) fn embedded() -> Result<Pins, Error> {
        toml::from_str(PINS_TOML)
            .map_err(|reason| ConfigError::BrokenPins { reason: reason.to_string() }.into())
    }

    /// The series of the pinned kernel with this name.
    pub(crate) fn series(&self, name: &str) -> Option<Series> {
        self.kernel.get(name)?.series.parse().ok()
    }

    /// sudbox's own patches for the pinned kernel with this name.
    pub(crate) fn patches(&self, name: &str) -> Vec<Patch> {
        let embedded_patch =
            |wanted: &String| EMBEDDED_PATCHES.iter().find(|(name, _)| name == wanted);
        let names = self.kernel.get(name).map_or(&[][..], |pin| &pin.patches);
        let patch = |(name, text): &(&str, &str)| Patch {
            label: format!("sudbox's {name}"),
            text: (*text).to_owned(),
        };
        names.iter().filter_map(embedded_patch).map(patch).collect()
    }

    /// The names of all pinned kernels of an architecture.
    pub(crate) fn names(&self, arch: Arch) -> impl Iterator<Item = &str> {
        let is_for = move |pin: &Pin| pin.arch.as_ref().is_none_or(|name| name == arch.name());
        self.kernel.iter().filter(move |(_, pin)| is_for(pin)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;
    use crate::version::Release;

    #[test]
    fn the_default_kernel_of_every_architecture_is_pinned_with_series_and_patches() {
        let pins = Pins::embedded().unwrap();
        for arch in Arch::ALL {
            let name = arch::facts(arch).default_kernel;
            assert!(pins.series(name).is_some(), "{name}");
            assert!(pins.names(arch).any(|other| other == name), "{name}");
            for name in pins.names(arch) {
                assert!(pins.series(name).is_some(), "{name} has a series");
                let patches = &pins.kernel[name].patches;
                assert_eq!(pins.patches(name).len(), patches.len(), "{name} has its patches");
            }
        }
    }

    #[test]
    fn kernels_with_plain_versions_as_names_have_no_patches() {
        let pins = Pins::embedded().unwrap();
        for (name, pin) in &pins.kernel {
            let is_plain_version =
                name.parse::<Series>().is_ok() || name.parse::<Release>().is_ok();
            assert!(!is_plain_version || pin.patches.is_empty(), "{name}");
        }
    }
}
