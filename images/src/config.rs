// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's configuration: merges fragments into tinyconfig, and checks the final .config.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::arch::{self, Arch};
use crate::error::{ConfigError, Error};
use crate::hash::hex;
use crate::instrumentation;
use crate::paths::{expand_home, read_text};
use crate::version::Series;

/// The fragment of every configuration.
const BASE_FRAGMENT: &str = include_str!("../../kernel-config/base.config");
/// The symbols that a final .config must have; see [`RequiredSymbol`].
const REQUIRED_LIST: &str = include_str!("../../kernel-config/required.list");
/// Names and fragments of the flavours.
const FLAVOURS: [(&str, &str); 5] = [
    ("default", include_str!("../../kernel-config/default.config")),
    ("full", include_str!("../../kernel-config/full.config")),
    ("debug", include_str!("../../kernel-config/debug.config")),
    (COVERAGE, include_str!("../../kernel-config/coverage.config")),
    ("kvm", include_str!("../../kernel-config/kvm.config")),
];

/// The flavour whose kernels record executed code (KCOV).
const COVERAGE: &str = "coverage";

/// The configuration of a request.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    arch: Arch,
    flavour: String,
    /// Names and texts of the fragments. A later fragment takes precedence.
    fragments: Vec<(String, String)>,
    /// Number of the fragments of sudbox, which precede those of the user.
    sudbox_fragment_count: usize,
}

impl Configuration {
    /// Reads the fragments of a flavour, and the user's fragments (`files`).
    ///
    /// # Errors
    /// [`ConfigError`] if the flavour is unknown, or a file cannot be read or is not a fragment.
    pub(crate) fn new(
        arch: Arch,
        flavour: &str,
        files: &[PathBuf],
    ) -> Result<Configuration, Error> {
        let flavour = if flavour.is_empty() { "default" } else { flavour };
        let Some((_, text)) = FLAVOURS.iter().find(|(name, _)| *name == flavour) else {
            let names = FLAVOURS.map(|(name, _)| name).join(", ");
            let flavour = flavour.to_owned();
            return Err(ConfigError::NoSuchFlavour { flavour, known: names }.into());
        };
        let (arch_name, arch_text) = arch::facts(arch).fragment;
        let mut fragments = vec![
            ("base.config".to_owned(), BASE_FRAGMENT.to_owned()),
            (arch_name.to_owned(), arch_text.to_owned()),
            (format!("{flavour}.config"), (*text).to_owned()),
        ];
        let sudbox_fragment_count = fragments.len();
        for file in files {
            let text = read_text(&expand_home(file))
                .map_err(|reason| ConfigError::Unreadable { file: file.clone(), reason })?;
            check_fragment(file, &text)?;
            fragments.push((file.display().to_string(), text));
        }
        Ok(Configuration { arch, flavour: flavour.to_owned(), fragments, sudbox_fragment_count })
    }

