//! How fast the host's time stamp counter runs: under TCG, `rdtsc` in the guest reads it (QEMU's
//! `cpu_get_host_ticks`), and a guest that is told its speed need not calibrate it. On a busy host
//! the kernel's calibration against QEMU's PIT fails about every second time, and then the guest
//! has no clock finer than a millisecond.

use std::arch::x86_64::{__cpuid, _rdtsc};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// How far apart the two looks at the clock must be. The looks are uncertain by some 100 ns, so the
/// speed is then by some 10 parts per million.
const APART: Duration = Duration::from_millis(10);

/// The counter and the clock at one moment, as exactly as they can be read together.
#[derive(Clone, Copy, Debug)]
struct Look {
    ticks: u64,
    time: Duration,
}

/// The first look, from which the speed is measured.
static FIRST: OnceLock<Look> = OnceLock::new();

/// Takes the first look. The more time passes before [`khz`], the less it has to wait.
pub(super) fn start() {
    FIRST.get_or_init(look);
}

/// The speed of the counter in kHz, or `None` if it is not constant. Waits until the first look is
/// 10 ms ago.
pub(super) fn khz() -> Option<u64> {
    if !is_constant() {
        return None;
    }
    let first = *FIRST.get_or_init(look);
    let gone = look().time.saturating_sub(first.time);
    thread::sleep(APART.saturating_sub(gone));
    speed(first, look())
}

fn speed(first: Look, second: Look) -> Option<u64> {
    let ticks = u128::from(second.ticks.checked_sub(first.ticks)?);
    let nanoseconds = second.time.checked_sub(first.time)?.as_nanos();
    // Ticks in a nanosecond, times 10^6: ticks in a millisecond.
    let khz = (ticks * 1_000_000 + nanoseconds / 2).checked_div(nanoseconds)?;
    u64::try_from(khz).ok().filter(|&khz| khz > 0)
}

/// True if the counter runs at one speed whatever the processor does (CPUID 8000_0007h, EDX bit 8).
fn is_constant() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0
}

/// Looks a few times and takes the look during which least time passed, so that one at which the
/// thread was interrupted does not count.
fn look() -> Look {
    let one = || {
        // SAFETY: every x86-64 processor has the instruction; where a process may not use it, the
        // clock below could not be read quickly either.
        let before = unsafe { _rdtsc() };
        let time = raw_clock();
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        (after.wrapping_sub(before), Look { ticks: before.midpoint(after), time })
    };
    (0..8).map(|_| one()).min_by_key(|(took, _)| *took).expect("there are eight").1
}

/// `CLOCK_MONOTONIC_RAW`: not slewed by NTP, as the counter is not.
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
        let first = Look { ticks: 1_000, time: Duration::from_secs(5) };
        let later =
            |ticks, ms| Look { ticks, time: Duration::from_secs(5) + Duration::from_millis(ms) };
        assert_eq!(speed(first, later(1_000 + 28_000_000, 10)), Some(2_800_000));
        assert_eq!(speed(first, later(1_000 + 29_999_999, 10)), Some(3_000_000));
        assert_eq!(speed(first, later(1_000, 10)), None);
        assert_eq!(speed(first, later(500, 10)), None);
        assert_eq!(speed(first, later(2_000, 0)), None);
    }

    #[test]
    fn two_measurements_agree() {
        if let (Some(one), Some(two)) = (khz(), khz()) {
            // Loose, because the machine that tests may be a busy one.
            assert!(one.abs_diff(two) < one / 1000, "{one} kHz, {two} kHz");
        }
    }
}
