//! The whole way from a request to an image, with a small thing in Linux's place: a tree whose
//! Makefile knows the targets and prints the lines that sudbox relies on. Real kernels are built by
//! the end-to-end tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::monitor::Silent;
use crate::monitor::tests::{Interrupted, Recording};
use crate::{Arch, Cache, Error, Fault, KernelImage, Request};

/// What the rest of the file needs of kbuild: objects in O=, rebuilt when newer, one line each.
const MAKEFILE: &str = r#"# SPDX-License-Identifier: GPL-2.0
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3
EXTRAVERSION =
NAME = Fake

O ?= .
objects := $(O)/kernel/fork.o $(O)/kernel/exit.o
vmlinux: $(O)/vmlinux
$(O)/vmlinux: $(objects)
	@echo "  LD      vmlinux"
	@$(LD) -nostdlib -static -e entry -o $@ $(objects)
$(O)/kernel/%.o: kernel/%.c $(O)/.config
	@echo "  CC      kernel/$*.o"
	@mkdir -p $(O)/kernel
	@cd $(O) && $(CC) $(KCFLAGS) -ffreestanding -fno-pie -c -o $@ ../kernel/$*.c
tinyconfig:
	@test ! -e .config || { echo "*** The source tree is not clean"; exit 1; }
	@mkdir -p $(O)/include/config
	@echo 6.12.3 > $(O)/include/config/kernel.release
	@echo "CONFIG_EMBEDDED=y" > $(O)/.config
	@cat selected >> $(O)/.config
	@cat hook 2>/dev/null | sh
olddefconfig:
	@env > $(O)/environment
	@echo "MAKEFLAGS=$(MAKEFLAGS) ARCH=$(ARCH)" >> $(O)/environment
"#;

pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    pub(crate) cache: Cache,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::at(dir.path().join("cache")).unwrap();
        cache.upstream.base = "file:///no/such/archive".into();
        cache.distribution = false;
        let fixture = Fixture { dir, cache };
        fixture.write("kernel/fork.c", "int entry(void) { return 1; }\n");
        fixture.write("kernel/exit.c", "int leave(void) { return 2; }\n");
        fixture.write("Makefile", MAKEFILE);
        // What the real Kconfig selects without being asked.
        fixture.write("selected", &crate::config::tests::sufficient());
        fixture.write("Kconfig", "mainmenu \"Fake\"\n");
        fixture
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("linux-6.12.3")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn request(&self) -> Request {
        Request { reference: self.tree().to_str().unwrap().into(), ..Request::default() }
    }

    fn kernel(&self) -> Result<KernelImage, Error> {
        crate::kernel(&self.cache, &self.request(), &mut Silent)
    }

    /// The compile units of the log of an image that was built now.
    fn units(&self) -> Vec<String> {
        let image = self.kernel().unwrap();
        assert!(image.built);
        let log = fs::read_to_string(image.build_log.unwrap()).unwrap();
        let mut units: Vec<_> =
            log.lines().filter_map(|l| l.strip_prefix("  CC      ")).map(str::to_owned).collect();
        units.sort();
        units
    }

    fn message(&self, fault: Fault) -> String {
        let error = self.kernel().unwrap_err();
        assert_eq!(error.fault(), fault, "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// The cache holds nothing unfinished.
    fn assert_tidy(&self) {
        let left: Vec<_> = fs::read_dir(self.cache.root().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Everything about a tree that a write into it would change.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, [i64; 4], u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap().flatten().map(|e| e.path()).chain([folder.clone()])
        {
            let meta = fs::symlink_metadata(&entry).unwrap();
            let content = if meta.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            if meta.is_dir() && entry != folder {
                folders.push(entry.clone());
            }
            all.insert(entry, (meta.ino(), times, meta.mode(), content));
        }
    }
    all
}

#[test]
fn a_tree_with_its_own_objects_is_built_and_not_a_byte_of_it_changes() {
    let f = Fixture::new();
    // What an in-tree build leaves, on which a real `make O=` refuses, as the fake one does.
    f.write(".config", "CONFIG_THEIRS=y\n");
    f.write("include/config/auto.conf", "CONFIG_THEIRS=y\n");
    f.write("kernel/fork.o", "not an object");
    f.write("kernel/.fork.o.cmd", "");
    for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "x"]] {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]).arg(f.tree());
        assert!(git.args(arguments).status().unwrap().success());
    }
    // An index that git would refresh if it were asked for the status.
    f.write("kernel/exit.c", "int leave(void) { return 2; }\n");
    let before = snapshot(&f.tree());
    let image = f.kernel().unwrap();
    assert!(image.built && image.kernel.is_file() && image.vmlinux.unwrap().is_file());
    assert_eq!(image.release.as_deref(), Some("6.12.3"));
    assert!(image.source.contains("HEAD "), "{}", image.source);
    let config = fs::read_to_string(image.config.unwrap()).unwrap();
    assert!(config.contains("CONFIG_EMBEDDED=y") && !config.contains("THEIRS"));
    assert!(!f.kernel().unwrap().built, "the second time it is found");
    assert_eq!(snapshot(&f.tree()), before);
    f.assert_tidy();
}

