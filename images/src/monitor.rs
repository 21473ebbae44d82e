// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Progress reports to the caller, and the caller's interrupt.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::error::Error;
use crate::poll;

/// A caller that watches long work and can stop it.
pub trait Monitor {
    /// A phase of the work begins, such as `unpacking linux 6.12.117`.
    fn phase(&mut self, what: &str);

    /// The phase is at `done` of `of` units (such as `bytes` or `files`); `of` is 0 while the whole
    /// is not known. May grow past `of`, which is an estimate.
    fn progress(&mut self, done: u64, of: u64, unit: &str);

    /// One sentence that the user should read.
    fn note(&mut self, what: &str);

    /// A descriptor that becomes readable when the work is to stop.
    fn interrupt(&self) -> Option<BorrowedFd<'_>>;
}

/// Waits, unless the caller interrupts.
///
/// # Errors
/// [`Error::Interrupted`].
pub(crate) fn wait(time: Duration, monitor: &dyn Monitor) -> Result<(), Error> {
    match poll::readable([monitor.interrupt()], time) {
        Ok([true]) => Err(Error::Interrupted),
        Ok([false]) => Ok(()),
        Err(why) => Err(Error::Child { what: "wait", why }),
    }
}

#[cfg(test)]
pub(crate) use tests::Silent;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    /// Hears nothing and never stops.
    pub(crate) struct Silent;

    impl Monitor for Silent {
        fn phase(&mut self, _: &str) {}
        fn progress(&mut self, _: u64, _: u64, _: &str) {}
        fn note(&mut self, _: &str) {}
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    /// Stops whatever waits, at once.
    pub(crate) struct Interrupted(std::io::PipeReader);

    impl Interrupted {
        pub(crate) fn new() -> Interrupted {
            // The writer is dropped: end of file counts as readable.
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

    /// Writes down what it hears.
    #[derive(Debug, Default)]
    pub(crate) struct Recording {
        pub(crate) heard: Vec<String>,
        pub(crate) progress: Vec<(u64, u64)>,
    }

    impl Monitor for Recording {
        fn phase(&mut self, what: &str) {
            self.heard.push(what.to_owned());
        }
        fn progress(&mut self, done: u64, of: u64, _: &str) {
            self.progress.push((done, of));
        }
        fn note(&mut self, what: &str) {
            self.heard.push(what.to_owned());
        }
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }
}
