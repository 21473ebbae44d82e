//! The pinned kernels: `kernel-config/kernels.toml`.

use std::collections::BTreeMap;

use crate::version::Series;
use crate::{Arch, Error};

/// The table, embedded.
const TEXT: &str = include_str!("../../kernel-config/kernels.toml");

/// The pinned kernels by name, and which one is the default.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Pins {
    default: BTreeMap<String, String>,
    kernel: BTreeMap<String, Pin>,
}

/// One pinned kernel.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Pin {
    series: String,
}

impl Pins {
    /// Reads the embedded table.
    pub(crate) fn embedded() -> Result<Pins, Error> {
        toml::from_str(TEXT).map_err(|e| {
            Error::Machine(format!("sudbox was built with a broken kernels.toml: {e}"))
        })
    }

    /// The name of the default kernel.
    pub(crate) fn default_name(&self, arch: Arch) -> Option<&str> {
        self.default.get(arch.name()).map(String::as_str)
    }

    /// The series behind a name.
    pub(crate) fn series(&self, name: &str) -> Option<Series> {
        self.kernel.get(name)?.series.parse().ok()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kernel.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_a_default_that_is_pinned() {
        let pins = Pins::embedded().unwrap();
        for arch in Arch::ALL {
            let name = pins.default_name(arch).expect("a default");
            assert!(pins.series(name).is_some(), "{name}");
        }
        for name in pins.names() {
            assert!(pins.series(name).is_some(), "{name} has a series");
        }
    }
}
