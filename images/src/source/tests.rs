// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::fs;
use std::io::Write as _;
use std::process::Command;

use super::*;
use crate::arch::Arch;
use crate::error::Fault;
use crate::monitor::Silent;
use crate::monitor::tests::Recording;
use crate::net::Net;
use crate::testing::{Fixture, snapshot};
use crate::types::{KernelImage, Request};
use crate::version::Version;

/// A local source with one release, which it cannot read.
pub(super) struct UnreadableDisk;

/// A release of [`UnreadableDisk`].
#[derive(serde::Serialize, serde::Deserialize)]
enum DiskLocator {
    Disk { sha256: String },
}

impl Source for UnreadableDisk {
    fn name(&self) -> &'static str {
        "an unreadable disk"
    }

    fn locator_keys(&self) -> &'static [&'static str] {
        &["Disk"]
    }

    fn is_local(&self) -> bool {
        true
    }

    fn list(&self, _: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<ReleaseList>, Error> {
        // No other test asks for this series.
        if query.series != (Series { major: 6, minor: 98 }) {
            return Ok(None);
        }
        let locator = DiskLocator::Disk { sha256: String::new() };
        let candidates = vec![Candidate::new("6.98.1".into(), &locator)];
        Ok(Some(ReleaseList { candidates, series: Vec::new() }))
    }

    fn complete(&self, _: &mut Ctx<'_>, candidate: &Candidate) -> Result<Candidate, Error> {
        let locator = DiskLocator::Disk { sha256: "00112233445566778899aabbccddeeff".into() };
        Ok(Candidate::new(candidate.version.clone(), &locator))
    }

    fn fetch(&self, _: &mut Ctx<'_>, _: &Candidate, _: Part, _: &Path) -> Result<PathBuf, Error> {
        let (what, output) = ("linux 6.98.1".into(), "unreadable".into());
        Err(SourceError::Download { what, output, advice: "take another disk" }.into())
    }

    fn label(&self, candidate: &Candidate) -> Result<String, Error> {
        self.content_id(candidate)
    }

    fn content_id(&self, candidate: &Candidate) -> Result<String, Error> {
        let DiskLocator::Disk { sha256 } = candidate.locator()?;
        Ok(content_id_of(candidate, &sha256))
    }

    fn location(&self, candidate: &Candidate) -> Result<String, Error> {
        Ok(candidate.version.clone())
    }
}

fn candidates(versions: &[&str]) -> Vec<Candidate> {
    let locator =
        |version: &str| serde_json::json!({ "Upstream": { "path": version, "sha256": "0" } });
    let candidate = |version: &&str| Candidate::new((*version).into(), &locator(version));
    versions.iter().map(candidate).collect()
}

fn version(candidate: Option<&Candidate>) -> Option<&str> {
    candidate.map(|candidate| candidate.version.as_str())
}

#[test]
fn the_newest_of_a_series_is_a_release_candidate_only_without_a_final_release() {
    let list =
        candidates(&["6.12", "6.12.117", "6.12.9", "6.13", "7.3-rc7", "7.3-rc2", "8.0-rc1", "8.0"]);
    let newest = |series: &str| version(search::newest(series.parse().unwrap(), &list));
    assert_eq!(newest("6.12"), Some("6.12.117"));
    assert_eq!(newest("7.3"), Some("7.3-rc7"));
    assert_eq!(newest("8.0"), Some("8.0"));
    assert_eq!(newest("6.1"), None);
}

#[test]
fn an_exact_version_is_found_or_the_nearest_of_its_series() {
    let list = candidates(&["6.12.8", "6.12.38", "6.12.43", "6.13"]);
    let exact = |text: &str| {
        version(search::matching_candidate(Version::Exact(text.parse().unwrap()), &list))
    };
    assert_eq!(exact("6.12.38"), Some("6.12.38"));
    assert_eq!(exact("6.12"), None);
    let nearest = |text: &str| version(search::nearest(text.parse().unwrap(), &list));
    assert_eq!(nearest("6.12"), Some("6.12.8"));
    assert_eq!(nearest("6.12.41"), Some("6.12.43"));
    assert_eq!(nearest("6.14.1"), None);
}

