// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes the sources.list of a private apt root: the system's mirror and keys, with the suites of
//! newer releases. Only reads the system's files.

use std::fs;
use std::path::Path;

/// Debian's releases from the oldest one that sudbox supports to testing, for machines without
/// distro-info-data.
const DEBIAN_RELEASES: [&str; 3] = ["bookworm", "trixie", "forky"];

/// Debian's suites that are never released. Other suites are named by their codenames, because a
/// mirror may have stale lists under the names `stable` and `testing`.
const UNRELEASED_SUITES: [&str; 2] = ["sid", "experimental"];

/// The suites and kinds of packages in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListContents {
    /// Binary and source packages of all suites.
    All,
    /// Binary packages of released suites.
    ReleasedBinaries,
}

/// A source of packages in the system's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceEntry {
    uri: String,
    suite: String,
    signed_by: Option<String>,
}

/// The text of a private root's sources.list, made from the configuration below `root`, which is
/// `/` except in tests. `None` if the configuration has no source for the system's own release.
pub(super) fn private_list(root: &Path, contents: ListContents) -> Option<String> {
    let etc = root.join("etc");
    let release = fs::read_to_string(etc.join("os-release")).ok()?;
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let codename = field("VERSION_CODENAME")?;
    let newer_releases = match field("ID").as_deref() {
        Some("debian") => newer_debian(root, &codename),
        _ => NewerReleases::default(),
    };
    format_list(&read_configuration(&etc), &codename, &newer_releases, contents)
}

/// The releases of the distribution that are newer than the system's.
#[derive(Debug, Default)]
struct NewerReleases {
    released: Vec<String>,
    unreleased: Vec<String>,
}

/// Debian's newer releases, from the table of distro-info-data if it is installed.
fn newer_debian(root: &Path, codename: &str) -> NewerReleases {
    let table = fs::read_to_string(root.join("usr/share/distro-info/debian.csv"));
    // Columns: version, codename, series, created, release. sid and experimental have no version.
    let rows = table.iter().flat_map(|text| text.lines().skip(1)).filter_map(|line| {
        let mut columns = line.split(',');
        let (version, series) = (columns.next()?, columns.nth(1)?);
        let is_released = columns.nth(1).is_some_and(|date| !date.is_empty());
        (!version.is_empty()).then(|| (series.to_owned(), is_released))
    });
    let mut releases: Vec<(String, bool)> = rows.collect();
    if !releases.iter().any(|(series, _)| series == codename) {
        let last = DEBIAN_RELEASES.len() - 1;
        releases = DEBIAN_RELEASES
            .iter()
            .enumerate()
            .map(|(index, series)| ((*series).to_owned(), index != last))
            .collect();
    }
    let newer_rows = releases.into_iter().skip_while(|(series, _)| series != codename).skip(1);
    let mut newer = NewerReleases::default();
    for (series, is_released) in newer_rows {
        match is_released {
            true => newer.released.push(series),
            false => newer.unreleased.push(series),
        }
    }
    // Of the unreleased series, only the first, testing, has packages.
    newer.unreleased.truncate(1);
    newer.unreleased.extend(UNRELEASED_SUITES.map(str::to_owned));
    newer
}

/// The sources of the system's configuration.
fn read_configuration(etc: &Path) -> Vec<SourceEntry> {
    let mut files = vec![etc.join("apt/sources.list")];
    let parts = fs::read_dir(etc.join("apt/sources.list.d")).into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    let mut entries = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if file.extension().is_some_and(|extension| extension == "sources") {
            entries.extend(parse_deb822(&text));
        } else {
            entries.extend(text.lines().filter_map(parse_one_line));
        }
    }
    entries
}

/// The text of a list: `codename` and newer suites, with mirrors and keys from `entries`.
fn format_list(
    entries: &[SourceEntry],
    codename: &str,
    newer: &NewerReleases,
    contents: ListContents,
) -> Option<String> {
    let entry_of = |suite: &str| entries.iter().find(|entry| entry.suite == suite);
    let main_entry = entry_of(codename)?;
    let security_entry = entry_of(&format!("{codename}-security"));
    let kinds: &[&str] = match contents {
        ListContents::All => &["deb", "deb-src"],
        ListContents::ReleasedBinaries => &["deb"],
    };
    let mut text = String::new();
    let mut add_lines = |entry: &SourceEntry, suite: &str| {
        let key =
            entry.signed_by.as_ref().map_or(String::new(), |key| format!("[signed-by={key}] "));
        for kind in kinds {
            text.push_str(&format!("{kind} {key}{} {suite} main\n", entry.uri));
        }
    };
    add_lines(main_entry, codename);
    add_lines(main_entry, &format!("{codename}-updates"));
    for release in std::iter::once(codename).chain(newer.released.iter().map(String::as_str)) {
        if release != codename {
            add_lines(main_entry, release);
        }
        add_lines(main_entry, &format!("{release}-backports"));
        if let Some(security_entry) = security_entry {
            add_lines(security_entry, &format!("{release}-security"));
        }
    }
    if contents == ListContents::All {
        newer.unreleased.iter().for_each(|suite| add_lines(main_entry, suite));
    }
    Some(text)
}

/// Parses the entries of a `.sources` file (sources.list(5), "DEB822-STYLE FORMAT").
fn parse_deb822(text: &str) -> Vec<SourceEntry> {
    let mut entries = Vec::new();
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let words = |name: &str| field(name).unwrap_or_default().split_whitespace();
        if field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no")) {
            continue;
        }
        if !words("Types").any(|word| word == "deb") {
            continue;
        }
        // Skip an embedded key, which has no path.
        let signed_by = field("Signed-By").filter(|path| path.starts_with('/')).map(str::to_owned);
        for uri in words("URIs") {
            for suite in words("Suites") {
                let (uri, suite) = (uri.to_owned(), suite.to_owned());
                entries.push(SourceEntry { uri, suite, signed_by: signed_by.clone() });
            }
        }
    }
    entries
}

/// Parses a line of a `.list` file (sources.list(5), "ONE-LINE-STYLE FORMAT").
fn parse_one_line(line: &str) -> Option<SourceEntry> {
    let source = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, location) = match source.strip_prefix('[') {
        Some(options) => options.split_once(']')?,
        None => ("", source),
    };
    let mut words = location.split_whitespace();
    let (uri, suite) = (words.next()?.to_owned(), words.next()?.to_owned());
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(SourceEntry { uri, suite, signed_by: signed_by.map(str::to_owned) })
}

#[cfg(test)]
mod tests;
