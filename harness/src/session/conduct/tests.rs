// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Guests that keep to the protocol and guests that lie.

use super::*;
use std::collections::VecDeque;

/// A guest that says what its script says, whatever it is told.
struct Scripted {
    events: VecDeque<(Event, &'static str)>,
    console: String,
    heard: Vec<HostMessage>,
}

impl Scripted {
    fn new(events: Vec<(Event, &'static str)>) -> Self {
        Scripted { events: events.into(), console: String::new(), heard: Vec::new() }
    }
}

impl Vm for Scripted {
    fn next(&mut self, _: Instant, _: Option<BorrowedFd<'_>>) -> Event {
        let (event, printed) = self.events.pop_front().unwrap_or((Event::Deadline, ""));
        self.console.push_str(printed);
        event
    }

    fn send(&mut self, bytes: &[u8], _: Instant) -> std::io::Result<()> {
        let mut frames = FrameReader::default();
        frames.push(bytes);
        let body = frames.next_body().unwrap().unwrap();
        self.heard.push(HostMessage::decode(&body).unwrap());
        Ok(())
    }

    fn printed(&mut self) -> u64 {
        self.console.len() as u64
    }

    fn console_since(&mut self, mark: u64) -> String {
        self.console[usize::try_from(mark).unwrap()..].to_owned()
    }
}

fn say(messages: &[GuestMessage]) -> (Event, &'static str) {
    (Event::Bytes(messages.iter().flat_map(GuestMessage::to_frame).collect()), "")
}

fn hello() -> GuestMessage {
    GuestMessage::Hello(Hello { version: sudbox_protocol::VERSION, ..Hello::default() })
}

fn start(case: u32) -> GuestMessage {
    GuestMessage::Start { case }
}

fn end(case: u32, result: CaseResult) -> GuestMessage {
    GuestMessage::End { case, result, micros: 7 }
}

fn play(events: Vec<(Event, &'static str)>, cases: usize) -> (Conducted, Scripted) {
    let plan =
        (0..cases).map(|i| PlannedCase { id: format!("g/{i}"), deadline_ms: 1000 }).collect();
    let mut vm = Scripted::new(events);
    let second = Duration::from_secs(1);
    let conducted =
        conduct(&mut vm, plan, Patience { boot: second, case: second }, None, &mut |_| {});
    (conducted, vm)
}

#[test]
fn a_whole_conversation_is_accounted_and_acknowledged() {
    let (conducted, vm) = play(
        vec![
            say(&[hello()]),
            say(&[start(0)]),
            say(&[end(0, CaseResult::Pass), start(1)]),
            say(&[
                end(1, CaseResult::Hang),
                GuestMessage::Account(vec![ResultKind::Pass, ResultKind::Hang]),
            ]),
        ],
        2,
    );
    assert!(matches!(conducted.ending, Ending::Accounted), "{:?}", conducted.ending);
    assert_eq!(conducted.ended.len(), 2);
    assert_eq!(conducted.running, None);
    assert_eq!(vm.heard.last(), Some(&HostMessage::Acknowledge));
    assert_eq!(vm.heard.len(), 4);
}

#[test]
fn a_restart_without_an_account_is_a_death_and_the_running_case_has_the_blame() {
    let (conducted, _) = play(
        vec![
            say(&[hello()]),
            say(&[start(0)]),
            say(&[end(0, CaseResult::Pass), start(1)]),
            (Event::Ended, "Kernel panic - not syncing: oh\n"),
        ],
        3,
    );
    assert!(matches!(conducted.ending, Ending::Died), "{:?}", conducted.ending);
    assert_eq!(conducted.running, Some(1));
    assert_eq!(conducted.ended.len(), 1);
    assert!(conducted.console.contains("oh"));
}

#[test]
fn an_account_that_differs_from_what_was_reported_is_a_lie() {
    let (conducted, vm) = play(
        vec![
            say(&[hello()]),
            say(&[start(0)]),
            say(&[
                end(0, CaseResult::Fail { expected: "a".into(), got: "b".into() }),
                GuestMessage::Account(vec![ResultKind::Pass]),
            ]),
        ],
        1,
    );
    assert!(matches!(conducted.ending, Ending::Lied(_)), "{:?}", conducted.ending);
    assert!(!vm.heard.contains(&HostMessage::Acknowledge));
}

#[test]
fn an_account_of_fewer_cases_than_planned_is_a_lie() {
    let (conducted, _) = play(vec![say(&[hello()]), say(&[GuestMessage::Account(vec![])])], 1);
    assert!(matches!(conducted.ending, Ending::Lied(_)), "{:?}", conducted.ending);
}

#[test]
fn messages_out_of_turn_are_lies() {
    for (first, second) in [
        (start(0), None),
        (hello(), Some(hello())),
        (hello(), Some(start(1))),
        (hello(), Some(end(0, CaseResult::Pass))),
        (hello(), Some(GuestMessage::Log { case: 0, text: "x".into() })),
    ] {
        let mut events = vec![say(&[first])];
        events.extend(second.map(|message| say(&[message])));
        let (conducted, _) = play(events, 1);
        assert!(matches!(conducted.ending, Ending::Lied(_)), "{:?}", conducted.ending);
    }
}

#[test]
fn bytes_that_are_no_message_are_a_lie() {
    let (conducted, _) = play(vec![(Event::Bytes(vec![0xff; 64]), "")], 1);
    assert!(matches!(conducted.ending, Ending::Lied(_)), "{:?}", conducted.ending);
}

#[test]
fn what_the_console_says_belongs_to_the_case_that_ran() {
    let (conducted, _) = play(
        vec![
            say(&[hello()]),
            say(&[start(0)]),
            (
                say(&[end(0, CaseResult::Pass), start(1)]).0,
                "[    1.0] BUG: KASAN: use-after-free in f+0x1/0x2\n",
            ),
        ],
        2,
    );
    assert!(matches!(conducted.ending, Ending::Tainted), "{:?}", conducted.ending);
    assert!(conducted.ended[0].report.is_some());
    assert_eq!(conducted.running, None);
}

#[test]
fn printing_keeps_a_boot_alive_but_not_for_ever() {
    let flood: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let (conducted, _) = play((0..8).map(|_| (Event::Console, flood)).collect(), 1);
    assert!(matches!(conducted.ending, Ending::Flooded), "{:?}", conducted.ending);

    // Little, but for so long that the limit came before the silence.
    let mut vm = Scripted::new(vec![(Event::Console, "on and on\n")]);
    let none = Patience { boot: Duration::ZERO, case: Duration::ZERO };
    let conducted = conduct(&mut vm, Vec::new(), none, None, &mut |_| {});
    assert!(matches!(conducted.ending, Ending::Flooded), "{:?}", conducted.ending);
    let (conducted, _) = play(vec![(Event::Console, "on and off\n")], 1);
    assert!(matches!(conducted.ending, Ending::Stalled), "{:?}", conducted.ending);
}

#[test]
fn an_init_without_a_host_says_so_on_the_console() {
    let line: &'static str = Box::leak(
        format!("[ 0.1] x\n{}no such device\n", sudbox_protocol::CONSOLE_NO_HOST).into_boxed_str(),
    );
    let (conducted, _) = play(vec![(Event::Console, line), (Event::Ended, "")], 1);
    match conducted.ending {
        Ending::Gave(GaveUp::NoHost(reason)) => assert_eq!(reason, "no such device"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_log_of_a_case_is_bounded() {
    let text = "line\n".repeat(3000);
    let mut events = vec![say(&[hello()]), say(&[start(0)])];
    for _ in 0..5 {
        events.push(say(&[GuestMessage::Log { case: 0, text: text.clone() }]));
    }
    let (conducted, _) = play(events, 1);
    assert_eq!(conducted.log.len(), LOG_LINES);
}
