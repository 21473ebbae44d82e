// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::event::{Event, EventKind};
use super::generate::sequence;
use super::listing::listing;
use super::model::{predict, predict_matching};
use super::operations::{
    Arguments, Call, CallSite, Filter, FilterAction, NamedRange, NewTask, Operation, Program,
    ProgramLayout, Selector, Step, renumber,
};
use super::shrink::shrink;
use super::{Difference, Platform, first_difference};
use std::collections::BTreeSet;

mod side_by_side;

const ALL: Platform = Platform::ALL;

fn program_layout() -> ProgramLayout {
    ProgramLayout {
        inside: 0x1000..0x2000,
        compared_addresses: [0x1002, 0x3002, 0x3102, 0x3202, 0x3302],
        abort_address: 0x3010,
        selectors: [0x5000, 0x5001],
        unmapped_address: 0x10,
        kernel_address: crate::arch::KERNEL_ADDRESS,
        program_files: [3, 4],
        empty_path: 0x6000,
    }
}

fn step(operation: Operation) -> Step {
    Step { number: 0, operation }
}

fn call(site: CallSite, call: Call) -> Step {
    step(Operation::Call { site, call, handler: vec![], reissues: false, is_in_section: false })
}

fn arm(mode: u64, range: NamedRange, selector: Selector) -> Step {
    call(CallSite::Inside, Call::Prctl(Arguments { mode, range, selector }))
}

fn set_selector(value: u8) -> Step {
    step(Operation::Flip { byte: 0, value })
}

/// The kinds of all predicted events.
fn predicted(mut steps: Vec<Step>, platform: Platform) -> Vec<EventKind> {
    renumber(&mut steps, 1);
    predict(&steps, &program_layout(), platform).into_iter().map(|event| event.kind).collect()
}

fn returned(result: i64) -> EventKind {
    EventKind::Returned { result: result.cast_unsigned(), others_preserved: true }
}

/// A dispatched umask(2): number 95 on x86-64, where the number register is also the result register.
fn dispatched(call_address: u64) -> EventKind {
    let (number, result) = (95, 95);
    let arch = crate::arch::AUDIT_ARCH;
    EventKind::SigsysHandled {
        number,
        code: 2,
        errno: 0,
        arch,
        call_address,
        result,
        continues_at: call_address,
        is_disturbed: false,
    }
}

const A: Selector = Selector::Byte(0);
const UMASK: Call = Call::Umask(0o77);

#[test]
fn a_blocked_call_is_dispatched_and_has_no_effect() {
    let steps = vec![
        arm(1, NamedRange::Inside, A),
        set_selector(1),
        call(CallSite::FirstGate, UMASK),
        set_selector(0),
        call(CallSite::FirstGate, UMASK),
    ];
    let expected = [
        returned(0),
        dispatched(0x3002),
        returned(95),
        returned(0o22),
        EventKind::FinalUmask(0o77),
        EventKind::Exited(0),
    ];
    assert_eq!(predicted(steps, ALL), expected);
}

#[test]
fn ranges_contain_the_address_after_the_instruction() {
    let passes = |mode, range| {
        let steps = vec![arm(mode, range, Selector::Null), call(CallSite::FirstGate, UMASK)];
        !matches!(predicted(steps, ALL)[1], EventKind::SigsysHandled { .. })
    };
    assert!(!passes(1, NamedRange::Inside) && !passes(1, NamedRange::BeforeFirst));
    assert!(passes(1, NamedRange::ThroughFirst) && passes(1, NamedRange::Everything));
    assert!(!passes(2, NamedRange::First) && !passes(2, NamedRange::Both));
    assert!(passes(2, NamedRange::Instruction) && passes(2, NamedRange::Second));
}

#[test]
fn the_range_of_an_instruction_is_as_long_as_the_instruction() {
    let (offset, length) = program_layout().range(NamedRange::Instruction);
    assert_eq!(length, crate::arch::CALL_LENGTH);
    assert_eq!(offset + length, program_layout().compared_address(CallSite::FirstGate));
}

