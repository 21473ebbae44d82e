// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of changes: the differences in behaviour that a known change of the kernel explains, by
//! commit and release.
//!
//! A change explains a difference only if exactly one of the two kernels has the change, and only if
//! both values are as the table says. The fixes of recorded bugs (`known_bugs.rs`) are changes too.

use super::differences::{FEATURE_FIELD, MISSING, PRESENT, RESULT_FIELD, RawDifference};
use crate::known_bugs::{KNOWN_BUGS, KnownBug, Presence, matches_pattern};
use crate::version::Version;
use std::collections::BTreeSet;
use sudbox_guest_init::grid::dimension::{Arming, Axis, Mode, Point};
use sudbox_protocol::{Arch, Feature};

/// A change of the kernel that user space can observe.
struct Change {
    /// The commit in Linus' tree; the release if the change has several commits.
    commit: &'static str,
    /// The change in words.
    about: &'static str,
    /// The releases with the change: the mainline release, whose last number is 0, and one of each
    /// stable series with a backport. Not used if there is a feature.
    since: &'static [Version],
    /// The feature that came with the change. A guest that finds it has the change.
    feature: Option<Feature>,
    /// The values that the change makes different, besides the presence of the feature.
    value_changes: &'static [ExpectedValueChange],
}

/// A value that a change makes different, in some cases. In patterns, `*` matches any text.
struct ExpectedValueChange {
    /// Pattern for the id of the case.
    case: &'static str,
    /// The field.
    field: &'static str,
    /// The state that a point of the grid has; `None` if the case is not a product of the grid.
    state: Option<(Axis, u8)>,
    /// Patterns for the values before and after the change.
    values: [&'static str; 2],
}

const fn value_change(
    case: &'static str,
    field: &'static str,
    values: [&'static str; 2],
) -> ExpectedValueChange {
    ExpectedValueChange { case, field, state: None, values }
}

/// A value change in the first observation of points of the grid with this state.
const fn grid_value_change(
    axis: Axis,
    state: u8,
    values: [&'static str; 2],
) -> ExpectedValueChange {
    ExpectedValueChange {
        state: Some((axis, state)),
        ..value_change("grid/*", "observations", values)
    }
}

const INCLUSIVE_MODE: u8 = Mode::Inclusive as u8;
const ARMED_BY_TRACER: u8 = Arming::Tracer as u8;

const CHANGES: &[Change] = &[
    Change {
        commit: "6.3",
        about: "the rseq area may be longer than the original one: the auxiliary vector has its size \
                and alignment, and a tracer reads no size before it is registered",
        since: &[Version(6, 3, 0)],
        feature: None,
        value_changes: &[
            value_change("compare/*", "core's NT_AUXV.AT_RSEQ_FEATURE_SIZE", [MISSING, PRESENT]),
            value_change("compare/*", "core's NT_AUXV.AT_RSEQ_ALIGN", [MISSING, PRESENT]),
            value_change("*", "rseq+0x8", ["20", "00"]),
        ],
    },
    Change {
        commit: "6.4",
        about: "PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG and its GET",
        since: &[Version(6, 4, 0)],
        feature: Some(Feature::PtraceConfig),
        value_changes: &[
            grid_value_change(
                Axis::Arming,
                ARMED_BY_TRACER,
                ["setting by the tracer: *", "setting by the tracer: *"],
            ),
            // Before the change, the value is the text of an error, without parts.
            value_change("*", "dispatch.mode", ["3 bytes", "8 bytes"]),
            value_change("*", "dispatch.selector", [MISSING, PRESENT]),
            value_change("*", "dispatch.offset", [MISSING, PRESENT]),
            value_change("*", "dispatch.length", [MISSING, PRESENT]),
        ],
    },
    Change {
        commit: "6.4",
        about: "linear address masking: /proc/PID/status has untag_mask",
        since: &[Version(6, 4, 0)],
        feature: None,
        value_changes: &[value_change("*", "untag_mask", [MISSING, PRESENT])],
    },
    Change {
        commit: "6.7",
        about: "the boot argument ia32_emulation",
        since: &[Version(6, 7, 0)],
        feature: None,
        value_changes: &[value_change(
            "entries/int80-refused",
            RESULT_FIELD,
            ["unmet: a kernel without int 0x80 (ia32_emulation=off)", "pass"],
        )],
    },
    Change {
        commit: "6.12",
        about: "the return from a 32-bit handler keeps a null selector in FS and GS as it is: \
                fixup_rpl() in arch/x86/kernel/signal_32.c (not in 6.1)",
        since: &[Version(6, 12, 0)],
        feature: None,
        value_changes: &[
            value_change("compare/frame-32", "segments.fs", ["0x3", "0x0"]),
            value_change("compare/frame-32", "segments.gs", ["0x3", "0x0"]),
            value_change("compare/frame-32", "frame.fs", ["0x3", "0x0"]),
            value_change("compare/frame-32", "frame.gs", ["0x3", "0x0"]),
        ],
    },
    Change {
        commit: "ba386777a30b",
        about: "core dumps have a note with the layout of the XSAVE area (6.12)",
        since: &[Version(6, 12, 0)],
        feature: None,
        value_changes: &[value_change(
            "compare/*",
            "core's NT_X86_XSAVE_LAYOUT",
            [MISSING, PRESENT],
        )],
    },
    Change {
        commit: "26bb32768fe6",
        about: "PTRACE_SET_SYSCALL_INFO (6.16)",
        since: &[Version(6, 16, 0)],
        feature: Some(Feature::PtraceSetCallInfo),
        value_changes: &[],
    },
    Change {
        commit: "a2fc422ed757",
        about: "inclusive mode, PR_SYS_DISPATCH_INCLUSIVE_ON (6.17)",
        since: &[Version(6, 17, 0)],
        feature: Some(Feature::Inclusive),
        value_changes: &[
            grid_value_change(Axis::Mode, INCLUSIVE_MODE, ["prctl: EINVAL", "prctl: *"]),
            grid_value_change(
                Axis::Mode,
                INCLUSIVE_MODE,
                ["setting by the tracer: EINVAL", "setting by the tracer: *"],
            ),
        ],
    },
    Change {
        commit: "6.19",
        about: "checks of rseq(2) are a boot argument, without CONFIG_DEBUG_RSEQ",
        since: &[Version(6, 19, 0)],
        // A guest does not report this feature in `Hello`; only a case can detect it.
        feature: None,
        value_changes: &[value_change("rseq/*", RESULT_FIELD, ["unmet: rseq-checks", "pass"])],
    },
    Change {
        commit: "7.0",
        about: "the rseq area is longer and has slices, for threads that ask for a longer time",
        since: &[Version(7, 0, 0)],
        feature: Some(Feature::RseqSlices),
        value_changes: &[
            value_change("compare/*", "core's NT_AUXV.AT_RSEQ_FEATURE_SIZE", ["0x1c", "0x21"]),
            value_change("compare/*", "core's NT_AUXV.AT_RSEQ_ALIGN", ["0x20", "0x40"]),
        ],
    },
    Change {
        commit: "7.3",
        about: "the sysctl kernel.syscall_user_dispatch denies arming",
        since: &[Version(7, 3, 0)],
        feature: Some(Feature::Sysctl),
        value_changes: &[],
    },
    Change {
        commit: "05c033db7e9a",
        about: "the entry code of x86-64 tells by a bool, not by the number -1, whether a call is \
                skipped, and leaves the result of an unknown number as it is (7.3)",
        since: &[Version(7, 3, 0)],
        feature: None,
        value_changes: &[value_change(
            "ptrace/number-replaced",
            "result",
            ["0xffffffffffffffda or -38", "0x5eed or *"],
        )],
    },
    Change {
        commit: "uprobe-dispatched",
        about: "probes of a nop are entered by a system call too, which is dispatched (6.18)",
        since: &[Version(6, 18, 0)],
        feature: None,
        value_changes: &[value_change(
            "uprobes/return-probe-unseen",
            RESULT_FIELD,
            ["fail: SIGSYS handled: 3", "fail: SIGSYS handled: 6"],
        )],
    },
];

/// A kernel of a comparison.
pub(super) struct ComparedKernel<'a> {
    /// `uname -r`.
    pub(super) release: &'a str,
    /// The names of the features that a guest of the kernel reported.
    pub(super) features: &'a BTreeSet<String>,
}

impl ComparedKernel<'_> {
    fn version(&self) -> Option<Version> {
        Version::parse(self.release)
    }

    fn has_change(&self, change: &Change) -> bool {
        if let Some(feature) = change.feature {
            return self.features.contains(feature.as_str());
        }
        let includes = |version: Version, since: &Version| {
            version >= *since && (since.is_mainline() || since.is_same_series(version))
        };
        self.version()
            .is_some_and(|version| change.since.iter().any(|since| includes(version, since)))
    }
}

/// An explanation of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Explanation {
    /// The commit, release or recorded bug.
    pub(crate) commit: &'static str,
    /// The change in words.
    pub(crate) about: &'static str,
}