    /// Digest of all fragments.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (_, text) in &self.fragments {
            hasher.update(text);
            hasher.update([0]);
        }
        hasher.update(REQUIRED_LIST);
        hex(&hasher.finalize())
    }

    /// The name of the configuration for build slots, which does not change when a fragment is
    /// edited.
    pub(crate) fn name(&self) -> String {
        let names = self.fragments.iter().map(|(name, _)| name.as_str());
        format!("{} {}", self.arch.name(), names.collect::<Vec<_>>().join(" "))
    }

    /// The flavour's name.
    pub(crate) fn flavour(&self) -> &str {
        &self.flavour
    }

    /// The source files to instrument for KCOV; empty unless the flavour is `coverage`.
    pub(crate) fn instrumented_files(&self) -> Vec<&'static str> {
        if self.flavour == COVERAGE { instrumentation::listed_files() } else { Vec::new() }
    }

    /// Merges the fragments into `tiny_config`, the .config that `make tinyconfig` wrote. The last
    /// setting of a symbol counts, as in `conf_read_simple()` (scripts/kconfig/confdata.c).
    pub(crate) fn merge(&self, tiny_config: &str) -> String {
        let fragments = self.fragments.iter().flat_map(|(_, text)| text.lines());
        let lines: Vec<&str> = tiny_config.lines().chain(fragments).collect();
        let mut set_symbols = HashSet::new();
        let mut last_settings: Vec<&str> = lines.into_iter().rev().collect();
        last_settings.retain(|line| {
            parse_setting(line).is_some_and(|(symbol, _)| set_symbols.insert(symbol))
        });
        // Restore the order of the lines: only the last symbol of a choice counts.
        last_settings.iter().rev().flat_map(|line| [*line, "\n"]).collect()
    }

    /// Checks a final .config against `required.list`. Returns a note for each setting of the
    /// user's fragments that had no effect.
    ///
    /// # Errors
    /// [`ConfigError::TakesOut`] if a fragment of the user changes a required symbol,
    /// [`ConfigError::Lacks`] if required symbols are missing for another reason.
    pub(crate) fn check(&self, dot_config: &str, series: Series) -> Result<Vec<String>, Error> {
        let final_value = |symbol: &str| {
            dot_config
                .lines()
                .filter_map(parse_setting)
                .find(|(other, _)| *other == symbol)
                .map_or("n", |(_, value)| value)
        };
        let mut missing = Vec::new();
        // The first fragment of the user that changes a missing symbol.
        let mut changing_fragment = None;
        for requirement in parse_required(REQUIRED_LIST)? {
            if !requirement.applies_to(self.arch, &self.flavour, series)
                || final_value(requirement.symbol) == requirement.value
            {
                continue;
            }
            missing.push(format!("{}={}", requirement.symbol, requirement.value));
            changing_fragment = changing_fragment.or_else(|| {
                self.fragments[self.sudbox_fragment_count..].iter().find(|(_, text)| {
                    text.lines().filter_map(parse_setting).any(|(symbol, value)| {
                        symbol == requirement.symbol && value != requirement.value
                    })
                })
            });
        }
        if let (Some((name, _)), false) = (changing_fragment, missing.is_empty()) {
            let fragment = name.clone();
            return Err(ConfigError::TakesOut { fragment, missing: missing.join(" ") }.into());
        }
        if !missing.is_empty() {
            return Err(ConfigError::Lacks { missing: missing.join(" ") }.into());
        }
        let mut without_effect = Vec::new();
        for (name, text) in &self.fragments[self.sudbox_fragment_count..] {
            for (symbol, value) in text.lines().filter_map(parse_setting) {
                let actual_value = final_value(symbol);
                if actual_value != value {
                    without_effect.push(format!(
                        "{symbol}={value} of {name} has no effect: the kernel's Kconfig makes it {actual_value}"
                    ));
                }
            }
        }
        Ok(without_effect)
    }
}

/// Parses a line `CONFIG_X=value` or `# CONFIG_X is not set` into symbol and value, `n` for the
/// second form.
fn parse_setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(name_and_suffix) = line.strip_prefix("# CONFIG_") {
        let name = name_and_suffix.strip_suffix(" is not set")?;
        return Some((&line[2..9 + name.len()], "n"));
    }
    let (symbol, value) = line.split_once('=')?;
    symbol.starts_with("CONFIG_").then_some((symbol, value))
}

/// Checks that every line of a fragment is a setting, a comment or empty.
fn check_fragment(file: &Path, text: &str) -> Result<(), Error> {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') && parse_setting(line).is_none() {
            let (file, line) = (file.to_owned(), line.to_owned());
            return Err(ConfigError::NotASetting { file, number, line }.into());
        }
    }
    Ok(())
}

/// A line of `required.list`: `CONFIG_X=y [arch=A] [flavour=F] [since=V] [before=V]`.
#[derive(Debug, PartialEq, Eq)]
struct RequiredSymbol<'a> {
    symbol: &'a str,
    value: &'a str,
    arch: Option<&'a str>,
    flavour: Option<&'a str>,
    since: Option<Series>,
    before: Option<Series>,
}

impl RequiredSymbol<'_> {
    /// Whether the symbol is required in this configuration of a kernel of this series.
    fn applies_to(&self, arch: Arch, flavour: &str, series: Series) -> bool {
        self.arch.is_none_or(|required| required == arch.name())
            && self.flavour.is_none_or(|required| required == flavour)
            && self.since.is_none_or(|since| series >= since)
            && self.before.is_none_or(|before| series < before)
    }
}

/// Parses `required.list`.
fn parse_required(text: &str) -> Result<Vec<RequiredSymbol<'_>>, Error> {
    let mut requirements = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(setting) = words.next() else { continue };
        let invalid_line = || ConfigError::BrokenList { line: line.to_owned() };
        let (symbol, value) = parse_setting(setting).ok_or_else(invalid_line)?;
        let mut requirement =
            RequiredSymbol { symbol, value, arch: None, flavour: None, since: None, before: None };
        for word in words {
            match word.split_once('=').ok_or_else(invalid_line)? {
                ("arch", arch) => requirement.arch = Some(arch),
                ("flavour", flavour) => requirement.flavour = Some(flavour),
                ("since", version) => {
                    requirement.since = Some(version.parse().map_err(|_| invalid_line())?)
                }
                ("before", version) => {
                    requirement.before = Some(version.parse().map_err(|_| invalid_line())?)
                }
                _ => return Err(invalid_line().into()),
            }
        }
        requirements.push(requirement);
    }
    Ok(requirements)
}

#[cfg(test)]
pub(crate) mod tests;
