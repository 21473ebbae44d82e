// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch as real programs use it: Wine, and a binary rewriter of system calls.

use super::check_on;
use crate::case::{Case, Need, OnlyArchs, outside_core};
use sudbox_protocol::Arch;

const X86: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "the programs that it imitates are machine code of x86-64",
};

pub(super) const CASES: &[Case] = &[
    outside_core(
        "users/wine",
        "threads can emulate Windows calls as Wine does: the selector is in the TEB, the handler continues \
         in a dispatcher on another stack, and calls switch between two thread pointers",
        "syscall_user_dispatch()",
        check_on!("x86_64", users::wine),
    )
    .only(X86),
    outside_core(
        "users/rewriter",
        "a program can rewrite each system call when it is first dispatched, without an allowed range, and \
         return from its handler with ALLOW",
        "syscall_user_dispatch()",
        check_on!("x86_64", users::rewriter),
    )
    .needs(&[Need::Root])
    .only(X86),
];
