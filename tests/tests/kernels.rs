// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prebuilt kernels of Debian as `KERNEL=`, and the errors for kernels that cannot be used.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sudbox_tests::{RunOutput, git, print_uncaptured, programs_without, run, sudbox, sudbox_run};

/// The reference of a prebuilt kernel that Debian offers.
const DEBIAN_KERNEL: &str = "deb:6.12";

/// Whether this machine's distribution is Debian. If not, prints `NOT RUN`.
fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.lines().any(|line| line == "ID=debian");
    if !debian {
        print_uncaptured("NOT RUN: prebuilt kernels: this distribution is not Debian");
    }
    debian
}

/// The package of [`DEBIAN_KERNEL`].
struct Package {
    _dir: tempfile::TempDir,
    /// The package.
    file: PathBuf,
    /// The kernel's image in the unpacked package.
    image: PathBuf,
    /// The unpacked package.
    root: PathBuf,
}

/// The package, downloaded and unpacked once; `None` if this machine is not Debian.
fn package() -> Option<&'static Package> {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    let package = || {
        let report = run(sudbox_run(&[DEBIAN_KERNEL, "--cases", "boot"])).expect_code(0).json();
        let source = report["kernel"]["source"].as_str().expect("a source").to_owned();
        let mut words = source.split([' ', ',']);
        let name = words.find(|word| word.starts_with("linux-image-")).expect("a package");
        let version = words.next().expect("its version");
        let dir = tempfile::tempdir().expect("a directory");
        run_checked(dir.path(), "apt-get", &["download", "-q", &format!("{name}={version}")]);
        let file = fs::read_dir(dir.path()).expect("a directory").flatten().next();
        let file = file.expect("a package").path();
        let root = dir.path().join("root");
        run_checked(dir.path(), "dpkg-deb", &["-x", text(&file), text(&root)]);
        let mut boot = fs::read_dir(root.join("boot")).expect("a boot directory").flatten();
        let image = boot.find(|e| e.file_name().to_string_lossy().starts_with("vmlinuz-"));
        Package { image: image.expect("an image").path(), file, root, _dir: dir }
    };
    is_debian().then(|| PACKAGE.get_or_init(package))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs a program in `dir` and panics unless it succeeds.
