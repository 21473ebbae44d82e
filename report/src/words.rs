//! The one table from our outcomes to the words of KTAP, JUnit and KCIDB.
//!
//! What is the machine's fault is an error or a skip there, never a failed test; what is the
//! kernel's fault is a failed test, also when it took the kernel down with it.

use crate::judgement::is_unasked_boot_failure;
use crate::{CaseReport, Options, Outcome};

/// What JUnit says of a test case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Junit {
    /// No child element.
    Success,
    /// `<failure>`
    Failure,
    /// `<error>`
    Error,
    /// `<skipped>`
    Skipped,
}

/// One outcome in the words of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// KTAP: `ok` or `not ok`.
    pub ktap_ok: bool,
    /// KTAP: the directive after the hash sign, of those in `Documentation/dev-tools/ktap.rst`.
    pub ktap_directive: Option<&'static str>,
    /// JUnit: the element.
    pub junit: Junit,
    /// KCIDB: the status of the test (`FAIL ERROR MISS PASS DONE SKIP`).
    pub kcidb: &'static str,
}

/// For a kernel that cannot be judged: no test of it failed, none was done.
pub const NOT_JUDGED: Words =
    Words { ktap_ok: false, ktap_directive: Some("ERROR"), junit: Junit::Error, kcidb: "MISS" };

/// The words for an outcome.
#[must_use]
pub const fn of(outcome: Outcome) -> Words {
    let (ktap_ok, ktap_directive, junit, kcidb) = match outcome {
        Outcome::Crash | Outcome::Fail => (false, None, Junit::Failure, "FAIL"),
        Outcome::Hang => (false, Some("TIMEOUT"), Junit::Failure, "FAIL"),
        Outcome::Fixed | Outcome::Pass => (true, None, Junit::Success, "PASS"),
        Outcome::Unmet | Outcome::Absent => (true, Some("SKIP"), Junit::Skipped, "SKIP"),
        // `ok` with XFAIL is how ksft_test_result_xfail() says it. KCIDB has no such word: there a
        // known bug is a failure that somebody ties to an issue.
        Outcome::Known => (true, Some("XFAIL"), Junit::Skipped, "FAIL"),
    };
    Words { ktap_ok, ktap_directive, junit, kcidb }
}

/// The words for a case: those for its outcome, unless it is the boot case of a kernel that does
/// not boot and nobody asked for it.
#[must_use]
pub fn of_case(case: &CaseReport, options: Options) -> Words {
    if is_unasked_boot_failure(case, options.boot_selected) { NOT_JUDGED } else { of(case.outcome) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_fault_is_a_failed_test() {
        for outcome in Outcome::ALL {
            let words = of(outcome);
            assert_eq!(words.junit == Junit::Failure, outcome.is_failure(), "{outcome:?}");
            assert_eq!(words.ktap_ok, !outcome.is_failure(), "{outcome:?}");
            assert!(["FAIL", "PASS", "SKIP"].contains(&words.kcidb), "{outcome:?}");
        }
        assert_ne!(NOT_JUDGED.junit, Junit::Failure);
        assert_ne!(NOT_JUDGED.kcidb, "FAIL");
    }

    #[test]
    fn skips_agree_between_the_forms() {
        for outcome in [Outcome::Unmet, Outcome::Absent] {
            let words = of(outcome);
            assert_eq!(words.ktap_directive, Some("SKIP"));
            assert_eq!((words.junit, words.kcidb), (Junit::Skipped, "SKIP"));
        }
    }
}
