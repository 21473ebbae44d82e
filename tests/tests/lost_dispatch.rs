// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel without working dispatch, whose prctl(2) returns EINVAL, is never judged as good, in any form
//! of `KERNEL=`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use sudbox_tests::{RunOutput, Tree, built_kernel_of, run, sudbox_run};

/// Checks that the cases failed, or that the kernel could not be judged.
#[track_caller]
fn check_not_good(result: &RunOutput) {
    assert!([1, 125].contains(&result.code), "{result:?}");
    assert!(!result.stdout.contains("every promise kept"), "{}", result.stdout);
}

/// Judges a kernel with every case and with the core cases, and checks both results.
#[track_caller]
fn check_kernel_not_good(kernel: &str) {
    check_not_good(&run(sudbox_run(&[kernel])));
    check_not_good(&run(sudbox_run(&[kernel, "--cases", "core"])));
}

#[test]
fn a_kernel_without_dispatch_is_not_good_as_source_image_or_package() {
    let tree = Tree::with_faults(&[]);
    let source = "kernel/entry/syscall_user_dispatch.c";
    tree.edit(source, |text| {
        let without_dispatch = "if (mode || !mode)\n\t\treturn -EINVAL;\n\tswitch (mode) {";
        text.replacen("switch (mode) {", without_dispatch, 1)
    });
    // Without this change, the kernel may be in the cache, and no bzImage would be built.
    tree.force_rebuild(source);
    let folder = tempfile::tempdir().expect("a folder");
    let bzimage = folder.path().join("bzImage");
    let bin = make_with_bzimage(&bzimage);
    let path = std::env::var("PATH").expect("a PATH");
    // A contained build cannot write the copy of the bzImage.
    let mut command = sudbox_run(&[tree.argument(), "--contain", "off"]);
    command.env("PATH", format!("{}:{path}", text(bin.path())));
    let judged = run(command);
    check_not_good(&judged);
    assert_eq!(judged.code, 1, "by its source, the kernel has dispatch");
    let vmlinux = built_kernel_of(&judged.json());
    check_kernel_not_good(&vmlinux);

    let release = judged.json()["kernel"]["release"].as_str().expect("a release").to_owned();
    check_kernel_not_good(text(&bzimage));

    // A distribution's kernel has its configuration beside it.
    let root = folder.path().join("root");
    let boot = root.join("boot");
    fs::create_dir_all(&boot).expect("a folder");
    let installed = boot.join(format!("vmlinuz-{release}"));
    fs::copy(&bzimage, &installed).expect("a copy");
    let config = Path::new(&vmlinux).with_file_name("config");
    fs::copy(config, boot.join(format!("config-{release}"))).expect("a copy");
    check_not_good(&run(sudbox_run(&[text(&installed)])));
    check_not_good(&run(with_boot(&boot, sudbox_run(&["installed"]))));
    check_not_good(&run(sudbox_run(&[text(&package_of(&root, &release))])));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A folder with a `make` for `PATH` that makes the bzImage with each vmlinux, and copies it to `to`.
fn make_with_bzimage(to: &Path) -> tempfile::TempDir {
    let bin = tempfile::tempdir().expect("a folder");
    let script = format!(
        "#!/bin/sh -e
         PATH=${{PATH#*:}}
         for word; do case $word in O=*) slot=${{word#O=}} ;; esac; done
         make \"$@\"
         if [ \"$word\" = vmlinux ]; then
             make \"$@\" bzImage
             cp \"$slot/arch/x86/boot/bzImage\" {}
         fi
        ",
        text(to)
    );
    let make = bin.path().join("make");
    fs::write(&make, script).expect("a script");
    fs::set_permissions(&make, fs::Permissions::from_mode(0o755)).expect("a mode");
    bin
}

/// Makes a package of an image and its configuration in the folder `root`.
fn package_of(root: &Path, release: &str) -> PathBuf {
    let name = format!("linux-image-{release}");
    fs::create_dir(root.join("DEBIAN")).expect("a folder");
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: A <a@example.org>\n\
         Description: a kernel without dispatch\n"
    );
    fs::write(root.join("DEBIAN/control"), control).expect("a file");
    let package = root.with_file_name(format!("{name}_1.0_amd64.deb"));
    run_checked(Command::new("dpkg-deb").arg("--build").args([root, &package]));
    package
}

/// The command in a mount namespace that has this folder as `/boot`.
fn with_boot(boot: &Path, inner: Command) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$boot\" /boot; exec \"$@\"";
    command.args(["--mount", "--map-root-user", "sh", "-e", "-c", script, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).env("boot", boot);
    command
}

#[track_caller]
fn run_checked(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A seccomp filter returns EINVAL instead of the running kernel.
#[test]
fn the_running_kernel_without_dispatch_is_not_good() {
    let mut command = sudbox_run(&["running"]);
    // SAFETY: the closure makes only system calls.
    unsafe {
        command.pre_exec(refuse_dispatch);
    }
    check_not_good(&run(command));
}

/// Makes prctl(PR_SET_SYSCALL_USER_DISPATCH) fail with EINVAL for this process and its children.
fn refuse_dispatch() -> std::io::Result<()> {
    const PR_SET_SYSCALL_USER_DISPATCH: u32 = 59;
    // Offsets in struct seccomp_data (include/uapi/linux/seccomp.h).
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EINVAL.cast_unsigned();
    let number = u32::try_from(libc::SYS_prctl).expect("a number of 32 bits");
    let filter = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("a code of 16 bits"),
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    let mut filters = [
        filter(load, 0, 0, NUMBER),
        filter(jump, 0, 3, number),
        filter(load, 0, 0, FIRST_ARGUMENT),
        filter(jump, 0, 1, PR_SET_SYSCALL_USER_DISPATCH),
        filter(ret, 0, 0, refused),
        filter(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filters.as_mut_ptr() };
    // SAFETY: the program is valid for the call.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
