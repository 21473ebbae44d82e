// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use sudbox_report::diff::ObservationPlace;

fn difference(case: &str, scenario: &str, field: &str, values: [&str; 2]) -> RawDifference {
    RawDifference {
        place: ObservationPlace {
            case: case.into(),
            scenario: scenario.into(),
            step: String::new(),
        },
        field: field.into(),
        kernel_function: String::new(),
        values: values.map(str::to_owned),
    }
}

/// The release and the features of a kernel.
type Kernel<'a> = (&'a str, &'a [Feature]);

/// The commit that explains a difference between these kernels.
fn commit(difference: &RawDifference, sides: [Kernel<'_>; 2]) -> Option<&'static str> {
    let features = sides.map(|(_, features)| -> BTreeSet<String> {
        features.iter().map(ToString::to_string).collect()
    });
    let sides = [0, 1].map(|at| ComparedKernel { release: sides[at].0, features: &features[at] });
    explanation(difference, &sides, Arch::X86_64).map(|explanation| explanation.commit)
}

#[test]
fn a_change_explains_its_differences_in_either_order_and_no_others() {
    let (old, new): (Kernel<'_>, Kernel<'_>) =
        (("6.12.117", &[]), ("7.3.4", &[Feature::Inclusive, Feature::Sysctl]));
    let inclusive = ["prctl: EINVAL", "prctl: accepted"];
    let point = |code: &str| difference("grid/range", code, "observations", inclusive);
    assert_eq!(commit(&point("at-0002"), [old, new]), Some("a2fc422ed757"));
    assert_eq!(commit(&point("at-0002"), [new, old]), None, "the values are the wrong way round");
    assert_eq!(commit(&point("at-00"), [old, new]), None, "the mode is exclusive");
    assert_eq!(commit(&point("at-0002"), [new, new]), None, "both have the change");
    let result = difference("sysctl/absent", "", RESULT_FIELD, ["absent: sysctl", "pass"]);
    assert_eq!(commit(&result, [old, new]), Some("7.3"));
    let back = difference("sysctl/absent", "", RESULT_FIELD, ["pass", "absent: sysctl"]);
    assert_eq!(commit(&back, [new, old]), Some("7.3"));
    let frame = difference("compare/trap", "plain", "frame.si_code", ["0x2", "0x3"]);
    assert_eq!(commit(&frame, [old, new]), None);
}

#[test]
fn a_fixed_bug_explains_a_case_that_failed_as_recorded() {
    let got = "fail: result of the call that was held: 0x12";
    let case = |got| difference("seccomp/tsync-at-entry-stop", "", RESULT_FIELD, [got, "pass"]);
    let between = |first| [(first, [].as_slice()), ("6.12.117", [].as_slice())];
    assert_eq!(commit(&case(got), between("6.12.100")), Some("tsync-bypassed"));
    assert_eq!(commit(&case(got), between("6.12.112")), None, "it has the fix");
    assert_eq!(commit(&case("fail: something else"), between("6.12.100")), None);
}

#[test]
fn every_change_has_a_release_and_something_to_explain() {
    for change in CHANGES {
        assert!(!change.since.is_empty(), "{}", change.about);
        assert!(change.feature.is_some() || !change.value_changes.is_empty(), "{}", change.about);
        for sign in change.value_changes {
            let known =
                crate::selection::all_cases().any(|case| matches_pattern(sign.case, case.id));
            assert!(known, "{} matches no case", sign.case);
        }
    }
}
