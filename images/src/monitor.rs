// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Progress reports to the caller, and the caller's interrupt.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::error::Error;
use crate::poll;

/// Receives the progress of long work, and can interrupt the work. The caller implements this
/// trait.
pub trait Monitor {
    /// Reports the beginning of a phase, such as `unpacking linux 6.12.117`.
    fn phase(&mut self, name: &str);

    /// Reports that `done` of `total` units (`bytes` or `files`) of the phase are done. `total` is
    /// an estimate, which `done` may exceed; 0 means unknown.
    fn progress(&mut self, done: u64, total: u64, unit: &str);

    /// Reports one sentence that the user should read.
    fn note(&mut self, text: &str);

    /// A descriptor that becomes readable when the work must stop.
    fn interrupt(&self) -> Option<BorrowedFd<'_>>;
}

/// Waits for `duration`, or until the caller interrupts.
///
/// # Errors
/// [`Error::Interrupted`].
pub(crate) fn wait(duration: Duration, monitor: &dyn Monitor) -> Result<(), Error> {
    match poll::wait_readable([monitor.interrupt()], duration) {
        Ok([true]) => Err(Error::Interrupted),
        Ok([false]) => Ok(()),
        Err(reason) => Err(Error::Child { operation: "wait", reason }),
    }
}

#[cfg(test)]
pub(crate) use tests::Silent;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    /// Ignores all reports and never interrupts.
    pub(crate) struct Silent;

    impl Monitor for Silent {
        fn phase(&mut self, _: &str) {}
        fn progress(&mut self, _: u64, _: u64, _: &str) {}
        fn note(&mut self, _: &str) {}
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    /// Interrupts at once.
    pub(crate) struct Interrupted(std::io::PipeReader);

    impl Interrupted {
        pub(crate) fn new() -> Interrupted {
            // The write end is closed, so the read end is readable.
            Interrupted(std::io::pipe().unwrap().0)
        }
    }

    impl Monitor for Interrupted {
        fn phase(&mut self, _: &str) {}
        fn progress(&mut self, _: u64, _: u64, _: &str) {}
        fn note(&mut self, _: &str) {}
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }
    }

    /// Records all reports.
    #[derive(Debug, Default)]
    pub(crate) struct Recording {
        pub(crate) messages: Vec<String>,
        pub(crate) progress: Vec<(u64, u64)>,
    }

    impl Monitor for Recording {
        fn phase(&mut self, name: &str) {
            self.messages.push(name.to_owned());
        }
        fn progress(&mut self, done: u64, total: u64, _: &str) {
            self.progress.push((done, total));
        }
        fn note(&mut self, text: &str) {
            self.messages.push(text.to_owned());
        }
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }
}