/// Adds the fixture's tree as a release to an upstream archive in a local directory. Returns the
/// path of the tarball.
fn add_to_archive(f: &mut Fixture, version: &str) -> PathBuf {
    let folder = f.dir.path().join("archive/v6.x");
    fs::create_dir_all(&folder).unwrap();
    let tarball = folder.join(format!("linux-{version}.tar.xz"));
    let mut tar = Command::new("tar");
    tar.arg("-cJf").arg(&tarball).arg("-C").arg(f.dir.path()).arg("linux-6.12.3");
    assert!(tar.status().unwrap().success());
    let sum = Command::new("sha256sum").arg(&tarball).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let line = format!("{}  linux-{version}.tar.xz\n", sum.split(' ').next().unwrap());
    let sums = folder.join("sha256sums.asc");
    let others = fs::read_to_string(&sums).unwrap_or_else(|_| "Hash: SHA256\n\n".into());
    fs::write(sums, others + &line).unwrap();
    f.net = Net::new(&format!("file://{}/archive", f.dir.path().display()), false);
    tarball
}

/// Builds the kernel of a reference. Returns the image and the reports.
fn build(f: &Fixture, reference: &str) -> Result<(KernelImage, Recording), Error> {
    let request = Request { reference: reference.into(), ..Request::default() };
    let mut monitor = Recording::default();
    f.build(&request, &mut monitor).map(|image| (image, monitor))
}

#[test]
fn an_upstream_release_is_verified_built_and_then_needs_no_network() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.12.3");
    let (image, monitor) = build(&f, "v6.12.3").unwrap();
    assert!(image.is_newly_built && image.substitution_note.is_none());
    assert!(image.source.starts_with("upstream linux-6.12.3.tar.xz, sha256 "), "{}", image.source);
    assert!(
        monitor.messages.iter().any(|message| message.starts_with("unpacking")),
        "{:?}",
        monitor.messages
    );
    fs::remove_dir_all(f.dir.path().join("archive")).unwrap();
    let (image, monitor) = build(&f, "v6.12.3").unwrap();
    assert!(!image.is_newly_built);
    assert_eq!(monitor.messages, Vec::<String>::new(), "no source is searched");
    f.assert_no_unfinished_files();
}

#[test]
fn the_newest_release_of_a_series_is_recorded() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.12.2");
    add_to_archive(&mut f, "6.12.3");
    let (image, _) = build(&f, "6.12").unwrap();
    assert!(image.source.contains("linux-6.12.3.tar.xz"));
    fs::remove_dir_all(f.dir.path().join("archive")).unwrap();
    assert!(!build(&f, "6.12").unwrap().0.is_newly_built);
}

#[test]
fn another_release_than_requested_is_noted_first_and_refused_by_an_exact_request() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.12.3");
    let exact = Request { reference: "v6.12.9".into(), exact: true, ..Request::default() };
    let error = f.build(&exact, &mut Silent).unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("--exact"), "{error}");
    let (image, monitor) = build(&f, "v6.12.9").unwrap();
    assert!(image.is_newly_built && image.substitution_note.is_some());
    let index_of =
        |text: &str| monitor.messages.iter().position(|message| message.contains(text)).unwrap();
    assert!(index_of("stands in for it") < index_of("unpacking"), "{:?}", monitor.messages);
    let (_, monitor) = build(&f, "v6.12.9").unwrap();
    assert!(monitor.messages[0].contains("stands in for it"), "the same with a cached image");
    assert!(f.build(&exact, &mut Silent).is_err(), "the same with a cached image");
    let request = Request { reference: "v6.12.3".into(), exact: true, ..Request::default() };
    f.build(&request, &mut Silent).unwrap();
}

#[test]
fn a_tarball_with_a_wrong_checksum_is_refused() {
    let mut f = Fixture::new();
    let tarball = add_to_archive(&mut f, "6.12.3");
    let mut bytes = fs::read(&tarball).unwrap();
    bytes.push(0);
    fs::write(tarball, bytes).unwrap();
    let error = build(&f, "v6.12.3").unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("sha256"), "{error}");
    f.assert_no_unfinished_files();
}

/// A new key of OpenPGP.
struct Key {
    home: tempfile::TempDir,
}

impl Key {
    /// Makes a key; `None` if this machine lacks gpg or gpgv.
    fn new() -> Option<Key> {
        for program in ["gpg", "gpgv"] {
            if crate::toolchain::find_program(program).is_none() {
                writeln!(std::io::stderr(), "NOT RUN: signatures: {program} is not installed")
                    .unwrap();
                return None;
            }
        }
        let key = Key { home: tempfile::tempdir().unwrap() };
        let options = ["--quick-gen-key", "Test <test@example.org>", "ed25519", "sign", "never"];
        key.gpg(&[&["--passphrase", ""], &options[..]].concat());
        Some(key)
    }

