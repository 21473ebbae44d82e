// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The frequency of the host's TSC. Under TCG, `rdtsc` in the guest reads that TSC (QEMU's
//! `cpu_get_host_ticks`), and a guest that is told the frequency need not calibrate it. On a busy host
//! the kernel's calibration against QEMU's PIT fails about every second time, and the guest then has
//! no clock finer than a millisecond.

use std::arch::x86_64::{__cpuid, _rdtsc};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// Least time between the two samples. A sample is uncertain by some 100 ns, so the frequency is
/// uncertain by some 10 parts per million.
const INTERVAL: Duration = Duration::from_millis(10);

/// TSC and clock at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    ticks: u64,
    time: Duration,
}

/// The first sample.
static FIRST: OnceLock<Sample> = OnceLock::new();

/// Takes the first sample. The more time passes before [`khz`], the less that waits.
pub(super) fn start() {
    FIRST.get_or_init(sample);
}

/// Returns the frequency in kHz, or `None` if it is not constant. Waits until 10 ms have passed since
/// the first sample.
pub(super) fn khz() -> Option<u64> {
    if !is_constant() {
        return None;
    }
    let first = *FIRST.get_or_init(sample);
    let gone = sample().time.saturating_sub(first.time);
    thread::sleep(INTERVAL.saturating_sub(gone));
    frequency(first, sample())
}

fn frequency(first: Sample, second: Sample) -> Option<u64> {
    let ticks = u128::from(second.ticks.checked_sub(first.ticks)?);
    let nanoseconds = second.time.checked_sub(first.time)?.as_nanos();
    // Ticks per nanosecond times 10^6 is kHz.
    let khz = (ticks * 1_000_000 + nanoseconds / 2).checked_div(nanoseconds)?;
    u64::try_from(khz).ok().filter(|&khz| khz > 0)
}

/// Returns true if the TSC is invariant (CPUID 80000007h, EDX bit 8).
fn is_constant() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0
}

/// Takes a few samples and returns the one that took least time, as the thread may be interrupted
/// during the others.
fn sample() -> Sample {
    let one = || {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets processes use it unless
        // PR_SET_TSC forbids it, which this program does not.
        let before = unsafe { _rdtsc() };
        let time = raw_clock();
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        (after.wrapping_sub(before), Sample { ticks: before.midpoint(after), time })
    };
    (0..8).map(|_| one()).min_by_key(|(took, _)| *took).expect("there are eight").1
}

/// Reads `CLOCK_MONOTONIC_RAW`, which NTP does not adjust, as it does not adjust the TSC.
fn raw_clock() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours. The clock exists since Linux 2.6.28.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_ticks_by_time() {
        let first = Sample { ticks: 1_000, time: Duration::from_secs(5) };
        let later =
            |ticks, ms| Sample { ticks, time: Duration::from_secs(5) + Duration::from_millis(ms) };
        assert_eq!(frequency(first, later(1_000 + 28_000_000, 10)), Some(2_800_000));
        assert_eq!(frequency(first, later(1_000 + 29_999_999, 10)), Some(3_000_000));
        assert_eq!(frequency(first, later(1_000, 10)), None);
        assert_eq!(frequency(first, later(500, 10)), None);
        assert_eq!(frequency(first, later(2_000, 0)), None);
    }

    #[test]
    fn two_measurements_agree() {
        if let (Some(one), Some(two)) = (khz(), khz()) {
            // Loose, because the machine that tests may be a busy one.
            assert!(one.abs_diff(two) < one / 1000, "{one} kHz, {two} kHz");
        }
    }
}
