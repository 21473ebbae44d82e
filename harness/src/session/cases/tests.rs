// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plays guests that follow the protocol and guests that break it.

use super::*;
use crate::session::conversation::Flood;
use crate::session::conversation::InitError;
use crate::session::running_guest::script::{Script, Step, hello, leaked, messages};
use sudbox_vmm::session::Event;

fn start(case: u32) -> GuestMessage {
    GuestMessage::Start { case }
}

fn end(case: u32, result: CaseResult) -> GuestMessage {
    GuestMessage::End { case, result, micros: 7 }
}

const ONE_SECOND: Timeouts =
    Timeouts { boot: Duration::from_secs(1), case: Duration::from_secs(1) };

fn play(events: Vec<(Event, &'static str)>, cases: usize) -> (CasesRun, Script) {
    let plan =
        (0..cases).map(|i| PlannedCase { id: format!("g/{i}"), deadline_ms: 1000 }).collect();
    let mut guest = Script::new(events);
    let run = run_cases(&mut guest, plan, false, ONE_SECOND, &mut |_| {});
    (run, guest)
}

/// Whether the run ended because the guest broke the protocol.
fn is_protocol_error(run: &CasesRun) -> bool {
    matches!(run.conversation.ending, Ending::ProtocolError(_))
}

#[test]
fn a_complete_run_is_acknowledged() {
    let (run, guest) = play(
        vec![
            messages(&[hello()]),
            messages(&[start(0)]),
            messages(&[end(0, CaseResult::Pass), start(1)]),
            messages(&[
                end(1, CaseResult::Hang),
                GuestMessage::AllResults(vec![ResultKind::Pass, ResultKind::Hang]),
            ]),
        ],
        2,
    );
    assert_eq!(run.conversation.ending, Ending::Finished);
    assert!(run.has_all_results);
    assert_eq!(run.ended_cases.len(), 2);
    assert_eq!(run.running_case, None);
    assert_eq!(guest.received_messages.back(), Some(&HostMessage::Acknowledge));
    assert_eq!(guest.received_messages.len(), 4);
}

#[test]
fn a_vm_that_ends_before_all_results_has_died_in_the_running_case() {
    let (run, _) = play(
        vec![
            messages(&[hello()]),
            messages(&[start(0)]),
            messages(&[end(0, CaseResult::Pass), start(1)]),
            (Event::Ended, "Kernel panic - not syncing: oh\n"),
        ],
        3,
    );
    assert_eq!(run.conversation.ending, Ending::Died);
    assert_eq!(run.running_case, Some(1));
    assert_eq!(run.ended_cases.len(), 1);
    assert!(run.conversation.console.contains("oh"));
}

#[test]
fn an_account_that_differs_from_the_end_messages_is_a_protocol_error() {
    let (run, guest) = play(
        vec![
            messages(&[hello()]),
            messages(&[start(0)]),
            messages(&[
                end(0, CaseResult::Fail { expected: "a".into(), got: "b".into() }),
                GuestMessage::AllResults(vec![ResultKind::Pass]),
            ]),
        ],
        1,
    );
    assert!(is_protocol_error(&run), "{run:?}");
    assert!(!guest.received_messages.contains(&HostMessage::Acknowledge));
}

#[test]
fn all_results_for_fewer_cases_than_planned_are_a_protocol_error() {
    let (run, _) =
        play(vec![messages(&[hello()]), messages(&[GuestMessage::AllResults(vec![])])], 1);
    assert!(is_protocol_error(&run), "{run:?}");
}

#[test]
fn messages_in_a_wrong_state_are_protocol_errors() {
    for (first, second) in [
        (start(0), None),
        (hello(), Some(hello())),
        (hello(), Some(start(1))),
        (hello(), Some(end(0, CaseResult::Pass))),
        (hello(), Some(GuestMessage::Log { case: 0, text: "x".into() })),
    ] {
        let mut events = vec![messages(&[first])];
        events.extend(second.map(|message| messages(&[message])));
        let (run, _) = play(events, 1);
        assert!(is_protocol_error(&run), "{run:?}");
    }
}

#[test]
fn bytes_that_are_no_message_are_a_protocol_error() {
    let (run, _) = play(vec![(Event::Bytes(vec![0xff; 64]), "")], 1);
    assert!(is_protocol_error(&run), "{run:?}");
}

#[test]
fn console_output_belongs_to_the_case_that_ran() {
    let (run, _) = play(
        vec![
            messages(&[hello()]),
            messages(&[start(0)]),
            (
                messages(&[end(0, CaseResult::Pass), start(1)]).0,
                "[    1.0] BUG: KASAN: use-after-free in f+0x1/0x2\n",
            ),
        ],
        2,
    );
    assert_eq!(run.conversation.ending, Ending::Finished);
    assert!(!run.has_all_results);
    assert!(run.ended_cases[0].kernel_fault.is_some());
    assert_eq!(run.running_case, None);
}

#[test]
fn console_output_extends_a_boot_only_up_to_the_total_limit() {
    let flood = leaked("x".repeat(1 << 20));
    let (run, _) = play((0..8).map(|_| (Event::ConsoleOutput, flood)).collect(), 1);
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));

    // A line in each half second is progress, but the boot has ten seconds in all.
    let step = Step {
        delay: Duration::from_millis(500),
        printed: "a line\n".into(),
        event: Event::ConsoleOutput,
    };
    let mut guest = Script::of_steps(std::iter::repeat(step));
    let run = run_cases(&mut guest, Vec::new(), false, ONE_SECOND, &mut |_| {});
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));
    assert_eq!(guest.elapsed(), Duration::from_secs(10));
    let (run, _) = play(vec![(Event::ConsoleOutput, "a line\n")], 1);
    assert_eq!(run.conversation.ending, Ending::Stalled);
}