/// The change that explains a difference between two kernels, if there is one.
pub(super) fn explanation(
    difference: &RawDifference,
    sides: &[ComparedKernel<'_>; 2],
    arch: Arch,
) -> Option<Explanation> {
    let change =
        CHANGES.iter().find(|change| match sides.each_ref().map(|side| side.has_change(change)) {
            [false, true] => change.explains(difference, [0, 1]),
            [true, false] => change.explains(difference, [1, 0]),
            _ => false,
        });
    change
        .map(|change| Explanation { commit: change.commit, about: change.about })
        .or_else(|| known_bug_explanation(difference, sides, arch))
}

impl Change {
    /// Whether the change makes this difference. `order` has the indices of the kernel without the
    /// change and of the kernel with it.
    fn explains(&self, difference: &RawDifference, order: [usize; 2]) -> bool {
        let [before, after] = order.map(|index| difference.values[index].as_str());
        if let Some(feature) = self.feature {
            let field = difference.field.strip_prefix(FEATURE_FIELD).map(str::trim_start);
            if field == Some(feature.as_str()) && before == MISSING {
                return true;
            }
            let absent = before.strip_prefix("absent: ");
            if difference.field == RESULT_FIELD && absent == Some(feature.as_str()) {
                return true;
            }
        }
        self.value_changes.iter().any(|sign| {
            let has_state = sign.state.is_none_or(|(axis, state)| {
                let code = difference.place.scenario.strip_prefix("at-");
                code.and_then(Point::parse).is_some_and(|point| point.0[axis as usize] == state)
            });
            has_state
                && matches_pattern(sign.case, &difference.place.case)
                && difference.field == sign.field
                && matches_pattern(sign.values[0], before)
                && matches_pattern(sign.values[1], after)
        })
    }
}

/// The recorded bug that one of the kernels has, or may have, and that explains why a case failed on it.
fn known_bug_explanation(
    difference: &RawDifference,
    sides: &[ComparedKernel<'_>; 2],
    arch: Arch,
) -> Option<Explanation> {
    if difference.field != RESULT_FIELD {
        return None;
    }
    let failed = |index: usize| difference.values[index].strip_prefix("fail: ");
    let explains = |bug: &&KnownBug, failing: usize| {
        let presence =
            |index: usize| sides[index].version().and_then(|version| bug.presence(arch, version));
        failed(failing).is_some_and(|got| bug.matches_failure(&difference.place.case, got))
            && presence(failing).is_some()
            && presence(1 - failing) != Some(Presence::Certain)
    };
    let bug = KNOWN_BUGS.iter().find(|bug| explains(bug, 0) || explains(bug, 1))?;
    Some(Explanation { commit: bug.id, about: bug.citation })
}

#[cfg(test)]
mod tests;
