// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A timer that makes this thread return from `KVM_RUN` periodically.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::kvm::kick::{install_kick_handler, kick_signal};

/// A timer that kicks the thread that called [`KickTimer::start`] once per period. The drop of this
/// value stops the timer.
///
/// A kick that arrives just before `KVM_RUN` has no effect, but the next kick follows a period
/// later. So the timer need not set `kvm_run.immediate_exit` as `kvm/kick.rs` does.
pub(super) struct KickTimer {
    timer: libc::timer_t,
}

impl KickTimer {
    /// Starts the timer, and blocks all other signals in this thread, so that `EINTR` always means
    /// a kick.
    ///
    /// # Errors
    /// As `timer_create(2)`.
    pub(super) fn start(period: Duration) -> io::Result<KickTimer> {
        install_kick_handler()?;
        let mut blocked_signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set, which is then valid for the other calls.
        unsafe {
            libc::sigfillset(blocked_signals.as_mut_ptr());
            libc::sigdelset(blocked_signals.as_mut_ptr(), kick_signal());
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                blocked_signals.as_ptr(),
                std::ptr::null_mut(),
            );
        }
        // SAFETY: A `sigevent` of zero bytes is a valid value.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal();
        // SAFETY: gettid has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = MaybeUninit::uninit();
        // SAFETY: `event` is valid, and `timer` is written if the call succeeds.
        let status = unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The successful call has written `timer`.
        let kick_timer = KickTimer { timer: unsafe { timer.assume_init() } };
        let period = libc::timespec {
            tv_sec: libc::time_t::try_from(period.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: period.subsec_nanos().into(),
        };
        let setting = libc::itimerspec { it_interval: period, it_value: period };
        // SAFETY: The timer exists, and `setting` is valid.
        if unsafe {
            libc::timer_settime(kick_timer.timer, 0, &raw const setting, std::ptr::null_mut())
        } != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(kick_timer)
    }
}

impl Drop for KickTimer {
    fn drop(&mut self) {
        // SAFETY: the timer exists, and only this value has its id.
        unsafe { libc::timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn kicks_interrupt_system_calls_until_the_timer_is_dropped() {
        std::thread::spawn(|| {
            let kick_timer = KickTimer::start(Duration::from_millis(2)).unwrap();
            // SAFETY: a call with 0 descriptors accesses no memory.
            let wait = |ms| unsafe { libc::poll(std::ptr::null_mut(), 0, ms) };
            for _ in 0..3 {
                assert_eq!(wait(20_000), -1);
                assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted);
            }
            drop(kick_timer);
            let start = Instant::now();
            assert_eq!(wait(20), 0);
            assert!(start.elapsed() >= Duration::from_millis(20));
        })
        .join()
        .unwrap();
    }
}
