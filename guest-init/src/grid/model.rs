// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The model of the grid: predicts the observations of a point. It is a pure function of the point's
//! states and the memory layout.

mod delivery;

use super::call::{
    EXIT_CODE, call_registers, configuration_arguments, earlier_configuration_arguments,
};
use super::dimension::{
    Arming, Disposition, GateChoice, Number, Parent, Pending, Point, Seccomp, Selector, Sysctl,
    Task, Tracer,
};
use super::memory::Layout;
use super::observation::Observation;
use crate::arch::{NUMBER_BITS, Reg, Registers};
use crate::oracle::{Config, Decision, Rules};
use crate::support::number_read_by_kernel;
use crate::sys::PR_SET_SYSCALL_USER_DISPATCH;

/// The recorded kernel bugs that change predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// The bug `restart-number`.
    pub restart_number: bool,
    /// The bug `phantom-exit-stop`.
    pub phantom_exit: bool,
}

/// `si_code` and `si_errno` of a dispatch.
const DISPATCH_SIGINFO: (i32, i32) = (2, 0);
/// `si_code` and `si_errno` of the trap of a seccomp filter.
const TRAP_SIGINFO: (i32, i32) = (1, TRAP_ERRNO);
/// The error number of the filter that fails the call.
pub const FILTER_ERRNO: i32 = 77;
/// The `si_errno` of the filter that traps the call.
pub const TRAP_ERRNO: i32 = 55;
/// The maximum number of SIGSYS in a point. At this number the handler faults, or the tracer kills the
/// tracee.
pub const MAX_SIGSYS: u32 = 4;
/// The real-time signal of [`Pending::RealTimeSignal`].
pub const REAL_TIME_SIGNAL: i32 = 40;

/// The reason why a simulation ends before its last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process is killed by this signal.
    Killed(i32),
    /// The thread is killed by this signal.
    ThreadKilled(i32),
    /// The process exits with this code.
    Exited(i32),
    /// The thread exits with this code.
    ThreadExited(i32),
    /// The states of the point exclude one another.
    Invalid,
}

/// The continuation of a call after a SIGSYS.
enum Continuation {
    /// The call returns with this value in the result register.
    Return(u64),
    /// The call is issued again with this value in the number register.
    Reissue(u64),
}

/// Predicts the observations of a point on a kernel with these bugs. `None` if the states of the point
/// exclude one another.
#[must_use]
pub fn predict(point: &Point, layout: &Layout, bugs: Bugs) -> Option<Vec<Observation>> {
    if !is_valid(point, layout) {
        return None;
    }
    let is_ignored =
        matches!(point.disposition(), Disposition::Ignored | Disposition::IgnoredBlocked);
    let mut simulation = Simulation {
        point,
        layout,
        bugs,
        observations: Vec::with_capacity(8),
        config: Config::default(),
        selector_byte: 0,
        is_sigsys_blocked: matches!(
            point.disposition(),
            Disposition::Blocked | Disposition::IgnoredBlocked
        ) || point.pending() == Pending::Sigsys,
        sigsys_action: match point.disposition() {
            _ if is_ignored => SigsysAction::Ignored,
            Disposition::Default => SigsysAction::Default,
            _ => SigsysAction::Handler,
        },
        // The kernel discards pending signals that are ignored.
        is_sigsys_pending: point.pending() == Pending::Sigsys && !is_ignored,
        handled_count: 0,
        sigsys_stops: 0,
        before_first_stop: true,
    };
    match simulation.run() {
        Ok(()) => {}
        Err(End::Invalid) => return None,
        Err(end) => simulation.observe_end(end),
    }
    Some(simulation.observations)
}

