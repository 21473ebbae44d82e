// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Parses `--cases` and selects the cases to run.

use crate::failure::Failure;
use globset::GlobBuilder;
use std::time::SystemTime;
use sudbox_guest_init::case::Case;
use sudbox_guest_init::cases;
use sudbox_guest_init::{grid, walk};
use sudbox_images::Arch;

// The harness judges the boot case, not the guest.
pub(crate) use sudbox_report::judgement::BOOT_CASE;

/// The promise of [`BOOT_CASE`].
pub(crate) const BOOT_PROMISE: &str = "the kernel boots to its init and the init reaches the host";

/// The kernel function that [`BOOT_CASE`] tests.
pub(crate) const BOOT_KERNEL_FUNCTION: &str = "kernel_init";

/// The word of `--cases` that selects every product of the grid, including the products that are
/// not in the case table.
const ALL_GRID_PRODUCTS: &str = "grid-all";

/// The cases selected for a run.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The selected cases, in the order of the table.
    pub(crate) cases: Vec<&'static Case>,
    /// Whether `boot/reaches-init` is selected. If it is not, a kernel that does not boot cannot be
    /// judged.
    pub(crate) includes_boot: bool,
}

impl Selection {
    /// The selected cases that exist on an architecture.
    ///
    /// # Errors
    /// If none of the cases exists on the architecture. The message has the reason for the first
    /// case.
    pub(crate) fn for_arch(&self, arch: Arch) -> anyhow::Result<Selection> {
        let mut selection = self.clone();
        selection.cases.retain(|case| case.exclusion_reason(arch).is_none());
        if selection.cases.is_empty()
            && let Some((case, reason)) =
                self.cases.iter().find_map(|case| Some((case, case.exclusion_reason(arch)?)))
        {
            let (id, arch) = (case.id, arch.name());
            return Err(Failure::usage(format!("{id} does not exist on {arch}: {reason}")));
        }
        Ok(selection)
    }
}

impl Selection {
    /// Number of cases of an architecture that are not selected. Cases for kernels without dispatch
    /// count only if `lacks_dispatch`.
    pub(crate) fn count_not_selected(&self, arch: Arch, lacks_dispatch: bool) -> usize {
        let is_selected = |case: &Case| self.cases.iter().any(|other| other.id == case.id);
        all_cases()
            .filter(|case| {
                case.exclusion_reason(arch).is_none() && (lacks_dispatch || !case.checks_absence)
            })
            .filter(|case| !is_selected(case))
            .count()
    }
}

/// Every case of the table.
pub(crate) fn all_cases() -> impl Iterator<Item = &'static Case> {
    cases::TABLE.iter().copied().flatten()
}

/// Parses words separated by commas or spaces: globs over ids, group names, `core`, `all`,
/// `grid-all`, and ids of walks and of points and random products of the grid. A word with a leading `!` removes
/// its matches. An empty text selects every case of the table; a text whose words all have a
/// leading `!` removes from every case of the table.
///
/// # Errors
/// If a word is not a glob or matches nothing, or if the text has separators only.
pub(crate) fn parse_selection(text: &str) -> anyhow::Result<Selection> {
    let words: Vec<&str> =
        text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() && text.contains(',') {
        return Err(Failure::usage(format!("`{text}` names no case")));
    }
    let only_removes = words.iter().all(|word| word.starts_with('!'));
    let mut selected = vec![only_removes; all_cases().count()];
    let mut includes_boot = false;
    let mut outside_table = Vec::new();
    for word in words {
        let (word, selects) = match word.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (word, true),
        };
        let mut has_match = false;
        let mut named: Vec<&'static Case> = Vec::new();
        if word == ALL_GRID_PRODUCTS {
            named.extend(grid::LARGER_PRODUCTS);
        } else if let Some(case) = grid::by_id(word).or_else(|| walk::by_id(word)) {
            named.push(case);
            has_match = true;
        }
        if selects {
            outside_table.extend(named);
        } else {
            outside_table.retain(|case: &&Case| named.iter().all(|other| other.id != case.id));
        }
        let matches = case_matcher(word)?;
        for (case, is_selected) in all_cases().zip(&mut selected) {
            if matches(case.id)
                || (word == "core" && case.is_in_core)
                || word == "all"
                || (word == ALL_GRID_PRODUCTS && case.id.starts_with("grid/"))
            {
                *is_selected = selects;
                has_match = true;
            }
        }
        if matches(BOOT_CASE) || word == "all" {
            includes_boot = selects;
            has_match = true;
        }
        if !has_match {
            return Err(Failure::usage(unknown_word_message(word)));
        }
    }
    let mut cases: Vec<_> = all_cases()
        .zip(selected)
        .filter(|(_, is_selected)| *is_selected)
        .map(|(case, _)| case)
        .collect();
    cases.extend(outside_table);
    if cases.is_empty() && !includes_boot {
        return Err(Failure::usage(format!("`{text}` selects no case")));
    }
    Ok(Selection { cases, includes_boot })
}

