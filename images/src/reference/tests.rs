// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

fn parse(text: &str) -> Result<Reference, Error> {
    Reference::parse(text, Arch::X86_64, None)
}

/// The reference of a release, by its version and without patches.
fn release_by_version(text: &str) -> Reference {
    release(WantedRelease::Version(text.parse().unwrap()))
}

/// Parses a text, which must fail. Returns the error's message.
fn parse_error(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input, "{error}");
    let message = error.to_string();
    assert!(message.contains(text) && !message.contains('\n'), "{message}");
    message
}

#[test]
fn versions_are_parsed_as_releases_or_series() {
    assert_eq!(parse("v6.12").unwrap(), release_by_version("v6.12"));
    assert_eq!(parse("v6.12.117").unwrap(), release_by_version("v6.12.117"));
    assert_eq!(parse("6.12.117").unwrap(), release_by_version("v6.12.117"));
    assert_eq!(parse("v7.3-rc7").unwrap(), release_by_version("v7.3-rc7"));
    assert_eq!(parse("6.1").unwrap(), release_by_version("6.1"));
    // The parser does not check whether the release exists.
    assert_eq!(parse("v9.99").unwrap(), release_by_version("v9.99"));
}

#[test]
fn an_empty_text_is_the_default_kernel() {
    let pins = Pins::embedded().unwrap();
    let series = pins.series(arch::facts(Arch::X86_64).default_kernel).unwrap();
    assert_eq!(parse("").unwrap(), release_by_version(&series.to_string()));
}

#[test]
fn a_patched_kernel_is_for_its_architecture_only() {
    let patched_kernel = Reference::parse("6.12-sud", Arch::Aarch64, None).unwrap();
    let Reference::Release { wanted, patches } = &patched_kernel else { panic!("no release") };
    assert_eq!((wanted, patches.len()), (&WantedRelease::Version("6.12".parse().unwrap()), 1));
    for text in ["", "pinned"] {
        assert_eq!(Reference::parse(text, Arch::Aarch64, None).unwrap(), patched_kernel);
    }
    assert!(parse_error("6.12-sud").contains("not for x86_64"));
    let plain = Reference::parse("6.12", Arch::Aarch64, None).unwrap();
    assert_eq!(plain, release_by_version("6.12"));
}

#[test]
fn invalid_references_are_refused_with_the_accepted_forms() {
    assert!(parse_error("banana").contains("a series such as 6.12"));
    assert!(parse_error("./no/such/tree").contains("no such file"));
    assert!(parse_error("running").contains("no image"));
    for text in ["deb:", "deb:6.12 7.3", "deb:../x", "deb:-o", "deb:Linux=1"] {
        assert!(parse_error(text).contains("deb:6.12"));
    }
}

#[test]
fn packages_are_named_by_series_name_or_file() {
    assert_eq!(
        parse("deb:6.18").unwrap(),
        Reference::Prebuilt(WantedPrebuilt::NewestPackage("6.18".parse().unwrap()))
    );
    let name = "linux-image-6.18.15+deb13-cloud-amd64";
    assert_eq!(
        parse(&format!("deb:{name}")).unwrap(),
        Reference::Prebuilt(WantedPrebuilt::Package(name.into()))
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "!<arch>\ndebian-binary").unwrap();
    let path = file.path().canonicalize().unwrap();
    assert_eq!(
        parse(path.to_str().unwrap()).unwrap(),
        Reference::Prebuilt(WantedPrebuilt::PackageFile(path))
    );
}

#[test]
fn with_a_git_tree_any_other_text_is_a_commit() {
    let linux = Some(Path::new("linux"));
    let parse = |text| Reference::parse(text, Arch::X86_64, linux);
    for text in ["HEAD~3", "master", "origin/next", "0123abcd"] {
        assert_eq!(parse(text).unwrap(), release(WantedRelease::Commit(text.into())));
    }
    assert_eq!(parse("v6.13-rc1").unwrap(), release_by_version("v6.13-rc1"));
    assert_eq!(parse("stable").unwrap(), release(WantedRelease::Stable));
    assert!(parse("./no/such").is_err());
}

#[test]
fn trees_are_recognised_and_other_directories_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert!(parse_error(path).contains("not a Linux source tree"));
    fs::write(dir.path().join("Makefile"), "all:\n\techo hello\n").unwrap();
    assert!(parse_error(path).contains("VERSION"));
    let makefile = "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\n";
    fs::write(dir.path().join("Makefile"), makefile).unwrap();
    assert!(parse_error(path).contains("Kconfig"));
    fs::write(dir.path().join("Kconfig"), "").unwrap();
    fs::create_dir(dir.path().join("kernel")).unwrap();
    assert_eq!(parse(path).unwrap(), Reference::Tree(dir.path().canonicalize().unwrap()));
    assert_eq!(tree_release(dir.path()).unwrap(), "6.12.0-rc3");
}

#[test]
fn a_makefile_that_is_a_device_fifo_or_endless_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let makefile = dir.path().join("Makefile");
    std::os::unix::fs::symlink("/dev/zero", &makefile).unwrap();
    assert!(tree_release(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    fs::remove_file(&makefile).unwrap();
    fs::File::create(&makefile).unwrap().set_len(1 << 40).unwrap();
    assert!(tree_release(dir.path()).unwrap_err().to_string().contains("longer than 4 MiB"));
    fs::remove_file(&makefile).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &makefile, kind, mode, 0).unwrap();
    assert!(tree_release(dir.path()).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn a_text_file_is_no_kernel() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hello, I am a text\n").unwrap();
    assert!(parse_error(file.path().to_str().unwrap()).contains("text"));
}