/// The decision about the first issue of the call under test. `None` if the kernel refuses the
/// configuration or dispatch is off.
#[must_use]
pub fn first_decision(point: &Point, layout: &Layout) -> Option<Decision> {
    let rules =
        Rules { has_inclusive_mode: layout.platform.has_inclusive_mode, is_arming_permitted: true };
    let config =
        Config::set(configuration_arguments(point, layout), rules, |s| layout.is_forbidden(s));
    let config = config.ok().filter(|config| config.mode != 0)?;
    let compared_address = layout.gate(point.gate())?.compared_address();
    Some(config.decide(compared_address, |_| match point.selector() {
        Selector::CodeByte => Some(layout.code_byte),
        selector if selector.is_memory() => Some(point.value()),
        _ => None,
    }))
}

/// Whether a point with these observations must be the last point of its task.
#[must_use]
pub fn is_last(point: &Point, observations: &[Observation]) -> bool {
    use Observation::{Exited, Killed, ProcessEnded, ThreadGone};
    point.seccomp() != Seccomp::None
        || matches!(observations.last(), Some(Killed(_) | Exited(_) | ThreadGone | ProcessEnded(_)))
}

/// Whether the states of a point can occur together on this machine.
fn is_valid(point: &Point, layout: &Layout) -> bool {
    let is_traced = point.tracer() != Tracer::None;
    let is_stepped = point.tracer().single_steps();
    // A parent that waits in vfork(2) cannot trace.
    !(is_traced && point.task() == Task::Vfork)
        && (is_traced || point.arming() != Arming::Tracer)
        // The call that the tracer steps over or skips must be the call under test, not the prctl(2) that
        // sets strict mode.
        && !((is_stepped || point.tracer().skips_call()) && point.seccomp() == Seccomp::Strict)
        && !(is_stepped && point.seccomp() == Seccomp::Trap)
        // After the trap of a filter, the kernel takes these numbers for restart codes. The grid leaves
        // out this behaviour of seccomp.
        && !(point.seccomp() == Seccomp::Trap && point.number().is_restart_code())
        // The first thread must arm, but the sysctl denies arming to all threads.
        && !(point.sysctl() == Sysctl::Denies
            && point.parent() == Parent::Armed
            && point.task() == Task::Thread)
        && layout.gate(point.gate()).is_some()
        && layout.selector(point.selector()).is_some()
}

/// The current action for SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SigsysAction {
    Handler,
    Ignored,
    Default,
}

/// The simulated state of a task that runs a point.
struct Simulation<'a> {
    point: &'a Point,
    layout: &'a Layout,
    bugs: Bugs,
    observations: Vec<Observation>,
    config: Config,
    /// The value of the selector under test.
    selector_byte: u8,
    /// Whether SIGSYS is blocked.
    is_sigsys_blocked: bool,
    sigsys_action: SigsysAction,
    /// Whether a SIGSYS from tgkill(2) is pending. The kernel merges the SIGSYS of a dispatch with the
    /// pending signal, which keeps its siginfo.
    is_sigsys_pending: bool,
    /// The number of SIGSYS handled.
    handled_count: u32,
    /// The number of stops of the tracee for SIGSYS.
    sigsys_stops: u32,
    /// Whether the tracee has not stopped since the tracer resumed it before the call under test.
    before_first_stop: bool,
}