#[track_caller]
fn run_checked(dir: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    let output = output.unwrap_or_else(|why| panic!("{program}: {why}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a command and checks that the verdict is as expected and the machine has ACPI. Returns the
/// report.
#[track_caller]
fn expect_judged(command: Command) -> serde_json::Value {
    let report = run(command).expect_code(0).json();
    let machine = report["machine"].as_str().expect("a machine");
    assert!(machine.contains("ACPI"), "{machine}");
    report
}

/// Checks the exit code and the error, and that the cache is empty.
#[track_caller]
fn expect_refused(result: RunOutput, cache: &Path, code: i32, words: &[&str]) {
    result.expect_error(code, words);
    for folder in ["images", "sources", "tmp", "resolved"] {
        let entries: Vec<_> =
            fs::read_dir(cache.join(folder)).into_iter().flatten().flatten().collect();
        assert!(entries.is_empty(), "left behind: {entries:?}");
    }
}

/// `sudbox run KERNEL` with its own, empty cache.
fn with_empty_cache(kernel: &str) -> (tempfile::TempDir, Command) {
    let cache = tempfile::tempdir().expect("a directory");
    let mut command = sudbox_run(&[kernel, "--cases", "boot"]);
    command.env("SUDBOX_CACHE", cache.path());
    (cache, command)
}

/// Checks that `sudbox run KERNEL` fails with this code and error and leaves the cache empty.
#[track_caller]
fn check_refused(kernel: &str, code: i32, words: &[&str]) {
    let (cache, command) = with_empty_cache(kernel);
    expect_refused(run(command), cache.path(), code, words);
}

#[test]
fn the_newest_package_of_a_series_is_judged_and_the_next_run_needs_no_network() {
    if !is_debian() {
        return;
    }
    let report = expect_judged(sudbox_run(&[DEBIAN_KERNEL, "--cases", "core"]));
    let source = report["kernel"]["source"].as_str().expect("a source");
    assert!(source.starts_with("distribution package linux-image-6.12."), "{source}");
    let mut second_run = sudbox_run(&[DEBIAN_KERNEL, "--cases", "boot"]);
    for proxy in ["http_proxy", "https_proxy"] {
        second_run.env(proxy, "http://127.0.0.1:9");
    }
    expect_judged(second_run);
}

#[test]
fn a_package_by_its_file_and_by_its_name_are_the_same_kernel() {
    let Some(package) = package() else { return };
    let file = expect_judged(sudbox_run(&[text(&package.file), "--cases", "boot"]));
    let name = package.file.file_name().expect("a name").to_string_lossy().into_owned();
    let name = name.split('_').next().expect("a name");
    let named = expect_judged(sudbox_run(&[&format!("deb:{name}"), "--cases", "boot"]));
    assert_eq!(file["kernel"]["release"], named["kernel"]["release"]);
}

#[test]
fn an_image_is_judged_with_its_modules_and_refused_without_them() {
    let Some(package) = package() else { return };
    let report = expect_judged(sudbox_run(&[text(&package.image), "--cases", "entries"]));
    // x32 is expected to be absent only if the configuration was read.
    let cases = report["cases"].as_array().expect("cases");
    assert!(cases.iter().any(|case| case["id"] == "entries/x32" && case["outcome"] == "absent"));

    // The configuration has virtio_mmio as a module, and no modules are beside this copy of the image.
    let dir = tempfile::tempdir().expect("a directory");
    let boot = dir.path().join("boot");
    fs::create_dir(&boot).expect("a directory");
    let package_boot = package.image.parent().expect("a directory");
    for entry in fs::read_dir(package_boot).expect("a readable directory").flatten() {
        fs::copy(entry.path(), boot.join(entry.file_name())).expect("a copy");
    }
    let image = boot.join(package.image.file_name().expect("a name"));
    check_refused(text(&image), 129, &["virtio_mmio is a module that is not at hand"]);
}

#[test]
fn the_newest_installed_kernel_is_found() {
    let Some(package) = package() else { return };
    // A mount namespace in which the kernel is installed.
    let root = &package.root;
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$root/boot\" /boot
         mount -t overlay overlay -o \"lowerdir=$root/lib:/usr/lib\" /usr/lib
         exec \"$@\"";
    command.args(["--mount", "--map-root-user", "sh", "-e", "-c", script, "sh"]);
    let inner = sudbox_run(&["installed", "--cases", "boot"]);
    command.arg(inner.get_program()).args(inner.get_args()).env("root", root);
    let report = expect_judged(command);
    let image = package.image.file_name().expect("a name").to_string_lossy().into_owned();
    let source = report["kernel"]["source"].as_str().expect("a source");
    assert_eq!(source, format!("/boot/{image}, as given"));
}

#[test]
fn programs_run_on_a_prebuilt_kernel() {
    if !is_debian() {
        return;
    }
    let mut command = sudbox();
    command.args(["exec", "--kernel", DEBIAN_KERNEL, "--", "uname", "-r"]);
    let result = run(command).expect_code(0);
    assert!(result.stdout.starts_with("6.12."), "{}", result.stdout);
}

/// Builds a package that contains one text file.
fn build_package(dir: &Path, name: &str, arch: &str) -> PathBuf {
    let root = dir.join(name);
    fs::create_dir_all(root.join("DEBIAN")).expect("a directory");
    fs::write(root.join("hello"), "hello\n").expect("a file");
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: {arch}\nMaintainer: A <a@example.org>\n\
         Description: a test\n"
    );
    fs::write(root.join("DEBIAN/control"), control).expect("a file");
    let file = dir.join(format!("{name}_1.0_{arch}.deb"));
    run_checked(dir, "dpkg-deb", &["--build", text(&root), text(&file)]);
    file
}

#[test]
fn packages_without_a_kernel_for_this_architecture_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = build_package(dir.path(), "hello", "amd64");
    check_refused(text(&other), 129, &["hello 1.0", "no kernel"]);
    let foreign = build_package(dir.path(), "linux-image-6.12.1-arm64", "arm64");
    check_refused(text(&foreign), 129, &["is for arm64, not for amd64"]);
    check_refused("deb:no-such-package-at-all", 129, &["no such package", DEBIAN_KERNEL]);
    check_refused("deb:../etc", 129, &["not the name of a package"]);
}

#[test]
fn damaged_packages_and_images_are_refused() {
    let Some(package) = package() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let valid = fs::read(&package.file).expect("the package");
    let file = dir.path().join("kernel.deb");
    fs::write(&file, &valid[..valid.len() / 2]).expect("a file");
    check_refused(text(&file), 129, &["kernel.deb", "truncated"]);
    let mut corrupt = valid;
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 4096].fill(0x55);
    fs::write(&file, corrupt).expect("a file");
    check_refused(text(&file), 129, &["kernel.deb", "damaged"]);

    let mut image = fs::read(&package.image).expect("the image");
    let middle = image.len() / 2;
    image[middle..middle + 4096].fill(0x55);
    let file = dir.path().join("vmlinuz");
    fs::write(&file, image).expect("a file");
    check_refused(text(&file), 129, &["vmlinuz", "damaged"]);
    // The header of an Image for arm64 (Documentation/arch/arm64/booting.rst).
    let mut foreign = vec![0; 4096];
    foreign[..2].copy_from_slice(b"MZ");
    foreign[0x38..0x3c].copy_from_slice(b"ARM\x64");
    fs::write(&file, foreign).expect("a file");
    check_refused(text(&file), 129, &["an Image for aarch64, not for x86_64"]);
}

