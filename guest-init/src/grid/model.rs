// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The model of the grid: predicts the observations of a point. It is a pure function of the point's
//! states and the memory layout.

mod delivery;

use super::call::{EXIT_CODE, call_registers, configuration_arguments, earlier_arguments};
use super::dimension::{
    Arming, Disposition, Entry, Number, Parent, Pending, Point, Seccomp, Selector, Sysctl, Task,
    Tracer,
};
use super::memory::Layout;
use super::observation::Observation;
use crate::arch::{NUMBER_BITS, Reg, Registers};
use crate::oracle::{Config, Decision, Rules};
use crate::support::number_read_by_kernel;

/// The recorded kernel bugs that change predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// `restart-number`
    pub restart_number: bool,
    /// `phantom-exit-stop`
    pub phantom_exit: bool,
}

/// The error number of the filter that fails the call.
pub const FILTER_ERRNO: i32 = 77;
/// The `si_errno` of the filter that traps the call.
pub const TRAP_ERRNO: i32 = 55;
/// The number of SIGSYS in one point, handled or seen by the tracer, after which the point ends: the
/// handler faults, or the tracer kills the tracee.
pub const MAX_SIGSYS: u32 = 4;
/// The real-time signal that may be pending.
pub const REAL_TIME_SIGNAL: i32 = 40;

/// The end of a simulation.
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

/// The continuation of the program after a SIGSYS.
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
    let ignored = matches!(point.disposition(), Disposition::Ignored | Disposition::IgnoredBlocked);
    let mut simulation = Simulation {
        point,
        layout,
        bugs,
        observations: Vec::with_capacity(8),
        config: Config::default(),
        selector_byte: 0,
        blocked: matches!(point.disposition(), Disposition::Blocked | Disposition::IgnoredBlocked)
            || point.pending() == Pending::Same,
        action: match point.disposition() {
            _ if ignored => Action::Ignored,
            Disposition::Default => Action::Default,
            _ => Action::Handler,
        },
        // The kernel discards pending signals that are ignored.
        sigsys_pending: point.pending() == Pending::Same && !ignored,
        handled: 0,
        stops: 0,
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
    let rules = Rules { inclusive: layout.platform.inclusive, permitted: true };
    let set =
        Config::set(configuration_arguments(point, layout), rules, |s| layout.is_forbidden(s));
    let config = set.ok().filter(|config| config.mode != 0)?;
    let at = layout.entry(point.entry())?.compared_address();
    Some(config.decide(at, |_| match point.selector() {
        Selector::Code => Some(layout.code_byte),
        selector if selector.is_memory() => Some(point.value()),
        _ => None,
    }))
}

/// Whether a point with these observations must be the last one of its task.
#[must_use]
pub fn is_last(point: &Point, observations: &[Observation]) -> bool {
    use Observation::{Exited, Killed, ProcessEnded, ThreadGone};
    point.seccomp() != Seccomp::None
        || matches!(observations.last(), Some(Killed(_) | Exited(_) | ThreadGone | ProcessEnded(_)))
}

/// Whether the states of a point can occur together on this machine.
fn is_valid(point: &Point, layout: &Layout) -> bool {
    let traced = point.tracer() != Tracer::None;
    let steps = point.tracer().single_steps();
    // A parent that waits in vfork(2) cannot trace.
    !(traced && point.task() == Task::Vfork)
        && (traced || point.arming() != Arming::Tracer)
        // The tracee's next call must be the one under test, and not the prctl for strict mode.
        && !((steps || point.tracer().skips_call()) && point.seccomp() == Seccomp::Strict)
        && !(steps && point.seccomp() == Seccomp::Trap)
        // After a filter's trap, too, the kernel treats these numbers as restart codes. Dispatch is not
        // involved.
        && !(point.seccomp() == Seccomp::Trap && point.number().is_restart_code())
        // The first thread must arm, and the sysctl denies arming to it too.
        && !(point.sysctl() == Sysctl::Denies
            && point.parent() == Parent::Armed
            && point.task() == Task::Thread)
        && layout.entry(point.entry()).is_some()
        && layout.selector(point.selector()).is_some()
}

/// The current action for SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
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
    /// The value of the selector.
    selector_byte: u8,
    /// Whether SIGSYS is blocked.
    blocked: bool,
    action: Action,
    /// Whether a SIGSYS from tgkill(2) is pending. A dispatch is then merged with it and keeps the older
    /// siginfo.
    sigsys_pending: bool,
    /// The number of SIGSYS handled.
    handled: u32,
    /// The number of SIGSYS that the tracer saw.
    stops: u32,
    /// Whether the tracee has not stopped yet since the tracer resumed it before the call.
    before_first_stop: bool,
}

