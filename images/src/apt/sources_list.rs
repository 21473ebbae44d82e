// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the private apt root reads: the mirror and the keys of the system's own sources, with the
//! suites of newer releases. The system's files are only read.

use std::fs;
use std::path::Path;

/// Debian's releases, oldest first, and whether they have backports and security suites. Not the
/// names that move on (stable, testing): a mirror's caches hold stale lists under them.
const DEBIAN: [(&str, bool); 5] = [
    ("bookworm", true),
    ("trixie", true),
    ("forky", false),
    ("sid", false),
    ("experimental", false),
];

/// An entry of the system's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suite: String,
    signed_by: Option<String>,
}

/// The text of the private root's sources.list, from what is below `/etc`.
pub(super) fn private_list_from(etc: &Path) -> Option<String> {
    let release = fs::read_to_string(etc.join("os-release")).ok()?;
    let field = |name: &str| {
        let line = release.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let codename = field("VERSION_CODENAME")?;
    let mut files = vec![etc.join("apt/sources.list")];
    let parts = fs::read_dir(etc.join("apt/sources.list.d")).into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    let mut entries = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if file.extension().is_some_and(|extension| extension == "sources") {
            entries.extend(deb822(&text));
        } else {
            entries.extend(text.lines().filter_map(one_line));
        }
    }
    private_list(&entries, &codename, field("ID").as_deref() == Some("debian"))
}

/// Of such a list the suites of releases that are out, and binary packages only.
pub(super) fn released_binaries(list: &str) -> String {
    let released = |line: &&str| {
        let mut out = DEBIAN.iter().filter(|(_, released)| *released);
        line.starts_with("deb ") && out.any(|(name, _)| line.contains(&format!(" {name}")))
    };
    list.lines().filter(released).flat_map(|line| [line, "\n"]).collect()
}

fn private_list(entries: &[Entry], codename: &str, debian: bool) -> Option<String> {
    let of = |suite: &str| entries.iter().find(|entry| entry.suite == suite);
    let main = of(codename)?;
    let security = of(&format!("{codename}-security"));
    let mut text = String::new();
    let mut add = |entry: &Entry, suite: &str| {
        let key =
            entry.signed_by.as_ref().map_or(String::new(), |key| format!("[signed-by={key}] "));
        for kind in ["deb", "deb-src"] {
            text.push_str(&format!("{kind} {key}{} {suite} main\n", entry.uri));
        }
    };
    add(main, codename);
    add(main, &format!("{codename}-updates"));
    let newer = DEBIAN.iter().skip_while(|(name, _)| *name != codename).skip(1);
    let own = [(codename, true)];
    for (name, released) in own.iter().chain(newer.filter(|_| debian)) {
        if *name != codename {
            add(main, name);
        }
        if *released {
            add(main, &format!("{name}-backports"));
            security.inspect(|security| add(security, &format!("{name}-security")));
        }
    }
    Some(text)
}

/// Entries of a `.sources` file (sources.list(5), "DEB822-STYLE FORMAT").
fn deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let text: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
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
        // A key that is written into the file itself has no path that could be named.
        let signed_by = field("Signed-By").filter(|path| path.starts_with('/')).map(str::to_owned);
        for uri in words("URIs") {
            for suite in words("Suites") {
                let (uri, suite) = (uri.to_owned(), suite.to_owned());
                entries.push(Entry { uri, suite, signed_by: signed_by.clone() });
            }
        }
    }
    entries
}

/// An entry of a one-line-style file.
fn one_line(line: &str) -> Option<Entry> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?.to_owned(), words.next()?.to_owned());
    let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
    Some(Entry { uri, suite, signed_by: signed_by.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_root_takes_mirror_and_key_from_the_system() {
        let etc = tempfile::tempdir().unwrap();
        let parts = etc.path().join("apt/sources.list.d");
        fs::create_dir_all(&parts).unwrap();
        fs::write(etc.path().join("os-release"), "ID=debian\nVERSION_CODENAME=bookworm\n").unwrap();
        assert_eq!(private_list_from(etc.path()), None, "no mirror is known");
        let text = "Types: deb\n# a comment\nURIs: http://m.example/debian\n\
                    Suites: bookworm bookworm-updates\nSigned-By: /keys/d.gpg\n\n\
                    Types: deb\nURIs: http://m.example/security\nSuites: bookworm-security\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\n";
        fs::write(parts.join("debian.sources"), text).unwrap();
        let list = private_list_from(etc.path()).unwrap();
        for line in [
            "deb [signed-by=/keys/d.gpg] http://m.example/debian bookworm main",
            "deb-src [signed-by=/keys/d.gpg] http://m.example/debian sid main",
            "deb [signed-by=/keys/d.gpg] http://m.example/debian trixie-backports main",
            "deb http://m.example/security bookworm-security main",
            "deb-src http://m.example/security trixie-security main",
        ] {
            assert!(list.lines().any(|l| l == line), "{line} in\n{list}");
        }
        assert!(!list.contains("off.example"));
        let released = released_binaries(&list);
        assert!(released.contains(" trixie-security main\n"));
        assert!(!released.contains("deb-src") && !released.contains(" sid "));
    }

    #[test]
    fn one_line_style_is_read_too() {
        let entry =
            one_line("deb [arch=amd64 signed-by=/k.gpg] http://m.example/d bookworm main").unwrap();
        assert_eq!((entry.uri.as_str(), entry.suite.as_str()), ("http://m.example/d", "bookworm"));
        assert_eq!(entry.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(one_line("# deb http://m.example/d bookworm main"), None);
        assert_eq!(one_line("deb-src http://m.example/d bookworm main"), None);
    }
}