#[test]
fn endless_messages_of_a_case_flood_the_host() {
    let log = |text: String| messages(&[GuestMessage::Log { case: 0, text }]);
    let start_events = || vec![messages(&[hello()]), messages(&[start(0)])];

    // The script has no end, so only the flood limit ends this run.
    let endless =
        start_events().into_iter().chain(std::iter::repeat_with(move || log("x".repeat(16_000))));
    let mut guest = Script::new(endless);
    let plan = vec![PlannedCase { id: "g/0".into(), deadline_ms: 1000 }];
    let run = run_cases(&mut guest, plan.clone(), false, ONE_SECOND, &mut |_| {});
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Messages));
    assert_eq!(run.running_case, Some(0));

    // A message in each half second is progress, but the case has ten seconds in all.
    let step = |(event, printed): (Event, &'static str)| Step {
        delay: Duration::from_millis(500),
        printed: printed.into(),
        event,
    };
    let endless = std::iter::repeat_with(move || log("still here".into()));
    let mut guest = Script::of_steps(start_events().into_iter().chain(endless).map(step));
    let run = run_cases(&mut guest, plan, false, ONE_SECOND, &mut |_| {});
    assert!((10..12).contains(&guest.elapsed().as_secs()), "{:?}", guest.elapsed());
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Messages));
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let version = sudbox_protocol::VERSION + 1;
    let other = GuestMessage::Hello(Hello { version, ..Hello::default() });
    let (run, guest) = play(vec![messages(&[other])], 1);
    assert!(is_protocol_error(&run), "{run:?}");
    assert!(guest.received_messages.is_empty());
}

#[test]
fn the_reason_that_init_prints_is_reported() {
    let line =
        leaked(format!("[ 0.1] x\n{}no such device\n", sudbox_protocol::NO_HOST_LINE_PREFIX));
    let (run, _) = play(vec![(Event::ConsoleOutput, line), (Event::Ended, "")], 1);
    let reason = "no such device".to_owned();
    assert_eq!(run.conversation.ending, Ending::InitFailed(InitError::NoHost(reason)));
}

#[test]
fn the_log_of_a_case_is_bounded() {
    let text = "line\n".repeat(3000);
    let mut events = vec![messages(&[hello()]), messages(&[start(0)])];
    for _ in 0..5 {
        events.push(messages(&[GuestMessage::Log { case: 0, text: text.clone() }]));
    }
    let (run, _) = play(events, 1);
    assert_eq!(run.running_case_log.len(), MAX_LOG_LINES);

    let line = "x".repeat(16_000);
    let log = || messages(&[GuestMessage::Log { case: 0, text: line.clone() }]);
    let events = [messages(&[hello()]), messages(&[start(0)])].into_iter();
    let (run, _) = play(events.chain(std::iter::repeat_with(log).take(9)).collect(), 1);
    assert_eq!(run.running_case_log.len(), MAX_LOG_BYTES / line.len());
}

#[test]
fn observations_belong_to_the_running_case_and_come_only_on_request() {
    let observed = |case| GuestMessage::Observed {
        case,
        observation: Observation { field: "frame".into(), ..Observation::default() },
    };
    let events = |case| {
        vec![messages(&[hello()]), messages(&[start(0), observed(case), end(0, CaseResult::Pass)])]
    };
    let record = |case| {
        let plan = vec![PlannedCase { id: "g/0".into(), deadline_ms: 1000 }];
        let mut guest = Script::new(events(case));
        let run = run_cases(&mut guest, plan, true, ONE_SECOND, &mut |_| {});
        (run, guest)
    };
    let (run, guest) = record(0);
    assert_eq!(run.ended_cases[0].observations.len(), 1);
    assert!(matches!(guest.received_messages.front(), Some(HostMessage::Record(_))));
    assert!(is_protocol_error(&record(1).0));
    assert!(is_protocol_error(&play(events(0), 1).0), "the plan requests no observations");
}
