// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Derives the finding about /dev/kvm from the result of the payload.

use super::Step;
use crate::probe::{Finding, Stop};

/// Ratio of the loop's time in the guest's user mode to its time on the host from which on the guest counts
/// as emulated. Measured: 1 on a processor and under QEMU's TCG; 2000 in KVM's instruction emulator.
const EMULATION_RATIO: u64 = 50;

/// The end of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The payload completed the last step.
    Done,
    /// The payload stopped early and wrote a report.
    Reported,
    /// `KVM_RUN` failed or had this unexpected exit.
    Exit(String),
    /// No step was completed within the time limit.
    Hang {
        /// The vCPU's registers, for a message.
        place: String,
    },
}

/// Anomaly that the payload reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    /// The payload reported none.
    Nothing,
    /// The payload got an unexpected exception or interrupt.
    Fault(String),
    /// A result differs from the processor's manual.
    Wrong { what: &'static str, value: u64 },
}

/// Ticks of the time stamp counter that the same loop took in the guest and on the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    pub(super) guest: u64,
    pub(super) host: u64,
}

/// Returns the finding. `done` is the number of completed steps.
pub(super) fn judge(
    steps: &[Step],
    done: usize,
    end: &End,
    report: Anomaly,
    speed: Speed,
) -> Finding {
    let failure = steps.get(done).or(steps.last()).map_or("", |step| step.failure);
    let broken = |how: &str| Finding::Broken { exit: format!("{failure}: {how}") };
    match (report, end) {
        // A report is more informative than the payload's end.
        (Anomaly::Fault(fault), _) => Finding::Unsupported { stop: Stop::Fault { failure, fault } },
        (Anomaly::Wrong { what, value }, _) => {
            Finding::Unsupported { stop: Stop::Wrong { failure, what, value } }
        }
        (Anomaly::Nothing, End::Done) if speed.guest / EMULATION_RATIO >= speed.host.max(1) => {
            Finding::Slow { guest: speed.guest, host: speed.host }
        }
        (Anomaly::Nothing, End::Done) => Finding::Usable,
        (Anomaly::Nothing, End::Reported) => broken("the guest stops and cannot say why"),
        (Anomaly::Nothing, End::Exit(words)) => broken(words),
        (Anomaly::Nothing, End::Hang { place }) => broken(&format!("the guest hangs, {place}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { guest: 1400, host: 1350 };
    const STEPS: [Step; 3] = [
        Step { success: "first", failure: "no first" },
        Step { success: "second", failure: "no second" },
        Step { success: "third", failure: "no third" },
    ];
    const ALL: usize = STEPS.len();

    fn ends() -> [End; 3] {
        [End::Reported, End::Exit("Shutdown".into()), End::Hang { place: "rip 1h".into() }]
    }

    #[test]
    fn only_a_guest_that_did_everything_makes_it_usable() {
        assert_eq!(judge(&STEPS, ALL, &End::Done, Anomaly::Nothing, SPEED), Finding::Usable);
        for (done, step) in STEPS.iter().enumerate() {
            for end in ends() {
                let finding = judge(&STEPS, done, &end, Anomaly::Nothing, SPEED);
                assert!(matches!(finding, Finding::Broken { .. }), "{finding:?}");
                assert!(finding.to_string().contains(step.failure), "{finding}");
            }
        }
        let report = Anomaly::Wrong { what: "a lost write", value: 1 };
        assert!(!judge(&STEPS, ALL, &End::Done, report, SPEED).is_usable());
    }

    #[test]
    fn what_the_payload_saw_counts_more_than_how_it_ended() {
        for end in ends() {
            let report = Anomaly::Fault("(vector 14)".to_owned());
            let finding = judge(&STEPS, 1, &end, report, SPEED);
            assert!(matches!(finding, Finding::Unsupported { .. }), "{end:?}: {finding:?}");
            assert_eq!(finding.to_string(), "/dev/kvm cannot run kernels: no second (vector 14)");
        }
    }

    #[test]
    fn an_emulated_loop_is_slow_and_a_slow_machine_is_not() {
        let finding =
            |guest, host| judge(&STEPS, ALL, &End::Done, Anomaly::Nothing, Speed { guest, host });
        assert_eq!(finding(3_000_000, 3_100_000), Finding::Usable);
        assert_eq!(finding(49 * 1350, 1350), Finding::Usable);
        let slow = finding(2_700_000, 1350);
        assert_eq!(slow, Finding::Slow { guest: 2_700_000, host: 1350 });
        assert!(slow.to_string().contains("2000 times"), "{slow}");
        assert!(!finding(50, 0).is_usable());
    }
}
