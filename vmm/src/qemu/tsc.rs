// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures the frequency of the host's TSC. Under TCG, `rdtsc` in the guest reads the host's TSC
//! (QEMU's `cpu_get_host_ticks`). With the frequency on its command line, the guest need not
//! calibrate the TSC: on a busy host, the kernel's calibration against QEMU's PIT fails about every
//! second time, and the guest then has only a clock with a resolution of a millisecond.

use std::arch::x86_64::{__cpuid, _rdtsc};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// Minimum time between the two samples. The error of a sample is about 100 ns, so the error of the
/// frequency is about 10 ppm.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// Values of the TSC and of the clock at the same time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    ticks: u64,
    time: Duration,
}

/// The first of the two samples from which the frequency is computed.
static FIRST_SAMPLE: OnceLock<Sample> = OnceLock::new();

/// Takes the first sample. The earlier the first sample, the shorter [`frequency_khz`] waits.
pub(super) fn take_first_sample() {
    FIRST_SAMPLE.get_or_init(sample);
}

/// Returns the frequency in kHz, or `None` if the frequency is not constant. Waits until 10 ms have
/// passed since the first sample.
pub(super) fn frequency_khz() -> Option<u64> {
    if !is_constant() {
        return None;
    }
    let first = *FIRST_SAMPLE.get_or_init(sample);
    let elapsed = sample().time.saturating_sub(first.time);
    thread::sleep(SAMPLE_INTERVAL.saturating_sub(elapsed));
    frequency(first, sample())
}

/// Returns the frequency in kHz from two samples; `None` if no time or a negative number of ticks
/// lies between the samples.
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

/// Takes several samples and returns the fastest, because an interrupt of the thread may make a
/// sample slower and wrong.
fn sample() -> Sample {
    let take_sample = || {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets processes use it
        // unless PR_SET_TSC forbids the instruction, which this program does not.
        let start_ticks = unsafe { _rdtsc() };
        let time = raw_clock();
        // SAFETY: the processor and Linux allow the instruction, as for `start_ticks`.
        let end_ticks = unsafe { _rdtsc() };
        (
            end_ticks.wrapping_sub(start_ticks),
            Sample { ticks: start_ticks.midpoint(end_ticks), time },
        )
    };
    (0..8)
        .map(|_| take_sample())
        .min_by_key(|(duration_ticks, _)| *duration_ticks)
        .expect("eight samples")
        .1
}

/// Reads `CLOCK_MONOTONIC_RAW`, which NTP adjusts as little as the TSC.
fn raw_clock() -> Duration {
    let mut timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local timespec. The clock exists since Linux 2.6.28.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut timespec) };
    Duration::new(timespec.tv_sec.unsigned_abs(), u32::try_from(timespec.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequency_is_ticks_divided_by_time() {
        let first = Sample { ticks: 1_000, time: Duration::from_secs(5) };
        let second =
            |ticks, ms| Sample { ticks, time: Duration::from_secs(5) + Duration::from_millis(ms) };
        assert_eq!(frequency(first, second(1_000 + 28_000_000, 10)), Some(2_800_000));
        assert_eq!(frequency(first, second(1_000 + 29_999_999, 10)), Some(3_000_000));
        assert_eq!(frequency(first, second(1_000, 10)), None);
        assert_eq!(frequency(first, second(500, 10)), None);
        assert_eq!(frequency(first, second(2_000, 0)), None);
    }

    #[test]
    fn two_measurements_agree() {
        if let (Some(one), Some(two)) = (frequency_khz(), frequency_khz()) {
            // A loose limit, because the machine may be busy.
            assert!(one.abs_diff(two) < one / 1000, "{one} kHz, {two} kHz");
        }
    }
}
