// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel that has lost dispatch and answers EINVAL is never judged as good, in whichever form it is
//! given.

use std::os::unix::process::CommandExt as _;
use sudbox_tests::{RunOutput, Tree, built_kernel_of, run, sudbox_run};

/// Checks that the cases failed, or that the kernel could not be judged.
#[track_caller]
fn is_no_success(result: &RunOutput) {
    assert!([1, 125].contains(&result.code), "{result:?}");
    assert!(!result.stdout.contains("every promise kept"), "{}", result.stdout);
}

#[test]
fn as_a_tree_and_as_a_vmlinux() {
    let tree = Tree::with(&[]);
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        text.replacen(
            "switch (mode) {",
            "if (mode || !mode)\n\t\treturn -EINVAL;\n\tswitch (mode) {",
            1,
        )
    });
    let result = run(sudbox_run(&[tree.argument()]));
    is_no_success(&result);
    assert_eq!(result.code, 1, "its source says that it has dispatch");
    let vmlinux = built_kernel_of(&result.json());
    is_no_success(&run(sudbox_run(&[&vmlinux])));
    is_no_success(&run(sudbox_run(&[&vmlinux, "--cases", "core"])));
}

/// The running kernel, with a seccomp filter that answers EINVAL in its place.
#[test]
fn as_the_running_kernel() {
    let mut command = sudbox_run(&["running"]);
    // SAFETY: the closure makes only system calls.
    unsafe {
        command.pre_exec(refuse_dispatch);
    }
    is_no_success(&run(command));
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
