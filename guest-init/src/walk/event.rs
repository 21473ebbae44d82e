// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The observable events of a random walk, and the known bugs that their comparison tolerates.

use super::operations::ProgramLayout;
use crate::oracle::Config;
use std::ops::RangeInclusive;

/// The recorded result of a `seccomp(2)` with `SECCOMP_FILTER_FLAG_TSYNC` that fails because a thread cannot
/// get the filter. The kernel's own result is the id of that thread, which differs from run to run.
pub(super) const TSYNC_REFUSED: u64 = 1;

/// `si_code` of a signal that a seccomp filter sends (include/uapi/asm-generic/siginfo.h).
pub const SYS_SECCOMP: i32 = 1;
/// `si_code` of a dispatch.
pub const SYS_USER_DISPATCH: i32 = 2;

/// An observable event of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the step; 0 for the end of the sequence.
    pub step: u16,
    /// The kind of the event, with its details.
    pub kind: EventKind,
}

/// The kind of an event, with its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The handler of SIGSYS was entered.
    SigsysHandled {
        /// `si_syscall`
        number: i32,
        /// `si_code`
        code: i32,
        /// `si_errno`
        errno: i32,
        /// `si_arch`
        arch: u32,
        /// `si_call_addr`
        call_address: u64,
        /// The result register in the frame.
        result: u64,
        /// The address of the next instruction in the frame.
        continues_at: u64,
        /// Whether a context switch happened between the start of the call's critical section and the
        /// handler. The switch may have ended the section before the dispatch could abort it, so
        /// `continues_at` may be the abort address or the address after the call. The model always predicts
        /// false.
        is_disturbed: bool,
    },
    /// A call returned.
    Returned {
        /// The result register.
        result: u64,
        /// Whether all other registers have the values that they had at the call.
        others_preserved: bool,
    },
    /// The tracee stopped for this signal.
    Stopped(i32),
    /// The tracee stopped at the entry of a call outside the allowed range.
    CallEntry {
        /// The number.
        number: u64,
        /// The address after the system call instruction.
        instruction_pointer: u64,
    },
    /// The tracer set the configuration, with this result: 0 or an error number.
    SetByTracer(i32),
    /// The tracer read this configuration.
    ConfigRead(Config),
    /// A process had this umask(2) at its end.
    FinalUmask(u64),
    /// A process exited with this code.
    Exited(i32),
    /// A process was killed by this signal.
    Killed(i32),
    /// A call that is not under test, but that the walk itself needs, failed with this error number. The model
    /// never predicts this event.
    OwnCallFailed(i32),
}

/// The last release with the bugs `stale-config-after-clear` and `inclusive-get-set`, which
/// [`Event::allows`] tolerates.
const LAST_RELEASE_WITH_BUGS: (u32, u32) = (7, 3);

/// The releases with the bug `rseq-ignores-signals-of-calls`, which [`Event::allows`] tolerates.
const RELEASES_WITH_UNABORTED_SECTIONS: RangeInclusive<(u32, u32)> = (6, 19)..=(7, 0);

impl Event {
    /// Whether an observed event matches this predicted one.
    ///
    /// Three known kernel bugs are tolerated on the releases that have them. With
    /// `stale-config-after-clear` the other fields of a configuration stay when its mode becomes 0, so
    /// only the mode is compared. With `inclusive-get-set` a tracer may read an inclusive configuration
    /// as the exclusive configuration of the complementary range. With
    /// `rseq-ignores-signals-of-calls` a dispatch does not abort the critical section.
    #[must_use]
    pub fn allows(&self, observed: &Event, release: (u32, u32)) -> bool {
        self.step == observed.step
            && match (self.kind, observed.kind) {
                (EventKind::ConfigRead(expected), EventKind::ConfigRead(read)) => {
                    allows_config(expected, read, release)
                }
                (
                    EventKind::SigsysHandled { continues_at, call_address, .. },
                    EventKind::SigsysHandled {
                        continues_at: observed_address, is_disturbed, ..
                    },
                ) => {
                    let may_be_unaborted =
                        is_disturbed || RELEASES_WITH_UNABORTED_SECTIONS.contains(&release);
                    let is_address_allowed = observed_address == continues_at
                        || may_be_unaborted && observed_address == call_address;
                    is_address_allowed
                        && self.kind.with_continuation(0) == observed.kind.with_continuation(0)
                }
                (expected, observed) => expected == observed,
            }
    }
}

/// Whether a tracer may read the configuration `read` instead of `expected`, on a kernel of this release.
fn allows_config(expected: Config, read: Config, release: (u32, u32)) -> bool {
    let complement = Config {
        mode: 1,
        offset: expected.offset.wrapping_add(expected.length),
        length: expected.length.wrapping_neg(),
        ..expected
    };
    let tolerated = release <= LAST_RELEASE_WITH_BUGS;
    match expected.mode {
        0 if tolerated => read.mode == 0,
        2 if tolerated => read == expected || read == complement,
        _ => read == expected,
    }
}

impl EventKind {
    /// This event; a handled SIGSYS with `continues_at` set to `address`, and undisturbed.
    fn with_continuation(mut self, address: u64) -> EventKind {
        if let EventKind::SigsysHandled { continues_at, is_disturbed, .. } = &mut self {
            (*continues_at, *is_disturbed) = (address, false);
        }
        self
    }

    /// A description for reports.
    #[must_use]
    pub fn describe(&self, layout: &ProgramLayout) -> String {
        match self {
            EventKind::SigsysHandled {
                number,
                code,
                errno,
                arch,
                call_address,
                result,
                continues_at,
                is_disturbed: _,
            } => {
                let cause = if *code == SYS_SECCOMP { "trapped" } else { "dispatched" };
                let next = if continues_at == call_address {
                    String::new()
                } else {
                    format!(", next instruction {}", layout.address_name(*continues_at))
                };
                format!(
                    "{cause}: number {number}, code {code}, errno {errno}, arch {arch:#x}, from {}, \
                     result register {result:#x}{next}",
                    layout.address_name(*call_address)
                )
            }
            EventKind::Returned { result, others_preserved } => {
                let result = result.cast_signed();
                let others = if *others_preserved { "" } else { ", other registers changed" };
                format!("the call gives {result}{others}")
            }
            EventKind::Stopped(signal) => {
                format!("the tracer sees {}", crate::sys::signal_name(*signal))
            }
            EventKind::CallEntry { number, instruction_pointer } => {
                let site = layout.address_name(*instruction_pointer);
                format!("the tracer sees the entry of {number} from {site}")
            }
            EventKind::SetByTracer(0) => "the tracer's setting is accepted".to_owned(),
            EventKind::SetByTracer(errno) => {
                format!("the tracer's setting gives {}", crate::sys::Errno(*errno))
            }
            EventKind::ConfigRead(config) => format!("the tracer reads {config}"),
            EventKind::FinalUmask(mask) => format!("the process ends with umask {mask:#o}"),
            EventKind::Exited(code) => format!("the process exits with {code}"),
            EventKind::Killed(signal) => {
                format!("the process is killed by {}", crate::sys::signal_name(*signal))
            }
            EventKind::OwnCallFailed(errno) => {
                format!("the walk fails: {}", crate::sys::Errno(*errno))
            }
        }
    }
}
