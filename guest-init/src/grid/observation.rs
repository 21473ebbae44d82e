// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The observations of a point: the events that the caller, its handlers, its tracer and its parent can
//! see. The model predicts them, and a task that runs the point records them.

/// The fields of a SIGSYS's siginfo. For `si_code` values other than those of dispatch and seccomp, all
/// other fields are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Siginfo {
    /// `si_code`
    pub code: i32,
    /// `si_errno`
    pub errno: i32,
    /// `si_syscall`
    pub number: i32,
    /// `si_arch`
    pub arch: u32,
    /// `si_call_addr`
    pub call_address: u64,
}

/// The state that a handler of SIGSYS with `SA_SIGINFO` sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The signal's siginfo.
    pub info: Siginfo,
    /// Whether the handler runs on the alternate stack.
    pub on_alternate_stack: bool,
    /// The result register in the frame.
    pub result: u64,
    /// The address of the next instruction in the frame.
    pub instruction_pointer: u64,
    /// Whether the other registers in the frame have the values that they had at the call.
    pub preserved: bool,
    /// The signal mask in the frame.
    pub mask: u64,
}

/// One observation. Addresses inside the allowed range are replaced by the start of that range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The prctl(2) that sets the configuration returned this error number, or 0.
    Set(i32),
    /// The tracer's request that sets the configuration returned this error number, or 0.
    SetByTracer(i32),
    /// The handler of SIGSYS ran. `None` if it has no `SA_SIGINFO`.
    Handled(Option<Frame>),
    /// The call under test returned.
    Returned {
        /// The result register; `None` in a prediction if dispatch does not determine it.
        result: Option<u64>,
        /// Whether the other registers have the values that they had at the call.
        preserved: bool,
        /// Whether the call took effect.
        executed: bool,
    },
    /// The next call, from another gate with the selector at ALLOW, returned.
    NextCall {
        /// Whether the call took effect.
        executed: bool,
    },
    /// The handler of this other signal ran.
    OtherSignal(i32),
    /// The tracer saw a signal-delivery stop.
    Stopped {
        /// The signal.
        signal: i32,
        /// The siginfo of a SIGSYS.
        info: Option<Siginfo>,
        /// The address of the next instruction.
        instruction_pointer: u64,
        /// The result register at a SIGSYS.
        result: Option<u64>,
    },
    /// The tracer saw a syscall-entry stop.
    CallEntry {
        /// The number of the call.
        number: u64,
        /// The address after the call's instruction.
        instruction_pointer: u64,
    },
    /// The tracer saw a syscall-exit stop.
    CallExit {
        /// The address of the next instruction.
        instruction_pointer: u64,
        /// The result; `None` in a prediction if dispatch does not determine it.
        result: Option<u64>,
    },
    /// The tracer saw the `PTRACE_EVENT_*` of this number.
    Event(i32),
    /// The task was killed by this signal.
    Killed(i32),
    /// The task exited with this code.
    Exited(i32),
    /// The thread ended and its process lives.
    ThreadGone,
    /// The process of a traced thread exited with this code, or was killed by this signal plus 128.
    ProcessEnded(i32),
    /// A step that prepares the point failed with this error number. The model never predicts this
    /// observation.
    SetupFailed(i32),
}

impl Observation {
    /// Whether this predicted observation agrees with an actual one.
    #[must_use]
    pub fn allows(&self, observed: &Observation) -> bool {
        match (*self, *observed) {
            (
                Observation::Returned { result: None, preserved, executed },
                Observation::Returned { result, .. },
            ) => Observation::Returned { result, preserved, executed } == *observed,
            (
                Observation::CallExit { instruction_pointer, result: None },
                Observation::CallExit { result, .. },
            ) => Observation::CallExit { instruction_pointer, result } == *observed,
            _ => self == observed,
        }
    }
}