#[test]
fn wrong_arguments_give_their_errors_and_leave_the_task_armed() {
    for (mode, range, selector, errno) in [
        (0, NamedRange::Inside, Selector::Null, libc::EINVAL),
        (0, NamedRange::Nothing, A, libc::EINVAL),
        (1, NamedRange::Empty, A, libc::EINVAL),
        (1, NamedRange::Wrapping, Selector::Kernel, libc::EINVAL),
        (1, NamedRange::Inside, Selector::Kernel, libc::EFAULT),
        (2, NamedRange::Nothing, A, libc::EINVAL),
        (2, NamedRange::First, Selector::Kernel, libc::EFAULT),
        (3, NamedRange::First, A, libc::EINVAL),
    ] {
        let steps = vec![
            arm(1, NamedRange::Inside, Selector::Null),
            arm(mode, range, selector),
            call(CallSite::FirstGate, UMASK),
        ];
        assert_eq!(predicted(steps, ALL)[1..3], [returned(-i64::from(errno)), dispatched(0x3002)]);
    }
    let without_inclusive = Platform { has_inclusive_mode: false, ..ALL };
    let refused = predicted(vec![arm(2, NamedRange::First, Selector::Kernel)], without_inclusive);
    assert_eq!(refused[0], returned(-i64::from(libc::EINVAL)));
}

#[test]
fn a_bad_selector_kills() {
    for (selector, value, signal) in
        [(A, 2, libc::SIGSYS), (A, 255, libc::SIGSYS), (Selector::Unmapped, 0, libc::SIGSEGV)]
    {
        let steps = vec![
            arm(1, NamedRange::Inside, selector),
            set_selector(value),
            call(CallSite::FirstGate, UMASK),
        ];
        assert_eq!(predicted(steps, ALL), [returned(0), EventKind::Killed(signal)]);
    }
}

#[test]
fn a_new_task_is_not_armed() {
    for new_task in [NewTask::Fork, NewTask::Vfork, NewTask::Thread] {
        let body = vec![call(CallSite::FirstGate, UMASK)];
        let steps = vec![
            arm(1, NamedRange::Inside, Selector::Null),
            step(Operation::StartTask(new_task, body)),
            call(CallSite::FirstGate, UMASK),
        ];
        let kinds = predicted(steps, ALL);
        assert_eq!(kinds[1], returned(0o22), "{new_task:?}");
        assert!(kinds.contains(&dispatched(0x3002)), "{new_task:?}");
    }
}

#[test]
fn dispatches_nest_only_with_nodefer() {
    use super::operations::Disposition;
    let nested = |disposition| {
        let handler = vec![call(CallSite::SecondGate, UMASK)];
        let steps = vec![
            step(Operation::SetDisposition(disposition)),
            arm(1, NamedRange::Inside, Selector::Null),
            step(Operation::Call {
                site: CallSite::FirstGate,
                call: UMASK,
                handler,
                reissues: false,
                is_in_section: false,
            }),
            call(CallSite::FirstGate, UMASK),
        ];
        predicted(steps, ALL)
    };
    assert_eq!(
        nested(Disposition::Handler),
        [returned(0), dispatched(0x3002), EventKind::Killed(libc::SIGSYS)]
    );
    assert_eq!(nested(Disposition::ResetHand)[2], EventKind::Killed(libc::SIGSYS));
    assert_eq!(nested(Disposition::Default)[1], EventKind::Killed(libc::SIGSYS));
    assert_eq!(nested(Disposition::NoDefer)[2..4], [dispatched(0x3102), returned(95)]);
}

fn filter(site: CallSite, action: FilterAction, for_all_threads: bool) -> Step {
    step(Operation::InstallFilter { filter: Filter { site, action }, for_all_threads })
}

#[test]
fn of_several_filters_the_most_severe_counts_and_then_the_newest() {
    use FilterAction::{Errno, Kill, Trap};
    let install = |action| filter(CallSite::FirstGate, action, false);
    let umask = || call(CallSite::FirstGate, UMASK);
    let steps = vec![
        install(Errno(5)),
        umask(),
        install(Errno(6)),
        umask(),
        install(Trap(9)),
        umask(),
        install(Errno(7)),
        umask(),
        call(CallSite::SecondGate, UMASK),
        install(Kill),
        umask(),
    ];
    let kinds = predicted(steps, ALL);
    let (accepted, end) = (returned(0), EventKind::Killed(libc::SIGSYS));
    assert_eq!(kinds[..4], [accepted, returned(-5), accepted, returned(-6)]);
    let EventKind::SigsysHandled { code: 1, errno: 9, number: 95, .. } = kinds[5] else {
        panic!("{:?}", kinds[5])
    };
    assert_eq!((kinds[6], kinds[7]), (returned(95), accepted));
    assert!(matches!(kinds[8], EventKind::SigsysHandled { code: 1, errno: 9, .. }));
    assert_eq!(kinds[10..], [returned(0o22), accepted, end]);
}