/// The value of the result register for an error number.
fn error_result(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

impl Simulation<'_> {
    /// Predicts an observation.
    fn observe(&mut self, observation: Observation) {
        self.observations.push(observation);
    }

    /// Predicts a stop of the tracee for a signal other than SIGSYS.
    fn observe_stop(&mut self, signal: i32, instruction_pointer: u64) {
        let (info, result) = (None, None);
        self.observe(Observation::Stopped { signal, info, instruction_pointer, result });
    }

    fn is_traced(&self) -> bool {
        self.point.tracer() != Tracer::None
    }

    /// Simulates the whole point.
    fn run(&mut self) -> Result<(), End> {
        let (point, layout) = (self.point, self.layout);
        let arguments = configuration_arguments(point, layout);
        match point.arming() {
            Arming::Replaced => {
                self.configure(earlier_configuration_arguments(layout), Observation::Set)
            }
            Arming::AfterOff => {
                self.configure(earlier_configuration_arguments(layout), Observation::Set);
                self.configure([0; 4], Observation::Set);
            }
            Arming::Once | Arming::Tracer => {}
        }
        if point.arming() == Arming::Tracer {
            self.configure(arguments, Observation::SetByTracer);
        } else {
            self.configure(arguments, Observation::Set);
        }
        let inside_allowed = self.decide(layout.inside.start) == Decision::Pass;
        if !inside_allowed && (self.is_traced() || point.seccomp() == Seccomp::Strict) {
            return Err(End::Invalid);
        }
        for _ in 0..point.times().count() {
            self.selector_byte = point.value();
            let (result, executed) = self.call_under_test()?;
            self.selector_byte = 0;
            self.observe(Observation::Returned { result, preserved: true, executed });
        }
        if point.seccomp() == Seccomp::Strict {
            return Ok(());
        }
        self.next_call()?;
        if !inside_allowed {
            // The task disarms by a call from inside.
            let number = libc::SYS_prctl.cast_unsigned();
            let option = PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned().into();
            self.simulate_inside_call(Registers::for_call(number, [option, 0, 0, 0, 0, 0]))?;
        }
        match point.pending() {
            Pending::Sigusr1 => self.unblock(libc::SIGUSR1),
            Pending::RealTimeSignal => self.unblock(REAL_TIME_SIGNAL),
            _ => {}
        }
        Ok(())
    }

    /// Simulates unblocking a pending signal after all calls: its handler runs.
    fn unblock(&mut self, signal: i32) {
        if self.is_traced() {
            self.observe_stop(signal, self.layout.inside.start);
        }
        self.observe(Observation::OtherSignal(signal));
    }

    /// Simulates setting a configuration. `observation` makes an observation from the error number, or from 0
    /// for success.
    fn configure(&mut self, arguments: [u64; 4], observation: fn(i32) -> Observation) {
        let is_arming_permitted = self.point.sysctl() == Sysctl::Permits;
        let rules = Rules {
            has_inclusive_mode: self.layout.platform.has_inclusive_mode,
            is_arming_permitted,
        };
        let layout = self.layout;
        match Config::set(arguments, rules, |selector| layout.is_forbidden(selector)) {
            Ok(config) => {
                self.config = config;
                self.observe(observation(0));
            }
            Err(error) => self.observe(observation(error)),
        }
    }

    /// The kernel's decision about a call with this compared address.
    fn decide(&self, compared_address: u64) -> Decision {
        self.config.decide(compared_address, |selector| {
            if selector == self.layout.allow_selector {
                return Some(0);
            }
            match self.point.selector() {
                Selector::CodeByte => Some(self.layout.code_byte),
                selector if selector.is_memory() => Some(self.selector_byte),
                _ => None,
            }
        })
    }

    /// Simulates the call under test. Returns the result (`None` if dispatch does not determine the result),
    /// and whether the call took effect.
    fn call_under_test(&mut self) -> Result<(Option<u64>, bool), End> {
        let registers = call_registers(self.point, self.layout);
        let mut number = registers[Reg::NUMBER];
        let Some(gate) = self.layout.gate(self.point.gate()) else {
            return Err(End::Invalid);
        };
        let compared_address = gate.compared_address();
        loop {
            match self.decide(compared_address) {
                Decision::Kill(signal) => {
                    self.observe_phantom_exit_stop(compared_address, signal);
                    return Err(End::Killed(signal));
                }
                Decision::Pass => return self.execute(compared_address, number, &registers),
                Decision::Dispatch => {
                    match self.deliver(compared_address, number, &registers, DISPATCH_SIGINFO)? {
                        Continuation::Return(result) => return Ok((Some(result), false)),
                        Continuation::Reissue(new_number) => number = new_number,
                    }
                }
            }
        }
    }

    /// Predicts the stop that the tracer sees on a kernel with the bug `phantom-exit-stop` when the
    /// selector kills the caller. A tracer that single-steps sees the stop only if the fatal signal was
    /// pending before the call: then `dequeue_synchronous_signal()` returns the SIGTRAP of the step first.
    fn observe_phantom_exit_stop(&mut self, compared_address: u64, signal: i32) {
        if !self.bugs.phantom_exit {
            return;
        }
        let was_pending = match self.point.pending() {
            Pending::Sigsegv => signal == libc::SIGSEGV,
            Pending::Sigsys => signal == libc::SIGSYS && self.is_sigsys_pending,
            _ => false,
        };
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit {
                instruction_pointer: compared_address,
                result: Some(error_result(libc::ENOSYS)),
            });
        } else if self.point.tracer() == Tracer::Singlestep && self.before_first_stop && was_pending
        {
            self.observe_stop(libc::SIGTRAP, compared_address);
        }
    }

    /// Simulates the next call after the calls under test, from another gate.
    fn next_call(&mut self) -> Result<(), End> {
        let gate = self.layout.next_gate(self.point.gate());
        let compared_address = gate.compared_address();
        let [a, b, c] = self.layout.id_addresses;
        let number = libc::SYS_getresuid.cast_unsigned();
        let registers = Registers::for_call(number, [a, b, c, 0, 0, 0]);
        let executed = match self.decide(compared_address) {
            Decision::Kill(signal) => {
                self.observe_phantom_exit_stop(compared_address, signal);
                return Err(End::Killed(signal));
            }
            Decision::Pass => {
                if self.point.tracer().stops_at_calls() {
                    self.observe(Observation::CallEntry {
                        number,
                        instruction_pointer: compared_address,
                    });
                    self.observe(Observation::CallExit {
                        instruction_pointer: compared_address,
                        result: Some(0),
                    });
                }
                true
            }
            Decision::Dispatch => {
                let _ = self.deliver(
                    compared_address,
                    registers[Reg::NUMBER],
                    &registers,
                    DISPATCH_SIGINFO,
                )?;
                false
            }
        };
        self.observe(Observation::NextCall { executed });
        Ok(())
    }

    /// Simulates a call from inside, which most configurations allow. If the call is dispatched, the
    /// sigreturn of the handler is dispatched too, and so on until [`MAX_SIGSYS`].
    fn simulate_inside_call(&mut self, registers: Registers) -> Result<(), End> {
        let compared_address = self.layout.inside.start;
        match self.decide(compared_address) {
            Decision::Pass => Ok(()),
            Decision::Kill(signal) => Err(End::Killed(signal)),
            Decision::Dispatch => {
                let _ = self.deliver(
                    compared_address,
                    registers[Reg::NUMBER],
                    &registers,
                    DISPATCH_SIGINFO,
                )?;
                Err(End::Invalid)
            }
        }
    }

    /// Simulates a call that dispatch lets pass. Returns the result (`None` if dispatch does not determine
    /// the result), and whether the call took effect.
    fn execute(
        &mut self,
        compared_address: u64,
        number_register: u64,
        registers: &Registers,
    ) -> Result<(Option<u64>, bool), End> {
        let tracer = self.point.tracer();
        let number = i64::from(number_read_by_kernel(number_register)).cast_unsigned();
        let not_implemented = (Some(error_result(libc::ENOSYS)), false);
        if tracer.stops_at_calls() || (tracer.skips_call() && self.before_first_stop) {
            self.observe(Observation::CallEntry { number, instruction_pointer: compared_address });
        }
        if tracer.skips_call() && self.before_first_stop {
            self.before_first_stop = false;
            return Ok(not_implemented);
        }
        match self.point.seccomp() {
            Seccomp::Strict if !self.is_allowed_by_strict() => {
                return Err(End::ThreadKilled(libc::SIGKILL));
            }
            Seccomp::Errno => {
                let result = Some(error_result(FILTER_ERRNO));
                self.observe_call_exit(compared_address, result);
                return Ok((result, false));
            }
            Seccomp::Trap => {
                if tracer.stops_at_calls() {
                    self.observe(Observation::CallExit {
                        instruction_pointer: compared_address,
                        result: None,
                    });
                }
                return match self.deliver(
                    compared_address,
                    number_register,
                    registers,
                    TRAP_SIGINFO,
                )? {
                    Continuation::Return(result) => Ok((Some(result), false)),
                    Continuation::Reissue(_) => Err(End::Invalid),
                };
            }
            Seccomp::Kill => {
                if tracer.stops_at_calls() {
                    self.observe(Observation::CallExit {
                        instruction_pointer: compared_address,
                        result: None,
                    });
                }
                if tracer == Tracer::Singlestep && self.before_first_stop && self.is_sigsys_pending
                {
                    // The kernel dequeues the SIGTRAP of the single step before the pending SIGSYS.
                    self.observe_stop(libc::SIGTRAP, compared_address);
                }
                return Err(End::Killed(libc::SIGSYS));
            }
            _ => {}
        }
        let (result, executed) = match self.point.number() {
            Number::Getresuid => (Some(0), true),
            Number::GetresuidFarBits if NUMBER_BITS <= 32 => (Some(0), true),
            Number::GetresuidBit30
                if self.point.gate() != GateChoice::SecondEntry && self.layout.platform.has_x32 =>
            {
                (Some(0), true)
            }
            Number::Zero => (None, false),
            Number::RtSigreturn => return Err(End::Invalid),
            Number::Exit => return Err(End::ThreadExited(EXIT_CODE.into())),
            Number::ExitGroup => return Err(End::Exited(EXIT_CODE.into())),
            Number::Disarm => {
                self.config = Config::default();
                (Some(0), false)
            }
            _ => not_implemented,
        };
        self.observe_call_exit(compared_address, result);
        Ok((result, executed))
    }

    /// Predicts the stops at the exit of a call that was not dispatched.
    fn observe_call_exit(&mut self, compared_address: u64, result: Option<u64>) {
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit { instruction_pointer: compared_address, result });
        }
        if self.point.tracer().single_steps() && self.before_first_stop {
            self.observe_stop(libc::SIGTRAP, compared_address);
        }
        self.before_first_stop = false;
    }

    /// Whether strict mode allows the call: `read`, `write`, `exit` and `rt_sigreturn`
    /// (`mode1_syscalls`, kernel/seccomp.c).
    fn is_allowed_by_strict(&self) -> bool {
        match self.point.number() {
            Number::Exit | Number::RtSigreturn => true,
            Number::Zero => {
                self.layout.zero_is_read && self.point.gate() != GateChoice::SecondEntry
            }
            _ => false,
        }
    }

    /// Predicts the observations of the task's end.
    fn observe_end(&mut self, end: End) {
        if self.point.tracer().attaches_by_seize() {
            self.observe(Observation::Event(libc::PTRACE_EVENT_EXIT));
        }
        let is_thread = self.point.task() == Task::Thread;
        // As a shell reports the end of a process: 128 + signal, or the exit code.
        let process_status = match end {
            End::Killed(signal) => {
                self.observe(Observation::Killed(signal));
                128 + signal
            }
            End::Exited(code) => {
                self.observe(Observation::Exited(code));
                code
            }
            End::ThreadKilled(_) | End::ThreadExited(_) if is_thread && !self.is_traced() => {
                self.observe(Observation::ThreadGone);
                0
            }
            End::ThreadKilled(signal) => {
                self.observe(Observation::Killed(signal));
                0
            }
            End::ThreadExited(code) => {
                self.observe(Observation::Exited(code));
                0
            }
            End::Invalid => 0,
        };
        if is_thread && self.is_traced() {
            self.observe(Observation::ProcessEnded(process_status));
        }
    }
}