    /// Runs gpg and returns its stdout.
    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--quiet", "--homedir"]).arg(self.home.path());
        let output = gpg.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Signs the decompressed tarball, as upstream does.
    fn sign(&self, tarball: &Path) {
        let archive = self.home.path().join("archive.tar");
        let xz = Command::new("xz").arg("-dc").arg(tarball).output().unwrap();
        assert!(xz.status.success());
        fs::write(&archive, xz.stdout).unwrap();
        let signature = self.gpg(&["--armor", "--output", "-", "--detach-sign", text(&archive)]);
        fs::write(tarball.with_extension("sign"), signature).unwrap();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let mut gpgconf = Command::new("gpgconf");
        let _ = gpgconf.arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An archive with a signed release, and the key with which it is checked.
fn signed_archive(version: &str) -> Option<(Fixture, PathBuf, Key)> {
    let key = Key::new()?;
    let mut f = Fixture::new();
    let tarball = add_to_archive(&mut f, version);
    key.sign(&tarball);
    f.net.keyring = Some(key.gpg(&["--export"]).into());
    Some((f, tarball, key))
}

/// Asserts that the signature of release 6.12.`sublevel` is refused for this reason, that no other
/// release is taken, and that nothing is left.
#[track_caller]
fn assert_signature_refused(f: &Fixture, sublevel: u32, reason: &str) {
    let (reference, mut monitor) = (format!("v6.12.{sublevel}"), Recording::default());
    let request = Request { reference, ..Request::default() };
    let error = f.build(&request, &mut monitor).unwrap_err();
    assert!(matches!(error, Error::Source(SourceError::BadSignature { .. })), "{error}");
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains(reason), "{error}");
    assert!(!monitor.messages.iter().any(|message| message.contains("looking further")));
    f.assert_no_unfinished_files();
    for folder in ["images", "sources"] {
        assert_eq!(fs::read_dir(f.cache.root().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn a_release_that_its_maintainer_signed_is_built() {
    let Some((f, ..)) = signed_archive("6.12.3") else { return };
    let (image, monitor) = build(&f, "v6.12.3").unwrap();
    assert!(image.is_newly_built);
    let checked = "checking the signature of linux-6.12.3.tar.xz".to_owned();
    assert!(monitor.messages.contains(&checked), "{:?}", monitor.messages);
    f.assert_no_unfinished_files();
}

/// Whoever can change a tarball can also change the list of checksums.
#[test]
fn a_changed_tarball_whose_checksum_matches_is_refused() {
    let Some((mut f, ..)) = signed_archive("6.12.3") else { return };
    f.write("kernel/fork.c", "int entry(void) { return 666; }\n");
    fs::remove_file(f.dir.path().join("archive/v6.x/sha256sums.asc")).unwrap();
    let keyring = f.net.keyring.take();
    add_to_archive(&mut f, "6.12.3");
    f.net.keyring = keyring;
    assert_signature_refused(&f, 3, "BAD signature");
}

#[test]
fn a_signature_by_another_key_of_another_kind_or_none_is_refused() {
    let Some((f, tarball, key)) = signed_archive("6.12.3") else { return };
    let Some(other_key) = Key::new() else { return };
    other_key.sign(&tarball);
    assert_signature_refused(&f, 3, "No public key");
    // A message of the maintainer's with its text inside says nothing about the tarball.
    let message = f.dir.path().join("message");
    fs::write(&message, "hello").unwrap();
    let signature = tarball.with_extension("sign");
    for kind in ["--sign", "--clear-sign"] {
        fs::write(&signature, key.gpg(&["--output", "-", kind, text(&message)])).unwrap();
        assert_signature_refused(&f, 3, "not a detached signature");
    }
    fs::write(&signature, "").unwrap();
    assert_signature_refused(&f, 3, "");
    fs::remove_file(&signature).unwrap();
    assert_signature_refused(&f, 3, "the archive has none");
}

/// An old release under a new name has a good signature. The tarball holds `linux-6.12.3`.
#[test]
fn a_signed_tarball_of_another_release_is_refused() {
    let Some((f, ..)) = signed_archive("6.12.4") else { return };
    assert_signature_refused(&f, 4, "it is another release's");
}

#[test]
fn releases_of_the_network_are_checked_by_the_keys_of_their_maintainers() {
    let Some(key) = Key::new() else { return };
    assert!(Net::new("file:///archive", false).keyring.is_none());
    let keyring = Net::new("https://mirror.example", false).keyring.unwrap();
    let file = key.home.path().join("upstream.gpg");
    fs::write(&file, keyring).unwrap();
    let listed = key.gpg(&["--with-colons", "--show-keys", text(&file)]);
    let listed = String::from_utf8(listed).unwrap();
    let mut fingerprints = Vec::new();
    let mut lines = listed.lines();
    while lines.by_ref().any(|line| line.starts_with("pub:")) {
        let fields = lines.next().unwrap().split(':');
        fingerprints.extend(fields.filter(|field| field.len() == 40));
    }
    let [greg, linus, sasha] = [
        "647F28654894E3BD457199BE38DBBDC86092693E",
        "ABAF11C65A2970B130ABE3C479BE3E4300411886",
        "E27E5D8A3403A2EF66873BBCDEA66FF797772CDC",
    ];
    assert_eq!(fingerprints, [greg, linus, sasha]);
}

#[test]
fn a_mirror_without_encryption_is_the_inputs_fault() {
    let mut f = Fixture::new();
    for mirror in ["http://127.0.0.1:9", "ftp://127.0.0.1:9", "mirror.example"] {
        f.net = Net::new(mirror, false);
        for reference in ["v6.12.3", "latest"] {
            let error = build(&f, reference).unwrap_err();
            assert_eq!(error.fault(), Fault::Input, "{error}");
            assert!(error.to_string().contains(&format!("SUDBOX_KERNEL_MIRROR is {mirror}, ")));
        }
    }
}

#[test]
fn a_git_tree_is_searched_first_and_only_read() {
    let f = Fixture::new();
    for arguments in
        [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "x"], &["tag", "v6.12.3"]]
    {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]).arg(f.tree());
        assert!(git.args(arguments).status().unwrap().success());
    }
    // The kernel is built from the tag, not from the work tree.
    f.write("kernel/fork.c", "broken");
    let before = snapshot(&f.tree());
    let request =
        Request { reference: "v6.12.3".into(), linux: Some(f.tree()), ..Request::default() };
    let image = f.build(&request, &mut Silent).unwrap();
    assert!(image.is_newly_built && image.source.starts_with("git "), "{}", image.source);
    assert!(!f.build(&request, &mut Silent).unwrap().is_newly_built);
    assert_eq!(snapshot(&f.tree()), before);
}

#[test]
fn a_commit_of_a_git_tree_is_built_and_the_tree_is_only_read() {
    let f = Fixture::new();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]).arg(f.tree());
        assert!(git.args(arguments).status().unwrap().success());
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    f.write("kernel/fork.c", "broken");
    git(&["commit", "-qam", "two"]);
    let before = snapshot(&f.tree());
    let build_commit = |name: &str| {
        let linux = Some(f.tree());
        let request = Request { reference: name.into(), linux, ..Request::default() };
        f.build(&request, &mut Silent)
    };
    let image = build_commit("HEAD~1").unwrap();
    assert!(image.is_newly_built && image.source.contains("HEAD~1, commit "), "{}", image.source);
    assert!(!build_commit("main~1").unwrap().is_newly_built, "the same commit");
    assert_eq!(build_commit("main").unwrap_err().fault(), Fault::Kernel);
    assert_eq!(snapshot(&f.tree()), before);
}

