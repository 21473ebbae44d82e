//! Mistakes and broken machines: the right exit code and one clear sentence.

use std::fs;
use std::process::Command;
use sudbox_tests::{Ran, cache, run, sudbox, sudbox_run};

/// Checks that the run ended with `code` and one sentence on stderr that contains `words`.
#[track_caller]
fn says(ran: Ran, code: i32, words: &[&str]) {
    let ran = ran.expect(code);
    assert!(ran.stdout.is_empty(), "a report: {}", ran.stdout);
    let sentences: Vec<&str> =
        ran.stderr.lines().filter(|line| line.starts_with("sudbox: ")).collect();
    assert_eq!(sentences.len(), 1, "{}", ran.stderr);
    for word in words {
        assert!(sentences[0].contains(word), "`{word}` is not in: {}", sentences[0]);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_text_file_is_no_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "not a kernel\n").unwrap();
    says(run(sudbox_run(&[file.to_str().unwrap()])), 129, &["notes.txt"]);
}

#[test]
fn a_bzimage_that_is_cut_short_is_refused() {
    // A setup header as Documentation/arch/x86/boot.rst has it, which announces more than there is.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bzImage");
    let mut image = vec![0u8; 8192];
    image[0x1f1] = 4;
    image[0x1f4..0x1f8].copy_from_slice(&0x0010_0000_u32.to_le_bytes());
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    fs::write(&file, image).unwrap();
    says(run(sudbox_run(&[file.to_str().unwrap()])), 129, &["bzImage"]);
}

#[test]
fn unknown_versions_and_missing_files_are_named() {
    says(run(sudbox_run(&["banana"])), 129, &["banana"]);
    says(run(sudbox_run(&["./no/such/tree"])), 129, &["no/such/tree"]);
}

#[test]
fn unknown_cases_flavours_and_architectures_are_named() {
    says(run(sudbox_run(&["--cases", "selektor"])), 129, &["selektor"]);
    says(run(sudbox_run(&["--flavour", "vanilla"])), 129, &["vanilla"]);
    says(run(sudbox_run(&["--arch", "pdp11"])), 129, &["pdp11"]);
}

#[test]
fn usage_is_129_too() {
    let mut command = sudbox();
    command.args(["run", "--no-such-option"]);
    assert_eq!(run(command).code, 129);
}

/// A directory with links to every program of this machine but those whose names begin so.
fn programs_without(left_out: &[&str]) -> tempfile::TempDir {
    let bin = tempfile::tempdir().unwrap();
    for dir in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !left_out.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                // Of two programs with one name, the first on the path counts.
                let _ = std::os::unix::fs::symlink(entry.path(), bin.path().join(name));
            }
        }
    }
    bin
}

#[test]
fn without_qemu_the_machine_is_at_fault() {
    // The kernel is in the cache, so that nothing else is missing first; without a package manager
    // nothing is installed either.
    let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    let bin = programs_without(&["qemu-system-", "apt", "dnf", "pacman", "zypper"]);
    let mut command = sudbox_run(&[]);
    command.env("PATH", bin.path());
    says(run(command), 128, &["qemu-system-x86_64"]);
}

/// `sudbox run 6.12` with its cache on a disk of its own, prepared by `script`, in which `$disk` is
/// where it is.
fn on_a_small_disk(script: &str) -> Ran {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    let dir = tempfile::tempdir().unwrap();
    // A mount namespace of its own: the disk goes with the last process in it.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-e", "-c", script, "sh"]);
    let inner = sudbox_run(&["6.12"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("SUDBOX_CACHE", dir.path()).env("cached", cache()).env("disk", dir.path());
    run(command)
}

#[test]
fn a_disk_that_is_full_during_the_download_is_the_machines_fault() {
    let ran = on_a_small_disk("mount -t tmpfs -o size=48m tmpfs \"$disk\"; exec \"$@\"");
    says(ran, 128, &["disk is full"]);
}

#[test]
fn a_disk_that_is_full_during_the_build_is_the_machines_fault() {
    let ran = on_a_small_disk(
        "mount -t tmpfs -o size=6g tmpfs \"$disk\"
         cp -a \"$cached/sources\" \"$cached/resolved\" \"$disk\"
         left=$(df --output=avail -B1 \"$disk\" | tail -n 1)
         fallocate -l $((left - (6 << 20))) \"$disk/ballast\"
         exec \"$@\"",
    );
    assert!(ran.stderr.contains("building"), "{}", ran.stderr);
    says(ran, 128, &["disk is full"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let mut command = sudbox_run(&[]);
    command.env("SUDBOX_CACHE", "/proc/sudbox");
    says(run(command), 128, &["/proc/sudbox"]);
    assert!(cache().exists());
}