#[test]
fn only_what_changed_is_built_again() {
    let f = Fixture::new();
    assert_eq!(f.units(), ["kernel/exit.o", "kernel/fork.o"]);
    f.write("kernel/fork.c", "int entry(void) { return 7; }\n");
    assert_eq!(f.units(), ["kernel/fork.o"]);
    // Back to what was built before: nothing is made, the image is there by its content.
    f.write("kernel/fork.c", "int entry(void) { return 1; }\n");
    assert!(!f.kernel().unwrap().built);
}

#[test]
fn the_environment_of_an_outer_make_stays_out() {
    let f = Fixture::new();
    let request = Request {
        toolchain: crate::Toolchain { kcflags: Some("-DASKED".into()), ..Default::default() },
        ..f.request()
    };
    // SAFETY: no other thread of this test program reads these names, and getenv() of others is
    // not racing with a removal.
    unsafe {
        for name in ["MAKEFLAGS", "KBUILD_OUTPUT", "ARCH", "LOCALVERSION", "KCFLAGS", "MAKELEVEL"] {
            std::env::set_var(name, "poison");
        }
    }
    crate::kernel(&f.cache, &request, &mut Silent).unwrap();
    let mirror = fs::read_dir(f.cache.root().join("trees")).unwrap().next().unwrap().unwrap();
    let mut entries = fs::read_dir(mirror.path().join("src")).unwrap().map(|e| e.unwrap().path());
    let environment = entries.find_map(|e| fs::read_to_string(e.join("environment")).ok()).unwrap();
    assert!(!environment.contains("poison"), "{environment}");
    assert!(environment.contains("ARCH=x86_64") && environment.contains("-DASKED"));
}

/// Two machines that have nothing in common but ccache's remote storage: each a process of its own,
/// this test once more, because the settings of ccache are the environment's.
#[test]
fn what_one_machine_compiled_is_not_compiled_by_the_next() {
    const MACHINE: &str = "SUDBOX_TEST_MACHINE";
    if std::env::var_os(MACHINE).is_some() {
        assert_eq!(Fixture::new().units().len(), 2);
        return;
    }
    if crate::toolchain::find("ccache").is_none() {
        let _ = writeln!(std::io::stderr(), "NOT RUN: shared objects: ccache is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let counters = |name: &str| -> BTreeMap<String, u64> {
        let own = dir.path().join(name);
        let mut machine = Command::new(std::env::current_exe().unwrap());
        machine.args(["--exact", "tests::what_one_machine_compiled_is_not_compiled_by_the_next"]);
        machine.env(MACHINE, name).env("CCACHE_DIR", &own);
        let shared = format!("file:{}", dir.path().join("shared").display());
        let output = machine.env("CCACHE_REMOTE_STORAGE", shared).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let mut stats = Command::new("ccache");
        let stats = stats.arg("--print-stats").env("CCACHE_DIR", own).output().unwrap().stdout;
        let lines = String::from_utf8(stats).unwrap();
        let pairs = lines.lines().filter_map(|line| line.split_once('\t'));
        pairs.filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?))).collect()
    };
    let (first, second) = (counters("first"), counters("second"));
    let [compiled, fetched] = ["cache_miss", "remote_storage_hit"];
    assert_eq!((first[compiled], first[fetched]), (2, 0), "{first:?}");
    assert_eq!(second[compiled], 0, "{second:?}");
    assert!(second[fetched] >= 2, "{second:?}");
}

#[test]
fn a_kernel_that_does_not_build_says_the_first_error_and_where_the_log_is() {
    let f = Fixture::new();
    f.write("kernel/fork.c", "int entry(void) { return undeclared; }\n");
    let text = f.message(Fault::Kernel);
    assert!(text.contains("kernel/fork.c:1:26: error: "), "{text}");
    let log = f.kernel().unwrap_err().log().unwrap().to_owned();
    assert!(text.contains(log.to_str().unwrap()));
    assert!(fs::read_to_string(log).unwrap().contains("undeclared"));
    f.write("kernel/fork.c", "int entry(void) { return 0; }\n");
    assert!(f.kernel().unwrap().built, "the slot is usable");
    f.assert_tidy();
}

