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

    /// Counts the calls of a closure that run at the same time.
    #[derive(Default)]
    struct CallCounter {
        counts: Mutex<CallCounts>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct CallCounts {
        current: usize,
        max: usize,
    }

    impl CallCounter {
        fn add(&self) {
            let mut counts = self.counts.lock().unwrap();
            counts.current += 1;
            counts.max = counts.max.max(counts.current);
            self.changed.notify_all();
        }

        fn subtract(&self) {
            self.counts.lock().unwrap().current -= 1;
        }

        fn max(&self) -> usize {
            self.counts.lock().unwrap().max
        }

        /// Waits until `count` calls run at the same time.
        fn wait_for(&self, count: usize) {
            let counts = self.counts.lock().unwrap();
            let time_limit = Duration::from_secs(30);
            let (_counts, wait_result) = self
                .changed
                .wait_timeout_while(counts, time_limit, |counts| counts.current < count)
                .unwrap();
            assert!(!wait_result.timed_out(), "never {count} calls at the same time");
        }
    }

    fn jobs(count: usize) -> Vec<KernelJob> {
        (0..count).map(|index| KernelJob { index, request: Request::default() }).collect()
    }

    #[test]
    fn one_kernel_is_built_while_the_vms_of_others_run() {
        let (building, running, third_build) =
            (CallCounter::default(), CallCounter::default(), CallCounter::default());
        let results = run_jobs(
            &jobs(6),
            2,
            |job| {
                building.add();
                if job.index == 2 {
                    // The third build waits until the VMs of the first two kernels run.
                    running.wait_for(2);
                    third_build.add();
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
                // The VMs of the first two kernels run until the third build has seen them.
                if job.index < 2 {
                    third_build.wait_for(1);
                }
                running.subtract();
                Ok((job.index, image.is_ok()))
            },
        )
        .unwrap();
        let expected = [(0, true), (1, true), (2, true), (3, true), (4, false), (5, true)];
        assert_eq!(results, expected);
        assert_eq!((building.max(), running.max()), (1, 2));
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