#[test]
fn a_dispatch_comes_before_the_filters() {
    let steps = vec![
        filter(CallSite::FirstGate, FilterAction::Kill, false),
        arm(1, NamedRange::Inside, Selector::Null),
        call(CallSite::FirstGate, UMASK),
    ];
    assert_eq!(predicted(steps, ALL)[2..4], [dispatched(0x3002), returned(95)]);
}

#[test]
fn a_filter_reaches_later_tasks_and_with_tsync_earlier_threads() {
    let errno = FilterAction::Errno(5);
    for (for_all_threads, after) in [(false, returned(0o22)), (true, returned(-5))] {
        let body = vec![
            filter(CallSite::FirstGate, errno, for_all_threads),
            step(Operation::StartTask(NewTask::Fork, vec![call(CallSite::FirstGate, UMASK)])),
        ];
        let steps = vec![
            step(Operation::StartTask(NewTask::Thread, body)),
            call(CallSite::FirstGate, UMASK),
        ];
        let kinds = predicted(steps, ALL);
        assert_eq!(kinds[1], returned(-5), "the child of the thread");
        assert_eq!(kinds[4], after);
    }
}

#[test]
fn an_exec_ends_the_process_and_a_failed_one_leaves_dispatch_unchanged() {
    let exec = |program| call(CallSite::Inside, Call::Exec(program));
    let steps = vec![
        arm(1, NamedRange::Inside, Selector::Null),
        exec(Program::NoFormat),
        exec(Program::UnreadableArguments),
        call(CallSite::FirstGate, UMASK),
        exec(Program::Valid),
        call(CallSite::FirstGate, UMASK),
    ];
    let failed = |errno: i32| returned(i64::from(-errno));
    let expected = [
        returned(0),
        failed(libc::ENOEXEC),
        failed(libc::EFAULT),
        dispatched(0x3002),
        returned(95),
        EventKind::Exited(77),
    ];
    assert_eq!(predicted(steps, ALL), expected);
}

#[test]
fn only_a_tracee_that_was_not_seized_stops_at_its_exec() {
    for (is_seized, stops) in [(false, true), (true, false)] {
        let body = vec![call(CallSite::Inside, Call::Exec(Program::Valid))];
        let traced = NewTask::Traced { stops_at_calls: false, is_seized };
        let kinds = predicted(vec![step(Operation::StartTask(traced, body))], ALL);
        assert_eq!(kinds.contains(&EventKind::Stopped(libc::SIGTRAP)), stops);
        assert_eq!(kinds[kinds.len() - 3], EventKind::Exited(77));
    }
}

#[test]
fn a_dispatch_aborts_the_critical_section() {
    let operation = Operation::Call {
        site: CallSite::FirstGate,
        call: UMASK,
        handler: Vec::new(),
        reissues: true,
        is_in_section: true,
    };
    let steps = vec![arm(1, NamedRange::Inside, Selector::Null), step(operation)];
    let continuations = |platform| -> Vec<u64> {
        let events = predicted(steps.clone(), platform).into_iter();
        events
            .filter_map(|kind| match kind {
                EventKind::SigsysHandled { continues_at, .. } => Some(continues_at),
                _ => None,
            })
            .collect()
    };
    assert_eq!(continuations(ALL), [program_layout().abort_address, 0x3002]);
    assert_eq!(continuations(Platform { has_sections: false, ..ALL }), [0x3002, 0x3002]);
}

#[test]
fn an_unaborted_section_is_allowed_after_a_context_switch_and_on_releases_with_the_bug() {
    let event = |continues_at, is_disturbed| {
        let EventKind::SigsysHandled { number, code, errno, arch, call_address, result, .. } =
            dispatched(0x3002)
        else {
            unreachable!("a dispatch")
        };
        let kind = EventKind::SigsysHandled {
            number,
            code,
            errno,
            arch,
            call_address,
            result,
            continues_at,
            is_disturbed,
        };
        Event { step: 1, kind }
    };
    let expected = event(0x3010, false);
    assert!(expected.allows(&event(0x3010, false), (6, 12)));
    assert!(!expected.allows(&event(0x3002, false), (6, 12)));
    assert!(expected.allows(&event(0x3002, true), (6, 12)));
    assert!(expected.allows(&event(0x3002, false), (6, 19)));
    assert!(!expected.allows(&event(0x3000, true), (6, 19)));
    assert!(!event(0x3002, false).allows(&event(0x3010, true), (6, 12)));
}