/// The message for a word that matches nothing. Names the most similar group or case, if any is
/// similar.
fn unknown_word_message(word: &str) -> String {
    let groups = group_names();
    let names = groups.iter().map(String::as_str).chain(all_cases().map(|case| case.id));
    let (group, case_name) = word.split_once('/').unwrap_or((word, ""));
    let nearest = names
        .map(|name| (edit_distance(if name.contains('/') { word } else { group }, name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= name.len() / 3);
    if let Some((0, name)) = nearest {
        return format!(
            "the group `{name}` has no case `{case_name}`: `sudbox run --list` lists them"
        );
    }
    let hint = match nearest {
        Some((_, name)) if !name.contains('/') && !case_name.is_empty() => {
            format!("; did you mean `{name}/{case_name}`?")
        }
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None => String::new(),
    };
    format!(
        "no case is called `{word}`{hint} `sudbox run --list` lists them; globs, group names, \
         `core` and `all` are understood",
        hint = if hint.is_empty() { ":".to_owned() } else { hint }
    )
}

/// The names of the groups of cases, in the order of the table.
pub(crate) fn group_names() -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for case in all_cases() {
        let group = case.group();
        if groups.last().is_none_or(|last| last != group)
            && !groups.iter().any(|other| other == group)
        {
            groups.push(group.to_owned());
        }
    }
    groups
}

/// The Levenshtein distance: the minimum number of letters to insert, delete or replace.
fn edit_distance(first: &str, second: &str) -> usize {
    let second: Vec<char> = second.chars().collect();
    // After round `i`, `distances[j]` is the distance between the first `i` letters of `first` and
    // the first `j` letters of `second`.
    let mut distances: Vec<usize> = (0..=second.len()).collect();
    for (i, first_letter) in first.chars().enumerate() {
        let mut diagonal = distances[0];
        distances[0] = i + 1;
        for (j, second_letter) in second.iter().enumerate() {
            let replaced = diagonal + usize::from(first_letter != *second_letter);
            diagonal = distances[j + 1];
            distances[j + 1] = replaced.min(distances[j] + 1).min(distances[j + 1] + 1);
        }
    }
    distances[second.len()]
}

/// Adds `count` walks with consecutive seeds from `seed` on. If `words`, the text of `--cases`, is
/// empty, the selection gets only the walks.
pub(crate) fn add_walks(selection: &mut Selection, words: &str, count: u32, seed: u64) {
    if words.trim().is_empty() {
        selection.cases.clear();
    }
    let seeds = (0..count).map(|index| seed.wrapping_add(index.into()));
    selection.cases.extend(seeds.map(walk::case));
}

/// The walks with these ids.
pub(crate) fn walks(ids: &[String]) -> Selection {
    let cases = ids.iter().filter_map(|id| walk::by_id(id)).collect();
    Selection { cases, includes_boot: false }
}

/// A seed from the clock, of at most nine digits.
pub(crate) fn seed_by_clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000 * 1000 + u64::from(now.subsec_millis())
}