#[test]
fn a_disk_that_fills_up_during_the_build_is_the_machines_fault() {
    let f = Fixture::new();
    // /dev/full answers every write as a full disk does.
    f.write("hook", "mkdir -p $O/kernel; ln -sf /dev/full $O/kernel/fork.o\n");
    f.write("Makefile", &MAKEFILE.replace("cat hook 2>/dev/null | sh", "O=$(O) sh hook"));
    let text = f.message(Fault::Machine);
    assert!(text.contains("disk is full"), "{text}");
    f.assert_tidy();
}

#[test]
fn an_interrupt_ends_the_build_and_leaves_the_slot_usable() {
    let f = Fixture::new();
    let request = f.request();
    let error = crate::kernel(&f.cache, &request, &mut Interrupted::new()).unwrap_err();
    assert_eq!(error.fault(), Fault::Interrupted);
    f.assert_tidy();
    assert!(f.kernel().unwrap().built);
}

#[test]
fn two_runs_at_once_build_once() {
    let f = Fixture::new();
    let built: Vec<bool> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| f.kernel().unwrap().built)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(built.iter().filter(|built| **built).count(), 1);
}

#[test]
fn patches_are_applied_in_the_mirror_only() {
    let f = Fixture::new();
    let plain = f.kernel().unwrap();
    let before = snapshot(&f.tree());
    let patch = f.dir.path().join("x.patch");
    let text = "--- a/kernel/fork.c\n+++ b/kernel/fork.c\n@@ -1 +1 @@\n\
                -int entry(void) { return 1; }\n+int entry(void) { return 9; }\n";
    fs::write(&patch, text).unwrap();
    let request = Request { patches: vec![patch], ..f.request() };
    let patched = crate::kernel(&f.cache, &request, &mut Silent).unwrap();
    assert!(patched.built && patched.source.contains("x.patch"));
    assert_ne!(fs::read(patched.kernel).unwrap(), fs::read(plain.kernel).unwrap());
    assert!(!crate::kernel(&f.cache, &request, &mut Silent).unwrap().built);
    assert_eq!(snapshot(&f.tree()), before);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let image = |f: &Fixture| fs::read(f.kernel().unwrap().kernel).unwrap();
    assert_eq!(image(&Fixture::new()), image(&Fixture::new()));
}

/// An upstream archive on this disk.
fn archive(f: &mut Fixture, version: &str) -> PathBuf {
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
    f.cache.upstream.base = format!("file://{}/archive", f.dir.path().display());
    tarball
}

fn release(f: &Fixture, reference: &str) -> Result<(KernelImage, Recording), Error> {
    let request = Request { reference: reference.into(), ..Request::default() };
    let mut monitor = Recording::default();
    crate::kernel(&f.cache, &request, &mut monitor).map(|image| (image, monitor))
}

#[test]
fn an_upstream_release_is_verified_built_and_then_needs_no_network() {
    let mut f = Fixture::new();
    archive(&mut f, "6.12.3");
    let (image, monitor) = release(&f, "v6.12.3").unwrap();
    assert!(image.built && image.stands_in.is_none());
    assert!(image.source.starts_with("upstream linux-6.12.3.tar.xz, sha256 "), "{}", image.source);
    assert!(monitor.heard.iter().any(|said| said.starts_with("unpacking")), "{:?}", monitor.heard);
    fs::remove_dir_all(f.dir.path().join("archive")).unwrap();
    let (image, monitor) = release(&f, "v6.12.3").unwrap();
    assert!(!image.built);
    assert_eq!(monitor.heard, Vec::<String>::new(), "nobody is asked");
    f.assert_tidy();
}

#[test]
fn the_newest_of_a_series_is_remembered() {
    let mut f = Fixture::new();
    archive(&mut f, "6.12.2");
    archive(&mut f, "6.12.3");
    let (image, _) = release(&f, "6.12").unwrap();
    assert!(image.source.contains("linux-6.12.3.tar.xz"));
    fs::remove_dir_all(f.dir.path().join("archive")).unwrap();
    assert!(!release(&f, "6.12").unwrap().0.built);
}

#[test]
fn a_tarball_that_is_not_what_was_published_is_refused() {
    let mut f = Fixture::new();
    let tarball = archive(&mut f, "6.12.3");
    let mut bytes = fs::read(&tarball).unwrap();
    bytes.push(0);
    fs::write(tarball, bytes).unwrap();
    let error = release(&f, "v6.12.3").unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("sha256"), "{error}");
    f.assert_tidy();
}