#[test]
fn a_seed_determines_the_sequence() {
    assert_eq!(sequence(7, ALL), sequence(7, ALL));
    assert_ne!(sequence(7, ALL), sequence(8, ALL));
}

/// An operation that occurs in few sequences would rarely be tested.
#[test]
fn five_hundred_sequences_cause_every_kind_of_event() {
    let mut kinds = BTreeSet::new();
    let mut max_events = 0;
    for seed in 0..500 {
        let events = predict(&sequence(seed, ALL), &program_layout(), ALL);
        max_events = max_events.max(events.len());
        for Event { step, kind } in events {
            kinds.insert(match kind {
                EventKind::SigsysHandled { code: 1, .. } => "trapped".into(),
                EventKind::SigsysHandled { call_address, continues_at, .. }
                    if continues_at != call_address =>
                {
                    "aborted".into()
                }
                EventKind::SigsysHandled { number, arch, call_address, .. } => {
                    let site = program_layout().address_name(call_address);
                    format!("dispatched {number} {arch:#x} {site}")
                }
                EventKind::Returned { result, .. } if result.cast_signed() < 0 => {
                    format!("gives {}", result.cast_signed())
                }
                EventKind::Returned { .. } => "gives".into(),
                EventKind::ConfigRead(config) => format!("reads {}", config.mode),
                EventKind::FinalUmask(_) => "mask".into(),
                EventKind::Killed(signal) => format!("{} by {signal}", step == 0),
                other => format!("{other:?}"),
            });
        }
    }
    for expected in [
        "dispatched 95 0xc000003e the first gate",
        "dispatched 95 0xc000003e the second gate",
        "dispatched 60 0x40000003 the int 0x80 gate",
        "dispatched 95 0xc000003e the probed gate",
        "dispatched 157 0xc000003e the first gate",
        "trapped",
        "aborted",
        "Exited(77)",
        "Stopped(5)",
        "dispatched -1 0xc000003e the first gate",
        "gives -22",
        "gives -14",
        "gives -38",
        "reads 0",
        "reads 1",
        "reads 2",
        "Stopped(31)",
        "Stopped(10)",
        "SetByTracer(0)",
        "SetByTracer(22)",
        "SetByTracer(14)",
        "false by 31",
        "true by 31",
        "false by 11",
    ] {
        assert!(kinds.contains(expected), "`{expected}` is not among {kinds:#?}");
    }
    assert!(kinds.iter().any(|kind| kind.starts_with("CallEntry")), "{kinds:#?}");
    assert!(max_events < 300, "{max_events} events");
}

#[test]
fn the_first_difference_may_be_a_missing_or_an_extra_event() {
    let event = |kind| Event { step: 1, kind };
    let (one, two) = (event(EventKind::Exited(0)), event(EventKind::Exited(1)));
    assert_eq!(first_difference(&[one, two], &[one, two]), None);
    let missing = Difference { expected: Some(two), observed: None };
    assert_eq!(first_difference(&[one, two], &[one]), Some(missing));
    assert_eq!(
        first_difference(&[], &[two]),
        Some(Difference { expected: None, observed: Some(two) })
    );
}

/// `fails` stands for a kernel whose bug shows when a call from the first gate is dispatched.
#[test]
fn a_sequence_shrinks_to_the_steps_that_show_the_difference() {
    let body = vec![
        arm(1, NamedRange::Inside, A),
        set_selector(1),
        step(Operation::RaiseSigusr1(vec![call(CallSite::SecondGate, UMASK)])),
        call(CallSite::FirstGate, UMASK),
    ];
    let mut steps = vec![
        call(CallSite::FirstGate, UMASK),
        step(Operation::StartTask(NewTask::Fork, body)),
        set_selector(0),
        call(CallSite::SecondGate, Call::UnusedNumber),
    ];
    renumber(&mut steps, 1);
    let fails = |steps: &[Step]| {
        let events = predict(steps, &program_layout(), ALL);
        events.iter().any(|event| event.kind == dispatched(0x3002))
    };
    assert!(fails(&steps));
    let small = shrink(&steps, fails);
    assert_eq!(
        listing(&small),
        "  1 prctl(EXCLUSIVE, inside, A) from inside\n  \
         2 A = 1\n  \
         3 umask(0o77) from the first gate\n"
    );
}

#[test]
fn a_sequence_stays_as_it_is_if_no_shorter_one_fails() {
    let steps = sequence(3, ALL);
    assert_eq!(shrink(&steps, |_| false), steps);
}