#[test]
fn missing_commits_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "--quiet", "linux"]);
    let linux = dir.path().join("linux");
    for subject in ["one", "two"] {
        git(&linux, &["commit", "--quiet", "--allow-empty", "-m", subject]);
    }
    let url = format!("file://{}", linux.display());
    git(dir.path(), &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    let check_commit_refused = |commit: &str, linux: &Path, words: &[&str]| {
        let (cache, mut command) = with_empty_cache(commit);
        command.arg("--linux").arg(linux);
        expect_refused(run(command), cache.path(), 129, words);
    };
    check_commit_refused("no-such-branch", &linux, &["no-such-branch", "no such commit"]);
    let shallow = dir.path().join("shallow");
    check_commit_refused("HEAD~1", &shallow, &["shallow clone", "--unshallow"]);
    check_commit_refused("HEAD", dir.path(), &["not a git repository"]);
    // The commit exists, but contains no Linux.
    check_commit_refused("HEAD~1", &linux, &["Makefile"]);
}

/// The release of the default kernel.
fn default_release() -> String {
    let report = run(sudbox_run(&["--cases", "boot"])).expect_code(0).json();
    report["kernel"]["release"].as_str().expect("a release").to_owned()
}

#[test]
fn latest_and_stable_are_the_releases_that_upstream_lists() {
    let release = default_release();
    let mirror = tempfile::tempdir().expect("a directory");
    let releases = format!(
        "{{\"releases\": [{{\"moniker\": \"mainline\", \"version\": \"99.1-rc1\"}}, \
         {{\"moniker\": \"stable\", \"version\": \"{release}\"}}]}}"
    );
    fs::write(mirror.path().join("releases.json"), releases).expect("a file");
    let judged = |kernel: &str| {
        let mut command = sudbox_run(&[kernel, "--cases", "boot"]);
        command.env("SUDBOX_KERNEL_MIRROR", format!("file://{}", mirror.path().display()));
        let report = run(command).expect_code(0).json();
        assert_eq!(report["kernel"]["release"], release);
        report["kernel"]["stands_in"].as_str().map(str::to_owned)
    };
    assert_eq!(judged("stable"), None);
    // No source offers the release candidate, so the stable release stands in.
    let note = judged("latest").expect("a note");
    assert!(note.contains("99.1-rc1") && note.contains(&release), "{note}");
}