/// Returns a function that tells whether the case with an id matches the glob `word` or belongs to
/// the group `word`.
pub(crate) fn case_matcher(word: &str) -> anyhow::Result<impl Fn(&str) -> bool> {
    let glob = GlobBuilder::new(word)
        .build()
        .map_err(|error| Failure::usage(format!("`{word}` is not a glob: {}", error.kind())))?
        .compile_matcher();
    let group = format!("{word}/");
    Ok(move |id: &str| glob.is_match(id) || id.starts_with(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_selects_every_case_but_boot() {
        let selection = parse_selection("").unwrap();
        assert_eq!(selection.cases.len(), all_cases().count());
        assert!(!selection.includes_boot);
    }

    #[test]
    fn a_group_name_selects_the_group() {
        let selection = parse_selection("selector").unwrap();
        assert!(!selection.cases.is_empty());
        assert!(selection.cases.iter().all(|case| case.id.starts_with("selector/")));
    }

    #[test]
    fn globs_and_ids_are_combined_without_repeats() {
        let first = all_cases().next().unwrap();
        let both = parse_selection(&format!("{},{}", first.id, first.id)).unwrap();
        assert_eq!(both.cases.len(), 1);
        let wide = parse_selection("s*").unwrap();
        assert!(wide.cases.iter().all(|case| case.id.starts_with('s')));
    }

    #[test]
    fn booting_is_selected_by_name_by_group_and_by_all() {
        for words in ["boot/reaches-init", "boot", "boot/*", "all"] {
            assert!(parse_selection(words).unwrap().includes_boot, "{words}");
        }
        assert!(parse_selection("boot").unwrap().cases.is_empty());
    }

    #[test]
    fn cases_that_are_not_selected_are_counted() {
        let arch = Arch::X86_64;
        let all = parse_selection("").unwrap().for_arch(arch).unwrap();
        assert_eq!(all.count_not_selected(arch, false), 0);
        let one = parse_selection("entries/int80").unwrap();
        let absence = all.cases.iter().filter(|case| case.checks_absence).count();
        assert_eq!(one.count_not_selected(arch, false), all.cases.len() - 1 - absence);
        assert_eq!(one.count_not_selected(arch, true), all.cases.len() - 1);
    }

    #[test]
    fn products_and_points_of_the_grid_that_are_in_no_table_are_selected_by_id() {
        let ids = |words| -> Vec<_> {
            parse_selection(words).unwrap().cases.iter().map(|case| case.id.to_owned()).collect()
        };
        assert_eq!(ids("grid/at-01 grid/random-7"), ["grid/at-01", "grid/random-7"]);
        assert!(ids(ALL_GRID_PRODUCTS).len() > ids("grid").len());
        assert!(ids(ALL_GRID_PRODUCTS).contains(&"grid/triples".to_owned()));
        assert!(!ids("all").contains(&"grid/triples".to_owned()));
        assert!(parse_selection("grid/at-0102030405ff").is_err());
    }

    #[test]
    fn walks_are_selected_alone_or_after_the_typed_cases() {
        let walks = |words| {
            let mut selection = parse_selection(words).unwrap();
            add_walks(&mut selection, words, 2, u64::MAX);
            selection.cases.iter().map(|case| case.id).collect::<Vec<_>>()
        };
        assert_eq!(walks(""), ["walk/18446744073709551615", "walk/0"]);
        assert_eq!(
            walks(" arguments ").len(),
            parse_selection("arguments").unwrap().cases.len() + 2
        );
    }

    #[test]
    fn cases_that_an_architecture_lacks_are_left_out_and_refused_alone() {
        let all = parse_selection("").unwrap();
        let has = |arch, id| all.for_arch(arch).unwrap().cases.iter().any(|case| case.id == id);
        for arch in Arch::ALL {
            let count = all.for_arch(arch).unwrap().cases.len();
            assert!(count < all.cases.len() && count > 100, "{}", arch.name());
            assert_eq!(has(arch, "entries/int80"), arch == Arch::X86_64);
            assert_eq!(has(arch, "entries/arm32"), arch == Arch::Aarch64);
        }
        let error = parse_selection("entries/int80").unwrap().for_arch(Arch::Riscv64).unwrap_err();
        assert!(error.to_string().contains("one system call entry"), "{error}");
    }

    #[test]
    fn a_word_that_selects_nothing_is_refused() {
        let error = parse_selection("core selektor").unwrap_err();
        assert!(error.to_string().contains("`selektor`"), "{error}");
        assert_eq!(crate::failure::error_code(&error), crate::failure::Code::Usage);
        assert!(parse_selection("[").is_err());
        assert!(parse_selection(",").is_err());
    }

    #[test]
    fn a_misspelt_word_gets_the_nearest_name() {
        let message = |words| parse_selection(words).unwrap_err().to_string();
        assert!(
            message("selctor/*").contains("did you mean `selector/*`?"),
            "{}",
            message("selctor/*")
        );
        assert!(message("selecter").contains("did you mean `selector`?"));
        assert!(!message("zzzzzzzz").contains("did you mean"));
    }

    #[test]
    fn a_leading_exclamation_mark_removes_the_matches() {
        let ids = |words| -> Vec<&str> {
            parse_selection(words).unwrap().cases.iter().map(|case| case.id).collect()
        };
        let (all, without) = (ids(""), ids("!selector"));
        assert_eq!(without.len() + ids("selector").len(), all.len());
        assert!(ids("selector !selector/f*").iter().all(|id| !id.starts_with("selector/f")));
        assert!(parse_selection("selector !selector").is_err());
    }
}
