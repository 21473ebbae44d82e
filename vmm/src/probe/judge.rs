//! From what a guest did to what /dev/kvm is good for.

use super::trial::Step;
use super::{Finding, Stop};

/// A loop in a program that takes so many times as long as outside is not run by the processor.
/// Measured: 1 where it is, also within QEMU's TCG; 2000 in KVM's instruction emulator.
const EMULATED: u64 = 50;

/// How the guest's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last step is done.
    Done,
    /// The payload says that it has written a report.
    Reported,
    /// KVM gave up; its words.
    Exit(String),
    /// No step was done for as long as the probe is willing to wait.
    Hang {
        /// Where it is, in words.
        place: String,
    },
}

/// What the payload wrote into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing went wrong, so far as it got.
    Nothing,
    /// An exception or interrupt that no step expects.
    Fault(String),
    /// Something is not as the processor's manual promises.
    Wrong { what: &'static str, value: u64 },
}

/// Ticks of the processor's counter for the same loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    pub(super) guest: u64,
    pub(super) host: u64,
}

/// The answer, from the steps that there are, the number of those that were done, how the run ended,
/// what the payload said and how quick it was.
pub(super) fn judge(steps: &[Step], done: usize, end: &End, said: Said, speed: Speed) -> Finding {
    let failure = steps.get(done).or(steps.last()).map_or("", |step| step.failure);
    let broken = |how: &str| Finding::Broken { exit: format!("{failure}: {how}") };
    match (said, end) {
        // What the payload saw tells more than what became of it then.
        (Said::Fault(fault), _) => Finding::Unsupported { stop: Stop::Fault { failure, fault } },
        (Said::Wrong { what, value }, _) => {
            Finding::Unsupported { stop: Stop::Wrong { failure, what, value } }
        }
        (Said::Nothing, End::Done) if speed.guest / EMULATED >= speed.host.max(1) => {
            Finding::Slow { guest: speed.guest, host: speed.host }
        }
        (Said::Nothing, End::Done) => Finding::Usable,
        (Said::Nothing, End::Reported) => broken("the guest stops and cannot say why"),
        (Said::Nothing, End::Exit(words)) => broken(words),
        (Said::Nothing, End::Hang { place }) => broken(&format!("the guest hangs, {place}")),
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
        assert_eq!(judge(&STEPS, ALL, &End::Done, Said::Nothing, SPEED), Finding::Usable);
        for (done, step) in STEPS.iter().enumerate() {
            for end in ends() {
                let finding = judge(&STEPS, done, &end, Said::Nothing, SPEED);
                assert!(matches!(finding, Finding::Broken { .. }), "{finding:?}");
                assert!(finding.to_string().contains(step.failure), "{finding}");
            }
        }
        let said = Said::Wrong { what: "a lost write", value: 1 };
        assert!(!judge(&STEPS, ALL, &End::Done, said, SPEED).is_usable());
    }

    #[test]
    fn what_the_payload_saw_counts_more_than_how_it_ended() {
        for end in ends() {
            let said = Said::Fault("(vector 14)".to_owned());
            let finding = judge(&STEPS, 1, &end, said, SPEED);
            assert!(matches!(finding, Finding::Unsupported { .. }), "{end:?}: {finding:?}");
            assert_eq!(finding.to_string(), "/dev/kvm cannot run kernels: no second (vector 14)");
        }
    }

    #[test]
    fn an_emulated_loop_is_slow_and_a_slow_machine_is_not() {
        let finding =
            |guest, host| judge(&STEPS, ALL, &End::Done, Said::Nothing, Speed { guest, host });
        assert_eq!(finding(3_000_000, 3_100_000), Finding::Usable);
        assert_eq!(finding(49 * 1350, 1350), Finding::Usable);
        let slow = finding(2_700_000, 1350);
        assert_eq!(slow, Finding::Slow { guest: 2_700_000, host: 1350 });
        assert!(slow.to_string().contains("2000 times"), "{slow}");
        assert!(!finding(50, 0).is_usable());
    }
}
