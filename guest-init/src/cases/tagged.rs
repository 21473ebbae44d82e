// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selectors at tagged addresses. A tag is a set of address bits that some processors ignore.

use super::check_on;
use crate::case::{Case, Need, OnlyArchs, case_not_in_core};
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

const X86: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "other architectures ignore tags, have none, or have them by a processor extension that \
             sudbox's machines do not emulate",
};
const ARM: OnlyArchs = OnlyArchs {
    archs: &[Arch::Aarch64],
    reason: "other architectures refuse tags, have none, or have them by a processor extension that \
             sudbox's machines do not emulate",
};
const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";
const SET_FUNCTION: &str = "task_set_syscall_user_dispatch()";

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "tagged/refused",
        "a tagged selector is EFAULT in a process that has not enabled tags, and arms nothing",
        SET_FUNCTION,
        check_on!("x86_64", this_arch::tagged::refused_by_prctl),
    )
    .known_bugs(&["tagged-selector-accepted"])
    .only(X86),
    case_not_in_core(
        "tagged/refused-to-tracer",
        "a tracer cannot set a tagged selector in a process that has not enabled tags",
        SET_FUNCTION,
        check_on!("x86_64", this_arch::tagged::refused_to_tracer),
    )
    .features(&[Feature::Dispatch, Feature::PtraceConfig])
    .known_bugs(&["tagged-selector-accepted"])
    .only(X86),
    case_not_in_core(
        "tagged/obeyed",
        "a tagged selector is obeyed in a thread that has enabled tagged addresses in system calls",
        DISPATCH_FUNCTION,
        check_on!("aarch64", this_arch::tagged::obeyed),
    )
    .only(ARM),
    case_not_in_core(
        "tagged/kills-unasked",
        "in a thread that has not enabled tags a tagged selector is accepted, and kills when it is read",
        DISPATCH_FUNCTION,
        check_on!("aarch64", this_arch::tagged::kills_unasked),
    )
    .only(ARM),
    case_not_in_core(
        "tagged/set-by-tracer",
        "a tracer that has not enabled tags can set a tagged selector in a tracee that has, which obeys it",
        SET_FUNCTION,
        check_on!("aarch64", this_arch::tagged::set_by_tracer),
    )
    .features(&[Feature::Dispatch, Feature::PtraceConfig])
    .only(ARM),
    case_not_in_core(
        "tagged/memory-tag-checked",
        "a selector in tagged memory (MTE) is read through an address with the tag of the memory, and an \
         address with another tag kills",
        DISPATCH_FUNCTION,
        check_on!("aarch64", this_arch::tagged::memory_tag_checked),
    )
    .needs(&[Need::CpuFeature("mte")])
    .only(ARM),
];