/// Distributions have no package of the old release v6.12.1, so another release stands in.
#[test]
fn a_note_names_a_release_that_stands_in_and_exact_refuses_it() {
    if !is_debian() {
        return;
    }
    const MIRROR: (&str, &str) = ("SUDBOX_KERNEL_MIRROR", "https://127.0.0.1:9");
    let (cache, mut command) = with_empty_cache("v6.12.1");
    command.arg("--exact").env(MIRROR.0, MIRROR.1);
    let words = ["v6.12.1 cannot be had here", "stands in for it", "--exact"];
    expect_refused(run(command), cache.path(), 128, &words);

    // Without --exact, the note is printed before the error about the compiler.
    let mut command = sudbox_run(&["v6.12.1", "--cases", "boot", "--cc", "no-such-compiler"]);
    command.env(MIRROR.0, MIRROR.1);
    let result = run(command).expect_code(128);
    let position = |words: &str| {
        let position = result.stderr.find(words);
        position.unwrap_or_else(|| panic!("no `{words}` in:\n{}", result.stderr))
    };
    assert!(position("stands in for it") < position("no-such-compiler"), "{}", result.stderr);
}

#[test]
fn a_tarball_with_a_wrong_checksum_is_refused() {
    let mirror = tempfile::tempdir().expect("a directory");
    let folder = mirror.path().join("v99.x");
    fs::create_dir(&folder).expect("a directory");
    let sums = format!("{}  linux-99.1.tar.xz\n", "0".repeat(64));
    fs::write(folder.join("sha256sums.asc"), sums).expect("a file");
    fs::write(folder.join("linux-99.1.tar.xz"), "something else").expect("a file");
    let (cache, mut command) = with_empty_cache("v99.1");
    command.env("SUDBOX_KERNEL_MIRROR", format!("file://{}", mirror.path().display()));
    expect_refused(run(command), cache.path(), 128, &["is not what was published"]);
}

#[test]
fn a_mirror_without_encryption_is_refused() {
    let (cache, mut command) = with_empty_cache("v6.99.1");
    command.env("SUDBOX_KERNEL_MIRROR", "http://127.0.0.1:9");
    expect_refused(run(command), cache.path(), 129, &["SUDBOX_KERNEL_MIRROR", "https://"]);
}

#[test]
fn a_network_that_is_down_or_stalls_is_named() {
    let bin = programs_without(&["apt"]);
    // A server that accepts connections and never sends.
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stalling_mirror = format!("https://{}", server.local_addr().expect("an address"));
    for mirror in ["https://127.0.0.1:9", &stalling_mirror] {
        for kernel in ["v6.99.1", "latest"] {
            let (cache, mut command) = with_empty_cache(kernel);
            command.env("SUDBOX_KERNEL_MIRROR", mirror).env("PATH", bin.path());
            let result = run(command);
            assert!(result.elapsed.as_secs() < 20, "{:?}", result.elapsed);
            expect_refused(result, cache.path(), 128, &["reached"]);
        }
    }
    let (cache, mut command) = with_empty_cache(DEBIAN_KERNEL);
    command.env("PATH", bin.path());
    expect_refused(run(command), cache.path(), 128, &["apt"]);
    // With apt, through a proxy that does not run.
    for kernel in [DEBIAN_KERNEL, "deb:6.16"] {
        let (cache, mut command) = with_empty_cache(kernel);
        command.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        expect_refused(run(command), cache.path(), 128, &[]);
    }
}

#[test]
fn kernels_are_listed_and_old_ones_pruned() {
    let Some(package) = package() else { return };
    let (cache, command) = with_empty_cache(text(&package.file));
    expect_judged(command);
    let kernels = |arguments: &[&str]| {
        let mut command = sudbox();
        command.arg("kernels").args(arguments).env("SUDBOX_CACHE", cache.path());
        run(command).expect_code(0).stdout
    };
    let prune = |arguments: &[&str]| kernels(&[&["prune"], arguments].concat());
    let listed = kernels(&[]);
    for line in ["pinned, default", "cached image", "on offer"] {
        assert!(listed.contains(line), "`{line}` is not in:\n{listed}");
    }
    assert!(prune(&["--yes"]).contains("freed 0 B: 0 entries"));
    let dry_run = prune(&["--days", "0"]);
    assert!(dry_run.contains("would free") && dry_run.contains(": 1 entry"), "{dry_run}");
    assert!(kernels(&[]).contains("cached image"), "a dry run frees nothing");
    assert!(prune(&["--days", "0", "--yes"]).contains(": 1 entry"));
    assert!(!kernels(&[]).contains("cached image"));
}

