// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Derives the finding about /dev/kvm from the result of the payload.

use super::Step;
use crate::probe::{Finding, UnsupportedReason};

/// Minimum ratio of the timing loop's duration in the guest's user mode to its duration on the host
/// from which KVM is considered to emulate the guest's instructions. Measured ratios: 1 on a
/// processor and under QEMU's TCG, 2000 in KVM's instruction emulator.
const EMULATION_RATIO: u64 = 50;

/// The way in which the payload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PayloadEnd {
    /// The payload completed the last step.
    Done,
    /// The payload stopped early, as its report explains.
    Reported,
    /// `KVM_RUN` failed or returned an unexpected exit; the text describes it.
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
    /// The payload noticed no fault and no wrong result.
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
            broken("the guest stops without a reason in its report")
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
    const STEP_COUNT: usize = STEPS.len();

    fn early_ends() -> [PayloadEnd; 3] {
        [
            PayloadEnd::Reported,
            PayloadEnd::Exit("Shutdown".into()),
            PayloadEnd::Hang { registers: "rip 1h".into() },
        ]
    }

    #[test]
    fn kvm_is_usable_only_if_the_payload_completes_all_steps() {
        assert_eq!(
            judge(&STEPS, STEP_COUNT, &PayloadEnd::Done, PayloadReport::NothingWrong, LOOP_TICKS),
            Finding::Usable
        );
        for (completed, step) in STEPS.iter().enumerate() {
            for end in early_ends() {
                let finding =
                    judge(&STEPS, completed, &end, PayloadReport::NothingWrong, LOOP_TICKS);
                assert!(matches!(finding, Finding::Broken { .. }), "{finding:?}");
                assert!(finding.to_string().contains(step.failure), "{finding}");
            }
        }
        let report = PayloadReport::WrongResult { result_name: "a lost write", value: 1 };
        assert!(!judge(&STEPS, STEP_COUNT, &PayloadEnd::Done, report, LOOP_TICKS).is_usable());
    }

    #[test]
    fn a_reported_fault_takes_precedence_over_the_payloads_end() {
        for end in early_ends() {
            let report = PayloadReport::Fault("(vector 14)".to_owned());
            let finding = judge(&STEPS, 1, &end, report, LOOP_TICKS);
            assert!(matches!(finding, Finding::Unsupported { .. }), "{end:?}: {finding:?}");
            assert_eq!(finding.to_string(), "/dev/kvm cannot run kernels: no second (vector 14)");
        }
    }

    #[test]
    fn kvm_is_slow_if_the_guest_takes_50_times_as_long_as_the_host() {
        let finding = |guest, host| {
            judge(
                &STEPS,
                STEP_COUNT,
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
