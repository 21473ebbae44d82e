// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// An observation of one field with these parts.
fn observation(scenario: &str, field: &str, parts: &[(&str, &[u8])]) -> Observation {
    let part = |(name, bytes): &(&str, &[u8])| ObservedPart {
        name: (*name).to_owned(),
        bytes: bytes.to_vec(),
    };
    Observation {
        scenario: scenario.to_owned(),
        step: "handler 0".to_owned(),
        field: field.to_owned(),
        function: "trigger_sigsys()".to_owned(),
        parts: parts.iter().map(part).collect(),
    }
}

fn behaviour(release: &str, result: &str, observations: Vec<Observation>) -> Behaviour {
    let case =
        CaseBehaviour { result: result.to_owned(), observations, ..CaseBehaviour::default() };
    Behaviour {
        release: release.to_owned(),
        cases: [("compare/trap".to_owned(), case)].into(),
        ..Behaviour::default()
    }
}

/// The differences between two behaviours that nothing explains.
fn unexpected(first: &Behaviour, second: &Behaviour) -> Vec<Difference> {
    let kernels = [Kernel::default(), Kernel::default()];
    diff_of_behaviours([first, second], kernels, String::new(), |_| true, Arch::X86_64).unexpected
}

#[test]
fn a_changed_part_is_named_with_both_values_and_all_its_places() {
    let frame = |scenario, code: u8| {
        observation(
            scenario,
            "frame",
            &[("si_signo", &[31, 0, 0, 0]), ("si_code", &[code, 0, 0, 0])],
        )
    };
    let first = behaviour("7.3.4", "pass", vec![frame("plain", 2), frame("flags", 2)]);
    let second = behaviour("7.3.4", "pass", vec![frame("plain", 3), frame("flags", 3)]);
    assert!(unexpected(&first, &first).is_empty());
    let differences = unexpected(&first, &second);
    assert_eq!(differences.len(), 1, "{differences:?}");
    let difference = &differences[0];
    assert_eq!(difference.field, "frame.si_code");
    assert_eq!([&difference.first, &difference.second], ["0x2", "0x3"]);
    assert_eq!(difference.kernel_function, "trigger_sigsys()");
    let scenarios: Vec<&str> = difference.places.iter().map(|place| &*place.scenario).collect();
    assert_eq!(scenarios, ["plain", "flags"]);
}

#[test]
fn a_missing_step_is_one_difference_and_a_missing_field_another() {
    let whole = ["mask", "pending"].map(|field| observation("plain", field, &[("", &[0; 8])]));
    let all = behaviour("7.3.4", "pass", whole.to_vec());
    let none = behaviour("7.3.4", "pass", vec![]);
    let differences = unexpected(&all, &none);
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].field, "the step itself");
    assert_eq!([&differences[0].first, &differences[0].second], ["present", "missing"]);
    let less = behaviour("7.3.4", "pass", whole[..1].to_vec());
    assert_eq!(unexpected(&less, &all)[0].field, "pending");
}

#[test]
fn results_are_compared_and_a_case_that_did_not_run_has_no_other_difference() {
    let mask = || vec![observation("plain", "mask", &[("", &[0; 8])])];
    let ran = behaviour("7.3.4", "pass", mask());
    let absent = behaviour("7.3.4", "absent: seccomp-filter", vec![]);
    let differences = unexpected(&ran, &absent);
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].field, differences::RESULT_FIELD);
    assert_eq!(differences[0].second, "absent: seccomp-filter");
}

#[test]
fn parts_that_differ_between_two_boots_are_left_out_by_name() {
    let boot = |id: u8, result| {
        let parts: [(&str, &[u8]); 2] = [("si_code", &[2, 0, 0, 0]), ("si_pid", &[id, 0, 0, 0])];
        behaviour("7.3.4", result, vec![observation("plain", "frame", &parts)])
    };
    let agreed = Behaviour::common_to_both(boot(1, "pass"), boot(2, "pass"));
    let case = &agreed.cases["compare/trap"];
    let unstable: Vec<&str> = case.unstable_parts.iter().map(|name| &*name.part).collect();
    assert_eq!(unstable, ["si_pid"]);
    assert_eq!(case.observations[0].parts.len(), 1);
    // A kernel on which the part happens to be stable.
    let lucky = Behaviour::common_to_both(boot(7, "pass"), boot(7, "pass"));
    assert!(unexpected(&agreed, &lucky).is_empty());
    assert!(unexpected(&lucky, &agreed).is_empty());
    let unsteady = Behaviour::common_to_both(boot(1, "pass"), boot(1, "fail: x"));
    assert!(unsteady.cases["compare/trap"].is_result_unstable());
    let kernels = [Kernel::default(), Kernel::default()];
    let diff =
        diff_of_behaviours([&agreed, &unsteady], kernels, String::new(), |_| true, Arch::X86_64);
    assert!(diff.unexpected.is_empty());
    let fields: Vec<&str> = diff.unstable_parts.iter().map(|part| &*part.field).collect();
    assert_eq!(fields, ["frame.si_pid", "result"]);
}

#[test]
fn values_are_shown_as_numbers_texts_or_the_bytes_that_differ() {
    let of = |first: &[u8], second: &[u8]| {
        let one = |bytes| behaviour("7.3.4", "pass", vec![observation("x", "f", &[("", bytes)])]);
        let found = unexpected(&one(first), &one(second)).remove(0);
        (found.field, found.first, found.second)
    };
    let owned = |field: &str, first: &str, second: &str| {
        (field.to_owned(), first.to_owned(), second.to_owned())
    };
    assert_eq!(of(&[1, 2], &[3, 4]), owned("f", "0x201", "0x403"));
    assert_eq!(of(&[0; 3], &[0; 5]), owned("f", "3 bytes", "5 bytes"));
    assert_eq!(
        of(b"\x01\x02\x03\x04\x05", b"\x01\xff\x03\xff\x05"),
        owned("f+0x1", "020304", "ff03ff")
    );
    assert_eq!(of(b"a; b; c", b"a; x; y"), owned("f", "b", "x"));
    assert_eq!(of(b":\t0022", b":\t0077"), owned("f", "0022", "0077"));
}