#[test]
fn latest_and_stable_are_not_recorded() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.12.2");
    add_to_archive(&mut f, "6.12.3");
    let publish = |versions: &[&str]| {
        let entries: Vec<_> =
            versions.iter().map(|version| serde_json::json!({ "version": version })).collect();
        let text = serde_json::json!({ "releases": entries }).to_string();
        fs::write(f.dir.path().join("archive/releases.json"), text).unwrap();
    };
    publish(&["6.12.2"]);
    for reference in ["stable", "latest"] {
        let (image, _) = build(&f, reference).unwrap();
        assert!(image.source.contains("linux-6.12.2.tar.xz") && image.substitution_note.is_none());
    }
    publish(&["6.12.3"]);
    assert!(build(&f, "stable").unwrap().0.source.contains("linux-6.12.3.tar.xz"));
    // The release candidate counts only for `latest`, and no source has it.
    publish(&["6.12-rc9", "6.12.2"]);
    let (image, _) = build(&f, "stable").unwrap();
    assert!(image.source.contains("linux-6.12.2.tar.xz"));
    fs::write(f.dir.path().join("archive/releases.json"), "<html>").unwrap();
    assert_eq!(build(&f, "stable").unwrap_err().fault(), Fault::Machine);
    f.assert_no_unfinished_files();
}

