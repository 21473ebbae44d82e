// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The value of `--backend`: a row of the table of backends, or `auto`.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sudbox_vmm::backend::{self, BACKENDS};

/// A backend, or `auto`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backend(Option<&'static backend::Backend>);

impl Backend {
    /// The first backend in the table that can run the kernel.
    pub(crate) const AUTO: Backend = Backend(None);

    const ALL: [Backend; BACKENDS.len() + 1] = {
        let mut all = [Backend::AUTO; BACKENDS.len() + 1];
        let mut row = 0;
        while row < BACKENDS.len() {
            all[row + 1] = Backend(Some(&BACKENDS[row]));
            row += 1;
        }
        all
    };

    /// The name of the backend on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.0.map_or("auto", |backend| backend.name)
    }

    /// The row of the backend in the table; `None` for `auto`.
    pub(crate) fn table_row(self) -> Option<&'static backend::Backend> {
        self.0
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Backend) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backend {}

impl ValueEnum for Backend {
    fn value_variants<'a>() -> &'a [Backend] {
        const { &Backend::ALL }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let auto_summary =
            "The microVM if a probe of /dev/kvm finds that it runs kernels, else QEMU";
        Some(
            PossibleValue::new(self.name())
                .help(self.0.map_or(auto_summary, |backend| backend.summary)),
        )
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Backend, D::Error> {
        let name = String::deserialize(deserializer)?;
        // Older versions of sudbox wrote capitalised names.
        Backend::from_str(&name, true).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_older_versions_are_read() {
        for (text, name) in [("\"Auto\"", "auto"), ("\"Qemu\"", "qemu"), ("\"tcg\"", "tcg")] {
            assert_eq!(serde_json::from_str::<Backend>(text).unwrap().name(), name);
        }
        assert_eq!(serde_json::to_string(&Backend::AUTO).unwrap(), "\"auto\"");
        assert!(serde_json::from_str::<Backend>("\"none\"").is_err());
    }
}