#[test]
fn a_git_tree_comes_first_and_is_only_read() {
    let f = Fixture::new();
    for arguments in
        [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "x"], &["tag", "v6.12.3"]]
    {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]).arg(f.tree());
        assert!(git.args(arguments).status().unwrap().success());
    }
    // What is checked out does not matter, the tag does.
    f.write("kernel/fork.c", "broken");
    let before = snapshot(&f.tree());
    let request =
        Request { reference: "v6.12.3".into(), linux: Some(f.tree()), ..Request::default() };
    let image = crate::kernel(&f.cache, &request, &mut Silent).unwrap();
    assert!(image.built && image.source.starts_with("git "), "{}", image.source);
    assert!(!crate::kernel(&f.cache, &request, &mut Silent).unwrap().built);
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
    let of = |name: &str| {
        let linux = Some(f.tree());
        let request = Request { reference: name.into(), linux, ..Request::default() };
        crate::kernel(&f.cache, &request, &mut Silent)
    };
    let image = of("HEAD~1").unwrap();
    assert!(image.built && image.source.contains("HEAD~1, commit "), "{}", image.source);
    assert!(!of("main~1").unwrap().built, "the same tree");
    assert_eq!(of("main").unwrap_err().fault(), Fault::Kernel);
    assert_eq!(snapshot(&f.tree()), before);
}

#[test]
fn an_image_of_another_architecture_is_booted_as_it_is() {
    let f = Fixture::new();
    // Where a bzImage of x86 says how it is packed there is something else.
    let mut bytes = vec![0xa5; 0x11000];
    bytes[0x10008..0x1000e].copy_from_slice(b"S390EP");
    let path = f.dir.path().join("bzImage");
    fs::write(&path, &bytes).unwrap();
    let reference = path.to_str().unwrap().into();
    let request = Request { reference, arch: Arch::S390x, ..Request::default() };
    let image = crate::kernel(&f.cache, &request, &mut Silent).unwrap();
    assert!(fs::read(&image.kernel).unwrap() == bytes && image.vmlinux.is_none() && !image.acpi);
}

#[test]
fn latest_and_stable_are_asked_for_every_time() {
    let mut f = Fixture::new();
    archive(&mut f, "6.12.2");
    archive(&mut f, "6.12.3");
    let say = |version: &str| {
        let text = format!("{{\"releases\": [{{\"version\": \"{version}\"}}]}}");
        fs::write(f.dir.path().join("archive/releases.json"), text).unwrap();
    };
    say("6.12.2");
    for reference in ["stable", "latest"] {
        let (image, _) = release(&f, reference).unwrap();
        assert!(image.source.contains("linux-6.12.2.tar.xz") && image.stands_in.is_none());
    }
    say("6.12.3");
    assert!(release(&f, "stable").unwrap().0.source.contains("linux-6.12.3.tar.xz"));
    // A candidate counts for one of the two, and no source has it.
    say("6.12-rc9\"}, {\"version\": \"6.12.2");
    let (image, _) = release(&f, "stable").unwrap();
    assert!(image.source.contains("linux-6.12.2.tar.xz"));
    fs::write(f.dir.path().join("archive/releases.json"), "<html>").unwrap();
    assert_eq!(release(&f, "stable").unwrap_err().fault(), Fault::Machine);
    f.assert_tidy();
}

#[test]
fn a_release_that_cannot_be_downloaded_is_passed_over() {
    let mut f = Fixture::new();
    archive(&mut f, "6.12.3");
    fs::remove_file(archive(&mut f, "6.12.4")).unwrap();
    let (image, monitor) = release(&f, "6.12").unwrap();
    assert!(image.source.contains("linux-6.12.3.tar.xz"), "{}", image.source);
    assert!(monitor.heard.iter().any(|said| said.contains("looking further")));
    let (image, _) = release(&f, "v6.12.4").unwrap();
    assert!(image.stands_in.unwrap().starts_with("v6.12.4 cannot be had here; 6.12.3, "));
    f.assert_tidy();
}

#[test]
fn an_unknown_version_is_bad_input_and_no_source_at_all_the_machines_fault() {
    let mut f = Fixture::new();
    let error = release(&f, "v6.12.3").unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().starts_with("no source of linux v6.12.3 can be reached"), "{error}");
    archive(&mut f, "6.12.3");
    f.cache.upstream.down.store(false, std::sync::atomic::Ordering::Relaxed);
    let error = release(&f, "v6.99.1").unwrap_err();
    assert_eq!(error.fault(), Fault::Input);
    assert!(error.to_string().contains("on offer: 6.12; "), "{error}");
    f.assert_tidy();
}
