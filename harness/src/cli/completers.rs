// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Values that the shell's completion offers for arguments that also take other values.

use crate::output::archive;
use crate::selection;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use std::ffi::{OsStr, OsString};
use sudbox_images::{Cache, kernels as images};
use sudbox_protocol::Arch;

/// Completes a kernel: the kernels that are known without the network, and files.
pub(super) fn kernel() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut candidates = candidates_with_prefix(current, known_kernels());
        candidates.extend(PathCompleter::any().complete(current));
        candidates
    })
}

/// Completes a list of kernels that are known without the network.
pub(super) fn kernels() -> ArgValueCompleter {
    list_of(known_kernels)
}

/// Completes a list of globs for cases: `core`, `all`, the groups, the ids.
pub(super) fn cases() -> ArgValueCompleter {
    list_of(|| {
        let ids = selection::all_cases().map(|case| case.id.to_owned());
        let words = ["core", "all"].map(str::to_owned);
        words.into_iter().chain(selection::group_names()).chain(ids).collect()
    })
}

/// Completes an architecture.
pub(super) fn arch() -> ArgValueCandidates {
    one_of(architectures)
}

/// Completes a list of architectures.
pub(super) fn arches() -> ArgValueCompleter {
    list_of(architectures)
}

/// Completes a flavour of the configuration.
pub(super) fn flavour() -> ArgValueCandidates {
    one_of(flavour_names)
}

/// Completes a list of flavours.
pub(super) fn flavours() -> ArgValueCompleter {
    list_of(flavour_names)
}

/// Completes an earlier run, by its number.
pub(super) fn run() -> ArgValueCandidates {
    one_of(|| {
        let Ok(cache) = Cache::open() else { return Vec::new() };
        let runs = archive::archived_runs(&archive::runs_folder(&cache));
        (1..=runs.len()).map(|number| number.to_string()).collect()
    })
}

fn known_kernels() -> Vec<String> {
    let mut known = ["running", "installed", "latest", "stable"].map(str::to_owned).to_vec();
    if let Ok(cache) = Cache::open() {
        known.extend(images::references(&cache, Arch::default()));
    }
    known
}

fn architectures() -> Vec<String> {
    Arch::ALL.iter().map(|arch| arch.name().to_owned()).collect()
}

fn flavour_names() -> Vec<String> {
    ["default", "full", "debug", "coverage", "kvm"].map(str::to_owned).to_vec()
}

/// Offers one of these words.
fn one_of(words: fn() -> Vec<String>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || words().into_iter().map(CompletionCandidate::new).collect())
}

/// Offers these words for the last item of a list that is separated by commas or spaces. Keeps a
/// `!` before the item.
fn list_of(words: fn() -> Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let Some(typed) = current.to_str() else { return Vec::new() };
        let start = typed.rfind([',', ' ']).map_or(0, |separator| separator + 1);
        let start = start + usize::from(typed[start..].starts_with('!'));
        let (before, item) = typed.split_at(start);
        let candidates = candidates_with_prefix(OsStr::new(item), words());
        candidates.into_iter().map(|candidate| candidate.add_prefix(before)).collect()
    })
}

fn candidates_with_prefix(typed: &OsStr, words: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let matching = words.into_iter().filter(|word| word.starts_with(&*typed));
    matching.map(|word| CompletionCandidate::new(OsString::from(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(completer: &ArgValueCompleter, typed: &str) -> Vec<String> {
        let candidates = completer.complete(OsStr::new(typed));
        candidates
            .iter()
            .map(|candidate| candidate.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_last_item_of_a_list_is_completed() {
        assert_eq!(completed(&arches(), "x86_64 ris"), ["x86_64 riscv64"]);
        assert_eq!(completed(&flavours(), "d"), ["default", "debug"]);
        assert_eq!(
            completed(&cases(), "core,!selector/block-d"),
            ["core,!selector/block-dispatches"]
        );
        assert!(completed(&cases(), "zzz").is_empty());
    }

    #[test]
    fn kernels_are_offered_beside_files() {
        assert_eq!(completed(&kernel(), "runn"), ["running"]);
        assert_eq!(completed(&kernel(), "/dev/nul"), ["/dev/null"]);
    }
}