/// The value of a result register for an error number.
fn error_result(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

impl Simulation<'_> {
    fn observe(&mut self, observation: Observation) {
        self.observations.push(observation);
    }

    /// A stop of the tracee for a signal other than SIGSYS.
    fn observe_stop(&mut self, signal: i32, next: u64) {
        self.observe(Observation::Stopped { signal, info: None, next, result: None });
    }

    fn is_traced(&self) -> bool {
        self.point.tracer() != Tracer::None
    }

    /// Simulates the whole point.
    fn run(&mut self) -> Result<(), End> {
        let (point, layout) = (self.point, self.layout);
        let arguments = configuration_arguments(point, layout);
        match point.arming() {
            Arming::Replaced => self.set(earlier_arguments(layout), Observation::Set),
            Arming::AfterOff => {
                self.set(earlier_arguments(layout), Observation::Set);
                self.set([0; 4], Observation::Set);
            }
            Arming::Once | Arming::Tracer => {}
        }
        if point.arming() == Arming::Tracer {
            self.set(arguments, Observation::SetByTracer);
        } else {
            self.set(arguments, Observation::Set);
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
            let [number, operation] = [libc::SYS_prctl.cast_unsigned(), 59];
            self.call_inside(Registers::for_call(number, [operation, 0, 0, 0, 0, 0]))?;
        }
        match point.pending() {
            Pending::Other => self.unblock(libc::SIGUSR1),
            Pending::RealTime => self.unblock(REAL_TIME_SIGNAL),
            _ => {}
        }
        Ok(())
    }

    /// Unblocks a pending signal after all calls, so that it is handled.
    fn unblock(&mut self, signal: i32) {
        if self.is_traced() {
            self.observe_stop(signal, self.layout.inside.start);
        }
        self.observe(Observation::OtherSignal(signal));
    }

    /// Sets a configuration. `observation` makes an observation of the error number.
    fn set(&mut self, arguments: [u64; 4], observation: fn(i32) -> Observation) {
        let permitted = self.point.sysctl() == Sysctl::Permits;
        let rules = Rules { inclusive: self.layout.platform.inclusive, permitted };
        let layout = self.layout;
        match Config::set(arguments, rules, |selector| layout.is_forbidden(selector)) {
            Ok(config) => {
                self.config = config;
                self.observe(observation(0));
            }
            Err(error) => self.observe(observation(error)),
        }
    }

    /// The decision about a call whose instruction ends at `at`.
    fn decide(&self, at: u64) -> Decision {
        self.config.decide(at, |selector| {
            if selector == self.layout.allow_selector {
                return Some(0);
            }
            match self.point.selector() {
                Selector::Code => Some(self.layout.code_byte),
                selector if selector.is_memory() => Some(self.selector_byte),
                _ => None,
            }
        })
    }

    /// Issues the call under test. Returns its result, unless dispatch does not determine it, and
    /// whether the call took effect.
    fn call_under_test(&mut self) -> Result<(Option<u64>, bool), End> {
        let registers = call_registers(self.point, self.layout);
        let mut number = registers[Reg::NUMBER];
        let Some(entry) = self.layout.entry(self.point.entry()) else {
            return Err(End::Invalid);
        };
        let at = entry.compared_address();
        loop {
            match self.decide(at) {
                Decision::Kill(signal) => {
                    self.phantom_exit_stop(at, signal);
                    return Err(End::Killed(signal));
                }
                Decision::Pass => return self.execute(at, number, &registers),
                Decision::Dispatch => match self.deliver(at, number, &registers, (2, 0))? {
                    Continuation::Return(result) => return Ok((Some(result), false)),
                    Continuation::Reissue(again) => number = again,
                },
            }
        }
    }

    /// The stop that the tracer sees on a kernel with the bug `phantom-exit-stop` when the selector
    /// kills the caller. With single-stepping it appears only if the fatal signal was pending before the
    /// call, since `dequeue_synchronous_signal()` then finds the step's SIGTRAP first.
    fn phantom_exit_stop(&mut self, at: u64, signal: i32) {
        if !self.bugs.phantom_exit {
            return;
        }
        let pending = match self.point.pending() {
            Pending::Fault => signal == libc::SIGSEGV,
            Pending::Same => signal == libc::SIGSYS && self.sigsys_pending,
            _ => false,
        };
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit { at, result: Some(error_result(libc::ENOSYS)) });
        } else if self.point.tracer() == Tracer::Steps && self.before_first_stop && pending {
            self.observe_stop(libc::SIGTRAP, at);
        }
    }

    /// Issues the next call from the gate that is not under test.
    fn next_call(&mut self) -> Result<(), End> {
        let gate = self.layout.next_gate(self.point.entry());
        let at = gate.compared_address();
        let [a, b, c] = self.layout.effect;
        let number = libc::SYS_getresuid.cast_unsigned();
        let registers = Registers::for_call(number, [a, b, c, 0, 0, 0]);
        let executed = match self.decide(at) {
            Decision::Kill(signal) => {
                self.phantom_exit_stop(at, signal);
                return Err(End::Killed(signal));
            }
            Decision::Pass => {
                if self.point.tracer().stops_at_calls() {
                    self.observe(Observation::CallEntry { number, at });
                    self.observe(Observation::CallExit { at, result: Some(0) });
                }
                true
            }
            Decision::Dispatch => {
                let _ = self.deliver(at, registers[Reg::NUMBER], &registers, (2, 0))?;
                false
            }
        };
        self.observe(Observation::NextCall { executed });
        Ok(())
    }

    /// Issues a call inside the range that is allowed in most configurations. If it is dispatched, so
    /// is the handler's sigreturn, and the call never returns.
    fn call_inside(&mut self, registers: Registers) -> Result<(), End> {
        let at = self.layout.inside.start;
        match self.decide(at) {
            Decision::Pass => Ok(()),
            Decision::Kill(signal) => Err(End::Killed(signal)),
            Decision::Dispatch => {
                let _ = self.deliver(at, registers[Reg::NUMBER], &registers, (2, 0))?;
                Err(End::Invalid)
            }
        }
    }

    /// Executes a call that dispatch lets pass. Returns as [`Self::call_under_test`].
    fn execute(
        &mut self,
        at: u64,
        register: u64,
        registers: &Registers,
    ) -> Result<(Option<u64>, bool), End> {
        let tracer = self.point.tracer();
        let number = i64::from(number_read_by_kernel(register)).cast_unsigned();
        let not_implemented = (Some(error_result(libc::ENOSYS)), false);
        if tracer.stops_at_calls() || (tracer.skips_call() && self.before_first_stop) {
            self.observe(Observation::CallEntry { number, at });
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
                self.exit_call(at, result);
                return Ok((result, false));
            }
            Seccomp::Trap => {
                if tracer.stops_at_calls() {
                    self.observe(Observation::CallExit { at, result: None });
                }
                return match self.deliver(at, register, registers, (1, TRAP_ERRNO))? {
                    Continuation::Return(result) => Ok((Some(result), false)),
                    Continuation::Reissue(_) => Err(End::Invalid),
                };
            }
            Seccomp::Kill => {
                if tracer.stops_at_calls() {
                    self.observe(Observation::CallExit { at, result: None });
                }
                if tracer == Tracer::Steps && self.before_first_stop && self.sigsys_pending {
                    // The kernel dequeues the step's SIGTRAP before the SIGSYS that was pending.
                    self.observe_stop(libc::SIGTRAP, at);
                }
                return Err(End::Killed(libc::SIGSYS));
            }
            _ => {}
        }
        let (result, executed) = match self.point.number() {
            Number::Effect => (Some(0), true),
            Number::EffectFar if NUMBER_BITS <= 32 => (Some(0), true),
            Number::OtherTable
                if self.point.entry() != Entry::Other && self.layout.platform.x32 =>
            {
                (Some(0), true)
            }
            Number::Zero => (None, false),
            Number::Return => return Err(End::Invalid),
            Number::Exit => return Err(End::ThreadExited(EXIT_CODE.into())),
            Number::ExitGroup => return Err(End::Exited(EXIT_CODE.into())),
            Number::Disarm => {
                self.config = Config::default();
                (Some(0), false)
            }
            _ => not_implemented,
        };
        self.exit_call(at, result);
        Ok((result, executed))
    }

    /// The exit path of a call that was not dispatched.
    fn exit_call(&mut self, at: u64, result: Option<u64>) {
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit { at, result });
        }
        if self.point.tracer().single_steps() && self.before_first_stop {
            self.observe_stop(libc::SIGTRAP, at);
        }
        self.before_first_stop = false;
    }

    /// Whether strict mode allows the call: `read`, `write`, `exit` and `rt_sigreturn`
    /// (`mode1_syscalls`, kernel/seccomp.c).
    fn is_allowed_by_strict(&self) -> bool {
        match self.point.number() {
            Number::Exit | Number::Return => true,
            Number::Zero => self.layout.zero_is_read && self.point.entry() != Entry::Other,
            _ => false,
        }
    }

    /// Adds the observations of the task's end.
    fn observe_end(&mut self, end: End) {
        if self.point.tracer().attaches_by_seize() {
            self.observe(Observation::Event(libc::PTRACE_EVENT_EXIT));
        }
        let thread = self.point.task() == Task::Thread;
        let process = match end {
            End::Killed(signal) => {
                self.observe(Observation::Killed(signal));
                128 + signal
            }
            End::Exited(code) => {
                self.observe(Observation::Exited(code));
                code
            }
            End::ThreadKilled(_) | End::ThreadExited(_) if thread && !self.is_traced() => {
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
        if thread && self.is_traced() {
            self.observe(Observation::ProcessEnded(process));
        }
    }
}
