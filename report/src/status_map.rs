// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translates outcomes into the test results of KTAP, JUnit and KCIDB.
//!
//! A fault of the machine becomes an error or a skip, never a failed test. A fault of the kernel becomes a
//! failed test, even if the fault crashed the kernel.

use crate::judgement::is_unselected_boot_failure;
use crate::{CaseReport, Outcome, Verdict};

/// The child element of a JUnit test case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JunitElement {
    /// No child element.
    NoElement,
    /// `<failure>`
    Failure,
    /// `<error>`
    Error,
    /// `<skipped>`
    Skipped,
}

/// The results for one outcome in the three formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatStatus {
    /// KTAP: `ok` or `not ok`.
    pub ktap_ok: bool,
    /// KTAP: the directive after the hash sign (`Documentation/dev-tools/ktap.rst`).
    pub ktap_directive: Option<&'static str>,
    /// JUnit: the element.
    pub junit: JunitElement,
    /// KCIDB: the status of the test (`FAIL ERROR MISS PASS DONE SKIP`).
    pub kcidb: &'static str,
}

/// The status of a kernel that cannot be judged: an error, because no test was run.
pub const NOT_JUDGED: FormatStatus = FormatStatus {
    ktap_ok: false,
    ktap_directive: Some("ERROR"),
    junit: JunitElement::Error,
    kcidb: "MISS",
};

/// The status for an outcome.
#[must_use]
pub const fn status_of_outcome(outcome: Outcome) -> FormatStatus {
    let (ktap_ok, ktap_directive, junit, kcidb) = match outcome {
        Outcome::Crash | Outcome::Fail | Outcome::Changed => {
            (false, None, JunitElement::Failure, "FAIL")
        }
        Outcome::Hang => (false, Some("TIMEOUT"), JunitElement::Failure, "FAIL"),
        Outcome::Fixed | Outcome::Pass => (true, None, JunitElement::NoElement, "PASS"),
        Outcome::Unmet | Outcome::Absent => (true, Some("SKIP"), JunitElement::Skipped, "SKIP"),
        // XFAIL as printed by ksft_test_result_xfail(). KCIDB has no expected failures; there a known bug
        // is a failure that is linked to an issue.
        Outcome::Known => (true, Some("XFAIL"), JunitElement::Skipped, "FAIL"),
    };
    FormatStatus { ktap_ok, ktap_directive, junit, kcidb }
}

/// The status of a case in a verdict: the status of its outcome, or [`NOT_JUDGED`] for a failed boot case
/// that was not selected.
#[must_use]
pub fn status_of_case(case: &CaseReport, verdict: &Verdict) -> FormatStatus {
    if is_unselected_boot_failure(case, verdict) {
        NOT_JUDGED
    } else {
        status_of_outcome(case.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_the_kernel_is_a_failed_test() {
        for outcome in Outcome::ALL {
            let status = status_of_outcome(outcome);
            assert_eq!(status.junit == JunitElement::Failure, outcome.is_failure(), "{outcome:?}");
            assert_eq!(status.ktap_ok, !outcome.is_failure(), "{outcome:?}");
            assert!(["FAIL", "PASS", "SKIP"].contains(&status.kcidb), "{outcome:?}");
        }
        assert_ne!(NOT_JUDGED.junit, JunitElement::Failure);
        assert_ne!(NOT_JUDGED.kcidb, "FAIL");
    }

    #[test]
    fn skips_agree_between_the_forms() {
        for outcome in [Outcome::Unmet, Outcome::Absent] {
            let status = status_of_outcome(outcome);
            assert_eq!(status.ktap_directive, Some("SKIP"));
            assert_eq!((status.junit, status.kcidb), (JunitElement::Skipped, "SKIP"));
        }
    }
}
