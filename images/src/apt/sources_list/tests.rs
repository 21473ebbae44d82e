// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// Creates a directory with these files, in place of `/`.
fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

const DEBIAN_RELEASE: (&str, &str) = ("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");

const DEBIAN_SOURCES: (&str, &str) = (
    "etc/apt/sources.list.d/debian.sources",
    "Types: deb\n# a comment\nURIs: http://m.example/debian\n\
     Suites: bookworm bookworm-updates\nSigned-By: /keys/d.gpg\n\n\
     Types: deb\nURIs: http://m.example/security\nSuites: bookworm-security\n\n\
     Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\n",
);

#[test]
fn the_private_list_has_mirror_and_key_of_the_system() {
    let without_sources = root_with(&[DEBIAN_RELEASE]);
    assert_eq!(private_list(without_sources.path(), ListContents::All), None);
    let root = root_with(&[DEBIAN_RELEASE, DEBIAN_SOURCES]);
    let list = private_list(root.path(), ListContents::All).unwrap();
    for line in [
        "deb [signed-by=/keys/d.gpg] http://m.example/debian bookworm main",
        "deb-src [signed-by=/keys/d.gpg] http://m.example/debian sid main",
        "deb [signed-by=/keys/d.gpg] http://m.example/debian trixie-backports main",
        "deb http://m.example/security bookworm-security main",
        "deb-src http://m.example/security trixie-security main",
    ] {
        assert!(list.lines().any(|listed| listed == line), "{line} in\n{list}");
    }
    assert!(!list.contains("off.example"));
    let released = private_list(root.path(), ListContents::ReleasedBinaries).unwrap();
    assert!(released.contains(" trixie-security main\n"));
    assert!(!released.contains("deb-src") && !released.contains(" sid "));
}

#[test]
fn newer_releases_are_those_of_distro_info_data_if_installed() {
    let table = "version,codename,series,created,release,eol\n\
                 12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11\n\
                 13,Trixie,trixie,2023-06-10,2025-08-09,2028-08-09\n\
                 14,Forky,forky,2025-08-09,2027-08-14\n15,Duke,duke,2027-08-14\n\
                 16,Later,later,2029-08-01\n,Sid,sid,1993-08-16\n\
                 ,Experimental,experimental,1993-08-16\n";
    let info = ("usr/share/distro-info/debian.csv", table);
    let root = root_with(&[DEBIAN_RELEASE, DEBIAN_SOURCES, info]);
    let list = private_list(root.path(), ListContents::All).unwrap();
    assert!(list.contains(" forky-backports main\n") && list.contains(" duke main\n"));
    assert!(!list.contains(" duke-") && !list.contains(" later "), "{list}");
    assert!(list.contains(" sid main\n"));
}

#[test]
fn ubuntus_suites_count_as_released() {
    let root = root_with(&[
        ("etc/os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n"),
        (
            "etc/apt/sources.list",
            "deb http://u.example/ubuntu noble main\n\
             deb http://s.example/ubuntu noble-security main\n",
        ),
    ]);
    let list = private_list(root.path(), ListContents::ReleasedBinaries).unwrap();
    for line in [
        "deb http://u.example/ubuntu noble main",
        "deb http://u.example/ubuntu noble-updates main",
        "deb http://s.example/ubuntu noble-security main",
    ] {
        assert!(list.lines().any(|listed| listed == line), "{line} in\n{list}");
    }
    assert!(!list.contains("deb-src"));
}

#[test]
fn lines_of_the_one_line_style_are_parsed() {
    let entry =
        parse_one_line("deb [arch=amd64 signed-by=/k.gpg] http://m.example/d bookworm main")
            .unwrap();
    assert_eq!((entry.uri.as_str(), entry.suite.as_str()), ("http://m.example/d", "bookworm"));
    assert_eq!(entry.signed_by.as_deref(), Some("/k.gpg"));
    assert_eq!(parse_one_line("# deb http://m.example/d bookworm main"), None);
    assert_eq!(parse_one_line("deb-src http://m.example/d bookworm main"), None);
}