/// `--format` may be given before or after `prune`.
#[test]
fn pruned_entries_are_listed_in_json() {
    let cache = tempfile::tempdir().expect("a directory");
    let image = cache.path().join("images/feed");
    fs::create_dir_all(&image).expect("a directory");
    fs::write(image.join("vmlinux"), "12345").expect("a file");
    fs::write(image.join("meta.json"), r#"{"release": "6.12.1", "source": "a tree"}"#)
        .expect("a file");
    let prune = |arguments: &[&str]| {
        let mut command = sudbox();
        command.arg("kernels").args(arguments).env("SUDBOX_CACHE", cache.path());
        run(command).expect_code(0).json()
    };
    let nothing_old = prune(&["--format", "json", "prune", "--yes"]);
    assert_eq!([&nothing_old["days"], &nothing_old["bytes"]], [30, 0], "{nothing_old}");
    assert_eq!(nothing_old["removed"], true, "{nothing_old}");
    assert_eq!(nothing_old["kernels"].as_array().map(Vec::len), Some(0));
    let dry_run = prune(&["prune", "--format", "json", "--days", "0"]);
    assert_eq!(dry_run["removed"], false, "{dry_run}");
    let kernel = &dry_run["kernels"][0];
    assert_eq!(
        [&kernel["name"], &kernel["state"], &kernel["origin"]],
        ["6.12.1", "cached image", "a tree"]
    );
    assert!(dry_run["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{dry_run}");
    assert!(image.exists(), "a dry run frees nothing");
    let pruned = prune(&["--format", "json", "prune", "--days", "0", "--yes"]);
    assert_eq!((&pruned["removed"], &pruned["bytes"]), (&true.into(), &dry_run["bytes"]));
    assert!(!image.exists());
}

/// `run` uses the package of `deb:6.1` that `kernels` lists, even if an earlier run used another package.
#[test]
fn run_uses_the_package_that_kernels_lists() {
    if !is_debian() {
        return;
    }
    let cache = tempfile::tempdir().expect("a directory");
    let listed_package = || {
        let mut command = sudbox();
        command.args(["kernels", "--format", "json"]).env("SUDBOX_CACHE", cache.path());
        let list = run(command).expect_code(0).json();
        let mut kernels = list["kernels"].as_array().expect("kernels").iter();
        let kernel = kernels.find(|kernel| kernel["name"] == "deb:6.1").expect("deb:6.1");
        kernel["origin"].as_str().expect("a package").to_owned()
    };
    let source_of_run = || {
        let mut command = sudbox_run(&["deb:6.1", "--cases", "boot"]);
        command.env("SUDBOX_CACHE", cache.path());
        let report = run(command).expect_code(0).json();
        report["kernel"]["source"].as_str().expect("a source").to_owned()
    };
    let newest = listed_package();
    let source = source_of_run();
    assert!(source.starts_with(&format!("distribution package {newest}, ")), "{newest}: {source}");

    // Make the record of an earlier run with another package.
    let mut other = sudbox_run(&[DEBIAN_KERNEL, "--cases", "boot"]);
    other.env("SUDBOX_CACHE", cache.path());
    let _ = run(other).expect_code(0);
    let record = |kernel: &str| cache.path().join("resolved").join(format!("x86_64-{kernel}"));
    fs::copy(record(DEBIAN_KERNEL), record("deb:6.1")).expect("a copy");
    let (package, source) = (listed_package(), source_of_run());
    assert_ne!(package, newest);
    assert!(source.starts_with(&format!("distribution package {package}, ")), "{source}");
}