#[test]
fn a_release_that_cannot_be_downloaded_is_skipped() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.12.3");
    fs::remove_file(add_to_archive(&mut f, "6.12.4")).unwrap();
    let (image, monitor) = build(&f, "6.12").unwrap();
    assert!(image.source.contains("linux-6.12.3.tar.xz"), "{}", image.source);
    assert!(monitor.messages.iter().any(|message| message.contains("looking further")));
    let (image, _) = build(&f, "v6.12.4").unwrap();
    assert!(image.substitution_note.unwrap().starts_with("v6.12.4 cannot be had here; 6.12.3, "));
    f.assert_no_unfinished_files();
}

#[test]
fn a_release_of_a_local_source_has_its_checksum() {
    let f = Fixture::new();
    let mut ctx = Ctx { cache: &f.cache, net: &f.net, monitor: &mut Silent };
    let scope = search::SearchScope { arch: Arch::X86_64, linux: None, excluded: &[] };
    for version in ["6.98", "v6.98.1"] {
        let found = search::find_release(&mut ctx, &scope, version.parse().unwrap()).unwrap();
        assert_eq!(found.candidate.content_id().unwrap(), "6.98.1-00112233445566778899aabb");
    }
}

#[test]
fn a_local_source_that_cannot_be_read_is_asked_once() {
    let mut f = Fixture::new();
    add_to_archive(&mut f, "6.98.1");
    let (image, monitor) = build(&f, "v6.98.1").unwrap();
    assert!(image.source.contains("linux-6.98.1.tar.xz"), "{}", image.source);
    let notes = monitor.messages.iter().filter(|message| message.contains("looking further"));
    assert_eq!(notes.count(), 1, "{:?}", monitor.messages);
}

#[test]
fn an_unknown_series_is_the_inputs_fault_and_unreachable_sources_are_the_machines() {
    let mut f = Fixture::new();
    let error = build(&f, "v6.12.3").unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().starts_with("no source of linux v6.12.3 can be reached"), "{error}");
    add_to_archive(&mut f, "6.12.3");
    let error = build(&f, "v6.99.1").unwrap_err();
    assert_eq!(error.fault(), Fault::Input);
    assert!(error.to_string().contains("on offer: 6.12; "), "{error}");
    f.assert_no_unfinished_files();
}

#[test]
fn records_of_sudbox_0_1_0_are_read_and_keep_their_content_ids() {
    let f = Fixture::new();
    let binary = r#"{
        "candidate": { "version": "6.12.117", "origin": { "Binary": {
            "package": "linux-source-6.12", "version": "6.12.117-1~deb12u1", "suites": "System",
            "sha256": "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703" } } },
        "stands_in": null }"#;
    let upstream = r#"{
        "candidate": { "version": "6.12.3", "origin": { "Upstream": {
            "path": "v6.x/linux-6.12.3.tar.xz", "sha256": "00112233445566778899aabbccddeeff" } } },
        "stands_in": "v6.12.4 cannot be had here" }"#;
    let broken = r#"{ "candidate": { "version": "7.3", "origin": { "Binary": {} } },
        "stands_in": null }"#;
    let unknown = r#"{ "candidate": { "version": "7.3", "origin": { "Later": {} } },
        "stands_in": null }"#;
    let folder = f.cache.root().join("resolved");
    for (name, text) in [("6.12", binary), ("v6.12.4", upstream), ("7.3", broken), ("7.2", unknown)]
    {
        fs::write(folder.join(format!("x86_64-{name}")), text).unwrap();
    }
    let ctx = Ctx { cache: &f.cache, net: &f.net, monitor: &mut Silent };
    let read = |version: &str| search::read_record(&ctx, Arch::X86_64, version.parse().unwrap());
    let found = read("6.12").unwrap();
    assert_eq!(found.candidate.content_id().unwrap(), "6.12.117-e849faf31ca3555757f3a887");
    let label = "distribution package linux-source-6.12 6.12.117-1~deb12u1, sha256 e849faf3";
    assert!(found.candidate.label().unwrap().starts_with(label));
    let found = read("v6.12.4").unwrap();
    assert_eq!(found.candidate.content_id().unwrap(), "6.12.3-00112233445566778899aabb");
    assert!(found.substitution_note.is_some());
    assert!(read("7.3").is_none() && read("7.2").is_none());
    // A record that is written and read again is the same.
    search::record_result(&ctx, Arch::X86_64, "v6.12.5".parse().unwrap(), &found).unwrap();
    assert_eq!(read("v6.12.5"), Some(found));
}

#[test]
fn no_two_sources_share_a_locator_key() {
    for (index, source) in SOURCES.iter().enumerate() {
        let others = SOURCES[..index].iter().filter(|other| other.name() != source.name());
        for other in others {
            assert!(source.locator_keys().iter().all(|key| !other.locator_keys().contains(key)));
        }
    }
}
