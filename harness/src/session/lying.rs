// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Generated guests that lie: messages out of order, with wrong indices, wrong or damaged, at any
//! time.

use super::running_guest::script::{Step, hello};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use sudbox_protocol::{
    CaseResult, Feature, GuestMessage, Hello, MAX_BODY, Measurement, NO_HOST_LINE_PREFIX,
    Observation, ObservedPart, PROBLEM_LINE_PREFIX, ProgramEnd, ResultKind, frame,
};
use sudbox_vmm::session::Event;

/// A step of a lying guest: what it does, a choice within that, and a delay.
pub(crate) type Move = (u8, u8, u8);

/// Moves below this number tell the truth: they are what guest-init would say next.
const FIRST_LIE: u8 = 40;

/// Number of different moves.
const MOVES: u8 = 64;

/// Lines that a kernel prints when it is at fault.
pub(crate) const FAULT_LINES: [&str; 4] = [
    "[ 1.0] WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 f+0x1/0x2\n",
    "[ 1.0] BUG: KASAN: use-after-free in f+0x1/0x2\n",
    "[ 1.0] Oops: general protection fault: 0000 [#1] SMP\n",
    "[ 1.0] Kernel panic - not syncing: oh\n",
];

/// Whether a line that is printed is a report of a fault.
pub(crate) fn has_fault(printed: &str) -> bool {
    let lines = FAULT_LINES.iter().chain(&[NO_HOST_LINE_PREFIX, PROBLEM_LINE_PREFIX]);
    lines.into_iter().any(|line| printed.contains(line))
}

/// A lying guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liar {
    pub(crate) moves: Vec<Move>,
    /// Whether the last event is repeated for ever.
    pub(crate) is_endless: bool,
    /// Whether the guest reads what the host sends.
    pub(crate) reads: bool,
}

impl Liar {
    /// A guest that runs all cases, and tells that they passed.
    pub(crate) fn honest() -> Liar {
        Liar { moves: vec![(0, 0, 1); 64], is_endless: false, reads: true }
    }
}

pub(crate) fn liar() -> impl Strategy<Value = Liar> {
    let moves = vec((0..MOVES, any::<u8>(), any::<u8>()), 0..40);
    (moves, 0..64u8).prop_map(|(moves, habits)| Liar {
        moves,
        is_endless: habits == 0,
        reads: habits % 8 != 1,
    })
}

