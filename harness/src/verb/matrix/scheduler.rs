// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Builds kernels and runs VMs at the same time, within the limits of CPUs and memory.
//!
//! Kernels are built one after the other, because one build uses all CPUs. The VMs of finished
//! kernels run during the builds: as many VMs as the CPUs allow, within half of the free memory.
//! The other half of the memory is for the build.

use crate::failure::Failure;
use crate::interrupt;
use std::sync::{Mutex, PoisonError, mpsc};
use sudbox_images::{KernelImage, Request};

/// Niceness of a build (nice(2)), so that VMs take precedence: cases have deadlines.
const BUILD_NICENESS: i32 = 10;

/// A kernel to be judged.
pub(crate) struct KernelJob {
    /// Index of the cell in the plan.
    pub(crate) index: usize,
    pub(crate) request: Request,
}

/// Finds or builds every kernel with `find_or_build`, and judges at most `max_vms` kernels at a
/// time with `judge`. Returns the results in the order of the jobs.
///
/// # Errors
/// The first error of `judge`, or an interrupt.
pub(crate) fn run_jobs<T: Send>(
    jobs: &[KernelJob],
    max_vms: usize,
    find_or_build: impl Fn(&KernelJob) -> anyhow::Result<KernelImage> + Send + Sync,
    judge: impl Fn(&KernelJob, anyhow::Result<KernelImage>) -> anyhow::Result<T> + Send + Sync,
) -> anyhow::Result<Vec<T>> {
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let results: Mutex<Vec<Option<anyhow::Result<T>>>> =
        Mutex::new(jobs.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The sender moves into this thread, so that the channel closes when the thread ends.
            let sender = sender;
            // SAFETY: the arguments are numbers. On Linux, 0 means the calling thread; its child
            // processes inherit the niceness. A failure only makes the VMs slower.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BUILD_NICENESS) };
            for (index, job) in jobs.iter().enumerate() {
                if interrupt::is_pending() || sender.send((index, find_or_build(job))).is_err() {
                    return;
                }
            }
        });
        for _ in 0..max_vms.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let received = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((index, image)) = received else { return };
                    let result = judge(&jobs[index], image);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A job without a result was not started, because the run was interrupted.
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(Failure::interrupted())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Condvar;
    use std::time::Duration;

    /// Counts concurrent calls; tests wait on it.
    #[derive(Default)]
    struct Counter(Mutex<(usize, usize)>, Condvar);

    impl Counter {
        fn add(&self) {
            let mut held = self.0.lock().unwrap();
            held.0 += 1;
            held.1 = held.1.max(held.0);
            self.1.notify_all();
        }

        fn subtract(&self) {
            self.0.lock().unwrap().0 -= 1;
        }

        fn most(&self) -> usize {
            self.0.lock().unwrap().1
        }

        /// Waits until there are so many at once.
        fn wait_for(&self, count: usize) {
            let held = self.0.lock().unwrap();
            let patience = Duration::from_secs(30);
            let (_held, late) =
                self.1.wait_timeout_while(held, patience, |(now, _)| *now < count).unwrap();
            assert!(!late.timed_out(), "never {count} at once");
        }
    }

    fn jobs(count: usize) -> Vec<KernelJob> {
        (0..count).map(|index| KernelJob { index, request: Request::default() }).collect()
    }

    #[test]
    fn one_kernel_is_built_while_the_vms_of_others_run() {
        let (building, running, judged) =
            (Counter::default(), Counter::default(), Counter::default());
        let found = run_jobs(
            &jobs(6),
            2,
            |job| {
                building.add();
                if job.index == 2 {
                    // Goes on only when both VMs run beside it.
                    running.wait_for(2);
                    judged.add();
                }
                building.subtract();
                if job.index == 4 {
                    Err(Failure::machine("no source"))
                } else {
                    Ok(KernelImage::default())
                }
            },
            |job, image| {
                running.add();
                if job.index < 2 {
                    judged.wait_for(1);
                }
                running.subtract();
                Ok((job.index, image.is_ok()))
            },
        )
        .unwrap();
        let due = [(0, true), (1, true), (2, true), (3, true), (4, false), (5, true)];
        assert_eq!(found, due);
        assert_eq!((building.most(), running.most()), (1, 2));
    }

    #[test]
    fn an_error_of_judge_ends_the_run() {
        let judge = |job: &KernelJob, _| {
            if job.index == 1 { Err(Failure::machine("disk full")) } else { Ok(()) }
        };
        let error = run_jobs(&jobs(3), 2, |_| Ok(KernelImage::default()), judge).unwrap_err();
        assert_eq!(error.to_string(), "disk full");
        assert!(run_jobs(&[], 2, |_| Ok(KernelImage::default()), judge).unwrap().is_empty());
    }
}
