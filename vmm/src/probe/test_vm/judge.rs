// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Derives the finding about /dev/kvm from the result of the payload.

use super::Step;
use crate::probe::{Finding, UnsupportedReason};

/// The guest counts as emulated by KVM if the timing loop takes at least this many times as long in its user
/// mode as on the host. The measured ratio is 1 on a processor and under QEMU's TCG, and
/// 2000 in KVM's instruction emulator.
const EMULATION_RATIO: u64 = 50;

/// The way in which the payload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PayloadEnd {
    /// The payload completed the last step.
    Done,
    /// The payload stopped early and wrote a report.
    Reported,
    /// `KVM_RUN` failed or had this unexpected exit.
    Exit(String),
    /// No step was completed within the time limit.
    Hang {
        /// The vCPU's registers as text.
        registers: String,
    },
}

/// The payload's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PayloadReport {
    /// The payload noticed nothing wrong.
    NothingWrong,
    /// The payload got an unexpected exception or interrupt.
    Fault(String),
    /// A result differs from the processor's manual.
    WrongResult { result_name: &'static str, value: u64 },
}

/// Ticks of the time stamp counter that the same loop took in the guest and on the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopTicks {
    pub(super) guest: u64,
    pub(super) host: u64,
}

/// Returns the finding from the number of completed steps and the payload's end, report and loop
/// times.
pub(super) fn judge(
    steps: &[Step],
    completed_steps: usize,
    end: &PayloadEnd,
    report: PayloadReport,
    ticks: LoopTicks,
) -> Finding {
    let failure = steps.get(completed_steps).or(steps.last()).map_or("", |step| step.failure);
    let broken = |description: &str| Finding::Broken { cause: format!("{failure}: {description}") };
    match (report, end) {
        // A reported fault or wrong result is more informative than the payload's end.
        (PayloadReport::Fault(fault), _) => {
            Finding::Unsupported { reason: UnsupportedReason::UnexpectedFault { failure, fault } }
        }
        (PayloadReport::WrongResult { result_name, value }, _) => Finding::Unsupported {
            reason: UnsupportedReason::WrongResult { failure, what: result_name, value },
        },
        (PayloadReport::NothingWrong, PayloadEnd::Done)
            if ticks.guest / EMULATION_RATIO >= ticks.host.max(1) =>
        {
            Finding::Slow { guest_ticks: ticks.guest, host_ticks: ticks.host }
        }
        (PayloadReport::NothingWrong, PayloadEnd::Done) => Finding::Usable,
        (PayloadReport::NothingWrong, PayloadEnd::Reported) => {
            broken("the guest stops and cannot say why")
        }
        (PayloadReport::NothingWrong, PayloadEnd::Exit(description)) => broken(description),
        (PayloadReport::NothingWrong, PayloadEnd::Hang { registers }) => {
            broken(&format!("the guest hangs, {registers}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP_TICKS: LoopTicks = LoopTicks { guest: 1400, host: 1350 };
    const STEPS: [Step; 3] = [
        Step { success: "first", failure: "no first" },
        Step { success: "second", failure: "no second" },
        Step { success: "third", failure: "no third" },
    ];
    const ALL: usize = STEPS.len();

    fn ends() -> [PayloadEnd; 3] {
        [
            PayloadEnd::Reported,
            PayloadEnd::Exit("Shutdown".into()),
            PayloadEnd::Hang { registers: "rip 1h".into() },
        ]
    }

    #[test]
    fn only_a_guest_that_did_everything_makes_it_usable() {
        assert_eq!(
            judge(&STEPS, ALL, &PayloadEnd::Done, PayloadReport::NothingWrong, LOOP_TICKS),
            Finding::Usable
        );
        for (completed, step) in STEPS.iter().enumerate() {
            for end in ends() {
                let finding =
                    judge(&STEPS, completed, &end, PayloadReport::NothingWrong, LOOP_TICKS);
                assert!(matches!(finding, Finding::Broken { .. }), "{finding:?}");
                assert!(finding.to_string().contains(step.failure), "{finding}");
            }
        }
        let report = PayloadReport::WrongResult { result_name: "a lost write", value: 1 };
        assert!(!judge(&STEPS, ALL, &PayloadEnd::Done, report, LOOP_TICKS).is_usable());
    }

    #[test]
    fn what_the_payload_saw_counts_more_than_how_it_ended() {
        for end in ends() {
            let report = PayloadReport::Fault("(vector 14)".to_owned());
            let finding = judge(&STEPS, 1, &end, report, LOOP_TICKS);
            assert!(matches!(finding, Finding::Unsupported { .. }), "{end:?}: {finding:?}");
            assert_eq!(finding.to_string(), "/dev/kvm cannot run kernels: no second (vector 14)");
        }
    }

    #[test]
    fn an_emulated_loop_is_slow_and_a_slow_machine_is_not() {
        let finding = |guest, host| {
            judge(
                &STEPS,
                ALL,
                &PayloadEnd::Done,
                PayloadReport::NothingWrong,
                LoopTicks { guest, host },
            )
        };
        assert_eq!(finding(3_000_000, 3_100_000), Finding::Usable);
        assert_eq!(finding(49 * 1350, 1350), Finding::Usable);
        let slow = finding(2_700_000, 1350);
        assert_eq!(slow, Finding::Slow { guest_ticks: 2_700_000, host_ticks: 1350 });
        assert!(slow.to_string().contains("2000 times"), "{slow}");
        assert!(!finding(50, 0).is_usable());
    }
}