/// Number of sequences to generate: `SUDBOX_SEQUENCES`, or else `default`.
pub(crate) fn config(default: u32) -> ProptestConfig {
    let count = std::env::var("SUDBOX_SEQUENCES").map_or(default, |text| text.parse().unwrap());
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

/// The messages of a guest so far, from which follows what guest-init would send next.
struct Teller {
    planned: usize,
    has_greeted: bool,
    is_running: bool,
    told: Vec<ResultKind>,
}

impl Teller {
    /// The next message of an honest guest.
    fn truth(&mut self, choice: u8) -> GuestMessage {
        let case = u32::try_from(self.told.len()).unwrap();
        if !self.has_greeted {
            self.has_greeted = true;
            return hello();
        }
        if self.is_running {
            self.is_running = false;
            let result = result(choice);
            self.told.push(result.kind());
            return GuestMessage::End { case, result, micros: 7 };
        }
        if self.told.len() < self.planned {
            self.is_running = true;
            return GuestMessage::Start { case };
        }
        GuestMessage::AllResults(self.told.clone())
    }
}

/// A result; mostly a pass.
fn result(choice: u8) -> CaseResult {
    match choice {
        0..=229 => CaseResult::Pass,
        230..=239 => CaseResult::Fail { expected: "a".into(), got: "b\u{1b}[2J".into() },
        240..=243 => CaseResult::Absent(Feature::Dispatch),
        244..=247 => CaseResult::Absent(Feature::Ia32),
        248..=251 => CaseResult::Unmet("root".into()),
        252..=253 => CaseResult::Hang,
        254..=255 => CaseResult::Broken("no memory".into()),
    }
}

/// A `Log` frame that is longer than guest-init makes them.
fn long_log(case: u32) -> Vec<u8> {
    let text = ["x".repeat(50_000).as_str(); 4].join("\n");
    let mut body = vec![2];
    body.extend(case.to_le_bytes());
    body.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    body.extend(text.as_bytes());
    assert!(body.len() <= MAX_BODY);
    frame::wrap(&body)
}

/// The events of a liar whose plan has `planned` cases.
pub(crate) fn steps(liar: &Liar, planned: usize) -> Vec<Step> {
    let mut teller = Teller { planned, has_greeted: false, is_running: false, told: Vec::new() };
    let mut steps: Vec<Step> = Vec::new();
    let mut kept_back: Vec<u8> = Vec::new();
    for &(kind, choice, delay) in &liar.moves {
        let delay = match delay {
            0..=63 => Duration::ZERO,
            64..=250 => Duration::from_micros(u64::from(delay) * 10),
            _ => Duration::from_millis(u64::from(delay - 250) * 1500),
        };
        let delay_of_output = delay.max(Duration::from_millis(10));
        let current = u32::try_from(teller.told.len()).unwrap();
        // The current case, the ones beside it, and one far away.
        let case = match choice % 4 {
            0 => current.wrapping_sub(1),
            1 => current + 1,
            2 => current,
            _ => u32::MAX,
        };
        let mut printed = String::new();
        let event = match kind {
            0..FIRST_LIE => Event::Bytes(teller.truth(choice).to_frame()),
            40 => Event::Bytes(hello().to_frame()),
            41 => {
                let version = u16::from(choice);
                Event::Bytes(GuestMessage::Hello(Hello { version, ..Hello::default() }).to_frame())
            }
            42 => Event::Bytes(GuestMessage::Start { case }.to_frame()),
            43 => {
                let end = GuestMessage::End { case, result: result(choice), micros: u64::MAX };
                Event::Bytes(end.to_frame())
            }
            44 => {
                let mut kinds = teller.told.clone();
                match choice % 3 {
                    0 => kinds.push(ResultKind::Pass),
                    1 => drop(kinds.pop()),
                    _ => kinds = vec![ResultKind::Pass; planned],
                }
                Event::Bytes(GuestMessage::AllResults(kinds).to_frame())
            }
            45 => Event::Bytes(GuestMessage::VmSpent { case }.to_frame()),
            46 => Event::Bytes(GuestMessage::VmSpent { case: current.wrapping_sub(1) }.to_frame()),
            47 => Event::Bytes(
                GuestMessage::Log { case: current, text: "a\n\u{1b}]0;b\n".into() }.to_frame(),
            ),
            48 => Event::Bytes(long_log(current)),
            49 => Event::Bytes(GuestMessage::Log { case, text: "x".into() }.to_frame()),
            50 => {
                let batches = vec![u64::from(choice); usize::from(choice)];
                let measurement = Measurement { batches, ..Measurement::default() };
                Event::Bytes(GuestMessage::Measured { case: current, measurement }.to_frame())
            }
            51 => {
                let part = ObservedPart { name: "si_code".into(), bytes: vec![choice; 4] };
                let observation = Observation {
                    field: "frame".into(),
                    parts: vec![part],
                    ..Observation::default()
                };
                Event::Bytes(GuestMessage::Observed { case: current, observation }.to_frame())
            }
            52 => {
                let digest = u64::from(choice);
                Event::Bytes(GuestMessage::ObservationDigest { case, digest }.to_frame())
            }
            53 => Event::Bytes(match choice % 3 {
                0 => GuestMessage::StdinWanted.to_frame(),
                1 => GuestMessage::Output { is_stderr: false, bytes: vec![choice] }.to_frame(),
                _ => GuestMessage::ProgramEnded(ProgramEnd::Exited(choice)).to_frame(),
            }),
            54 => Event::Bytes(vec![choice; 1 + usize::from(choice)]),
            55 => Event::Bytes(u32::MAX.to_le_bytes().to_vec()),
            // A frame in two pieces, or several frames in one piece.
            56..=58 => {
                let mut bytes = std::mem::take(&mut kept_back);
                bytes.extend(teller.truth(choice).to_frame());
                kept_back = bytes.split_off(usize::from(choice) % bytes.len());
                if bytes.is_empty() {
                    continue;
                }
                Event::Bytes(bytes)
            }
            59 => {
                printed = "[ 1.0] a line\n[ 1.0] a".to_owned();
                Event::ConsoleOutput
            }
            60 => {
                printed = format!("\n{}", FAULT_LINES[usize::from(choice) % FAULT_LINES.len()]);
                Event::ConsoleOutput
            }
            61 => {
                let prefix = [NO_HOST_LINE_PREFIX, PROBLEM_LINE_PREFIX][usize::from(choice % 2)];
                printed = format!("\n{prefix}oh\n");
                if choice < 128 { Event::Ended } else { Event::ConsoleOutput }
            }
            62 if choice < 64 => Event::Disconnected,
            62 if choice < 128 => Event::Ended,
            62 if choice < 160 => Event::Interrupted,
            _ => Event::Connected,
        };
        let event = match event {
            Event::Bytes(bytes) if !kept_back.is_empty() && !(56..=58).contains(&kind) => {
                let mut all = std::mem::take(&mut kept_back);
                all.extend(bytes);
                Event::Bytes(all)
            }
            event => event,
        };
        let delay = if event == Event::ConsoleOutput { delay_of_output } else { delay };
        steps.push(Step { delay, printed: printed.into(), event });
    }
    steps
}

/// The events again, then the last one for ever if the liar is endless. A guest takes time to
/// repeat an event.
pub(crate) fn played(steps: Vec<Step>, is_endless: bool) -> impl Iterator<Item = Step> {
    let last = steps
        .last()
        .cloned()
        .filter(|_| is_endless)
        .map(|step| Step { delay: step.delay.max(Duration::from_millis(100)), ..step });
    steps.into_iter().chain(last.into_iter().cycle())
}
