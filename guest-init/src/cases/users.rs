// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch as real programs use it: Wine, and a binary rewriter of system calls.

use super::check_on;
use crate::case::{Case, Need, OnlyArchs, case_not_in_core};
use sudbox_protocol::Arch;

const X86: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "Wine and the rewriter are imitated in machine code of x86-64",
};

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "users/wine",
        "a program can emulate Windows calls as Wine does, with the selector in the TEB, a handler that \
         continues at a dispatcher on another stack, and calls that switch between two thread pointers",
        "syscall_user_dispatch()",
        check_on!("x86_64", this_arch::users::wine),
    )
    .only(X86),
    case_not_in_core(
        "users/rewriter",
        "a program without an allowed range can rewrite each system call instruction at its first dispatch, \
         and return from its handler with ALLOW",
        "syscall_user_dispatch()",
        check_on!("x86_64", this_arch::users::rewriter),
    )
    .needs(&[Need::Root])
    .only(X86),
];
