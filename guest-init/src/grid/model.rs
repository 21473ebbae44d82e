// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Predicts what a point of the grid shows: a pure function, from the states of a point and where
//! things are in memory to all that the caller, its handlers, its tracer and its parent see.

use super::dimension::{
    Armed, Entry, Handling, Mode, Number, Parent, Pending, Point, Seccomp, Selector, Span, Sysctl,
    Task, Times, Tracer,
};
use super::ground::{Layout, Other};
use crate::arch::{AUDIT_ARCH, CALL_LENGTH, NUMBER_BITS, Reg, Registers, UNUSED_NUMBER};
use crate::oracle::{Config, Decision, Rules};
use crate::support::seen_number;
use crate::sys;

/// What `siginfo` tells of a SIGSYS. Of codes other than those of dispatch and seccomp, all else is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `si_code`
    pub code: i32,
    /// `si_errno`
    pub errno: i32,
    /// `si_syscall`
    pub number: i32,
    /// `si_arch`
    pub arch: u32,
    /// `si_call_addr`
    pub at: u64,
}

/// What a handler of SIGSYS with `SA_SIGINFO` sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The signal's information.
    pub told: Told,
    /// Whether the handler runs on the alternate stack.
    pub on_stack: bool,
    /// The result register in the frame.
    pub result: u64,
    /// The next instruction in the frame.
    pub next: u64,
    /// Whether the other registers in the frame are those of the call.
    pub kept: bool,
    /// The signal mask in the frame.
    pub mask: u64,
}

/// One thing that is seen of a point. An address among those of calls that are not under test is
/// given as the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Setting the configuration gave this error number, or 0.
    Set(i32),
    /// The tracer's setting it gave this error number, or 0.
    SetByTracer(i32),
    /// A handler of SIGSYS ran, with what it was given, if anything.
    Handled(Option<Frame>),
    /// The call under test came back.
    Behind {
        /// The result register; `None`: not dispatch's business.
        result: Option<u64>,
        /// Whether the other registers are as before.
        kept: bool,
        /// Whether the call had its effect.
        executed: bool,
    },
    /// A call from another gate, with the selector at ALLOW, came back: whether it had its effect.
    Next {
        /// Whether it did.
        executed: bool,
    },
    /// A handler of another signal ran.
    Signalled(i32),
    /// The tracer saw a stop for this signal.
    Stopped {
        /// The signal.
        signal: i32,
        /// What it tells, of SIGSYS.
        told: Option<Told>,
        /// The next instruction.
        next: u64,
        /// The result register, at SIGSYS.
        result: Option<u64>,
    },
    /// The tracer saw the entry of a call.
    Entered {
        /// Its number.
        number: u64,
        /// The address behind the instruction.
        at: u64,
    },
    /// The tracer saw the exit of a call.
    Left {
        /// The next instruction.
        at: u64,
        /// The result; `None`: not dispatch's business.
        result: Option<u64>,
    },
    /// The tracer saw the event of this number.
    Event(i32),
    /// The task was killed by this signal.
    Killed(i32),
    /// The task exited with this code.
    Exited(i32),
    /// The thread is gone and its process is not.
    ThreadGone,
    /// The process of a traced thread was killed by this signal (128 is added) or exited with this
    /// code.
    Process(i32),
    /// Something that only carries the point failed with this error number: never predicted.
    Trouble(i32),
}

impl Sight {
    /// Whether what was seen is what was predicted.
    #[must_use]
    pub fn allows(&self, seen: &Sight) -> bool {
        match (*self, *seen) {
            (Sight::Behind { result: None, kept, executed }, Sight::Behind { result, .. }) => {
                Sight::Behind { result, kept, executed } == *seen
            }
            (Sight::Left { at, result: None }, Sight::Left { result, .. }) => {
                Sight::Left { at, result } == *seen
            }
            _ => self == seen,
        }
    }
}

/// Recorded bugs of kernels that change what a point shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// `restart-number`
    pub restart_number: bool,
    /// `phantom-exit-stop`
    pub phantom_exit: bool,
}

/// The code with which the call under test exits.
pub const EXIT_CODE: u64 = 9;
/// The error number of the filter that fails the call.
pub const FILTERED: i32 = 77;
/// What the filter that traps the call leaves in `si_errno`.
pub const TRAPPED: i32 = 55;
/// So many SIGSYS of one point are handled, or shown to the tracer; then the point ends: the handler
/// touches address 0, or the tracer kills.
pub const PATIENCE: u32 = 4;
/// The real-time signal that may be pending.
pub const REAL_TIME: i32 = 40;

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process is killed.
    Killed(i32),
    /// The thread is killed.
    ThreadKilled(i32),
    /// The process exits.
    Exited(i32),
    /// The thread exits.
    ThreadExited(i32),
    /// The point makes no sense.
    Senseless,
}

/// How the program goes on.
enum Onward {
    /// Behind the call, with this in the result register.
    Behind(u64),
    /// With the call again, and this in the number's register.
    Again(u64),
}

/// What is predicted of a point: `None` if it makes no sense.
#[must_use]
pub fn predict(point: &Point, layout: &Layout, bugs: Bugs) -> Option<Vec<Sight>> {
    if !makes_sense(point, layout) {
        return None;
    }
    let mut life = Life {
        point,
        layout,
        bugs,
        sights: Vec::with_capacity(8),
        config: Config::default(),
        byte: 0,
        blocked: matches!(point.handling(), Handling::Blocked | Handling::IgnoredBlocked)
            || point.pending() == Pending::Same,
        action: match point.handling() {
            Handling::Ignored | Handling::IgnoredBlocked => Action::Ignored,
            Handling::Default => Action::Default,
            _ => Action::Handler,
        },
        // What is ignored is not pending.
        same_pending: point.pending() == Pending::Same
            && !matches!(point.handling(), Handling::Ignored | Handling::IgnoredBlocked),
        handled: 0,
        stops: 0,
        fresh: true,
    };
    match life.whole() {
        Ok(()) => {}
        Err(End::Senseless) => return None,
        Err(end) => life.ends(end),
    }
    Some(life.sights)
}

/// What becomes of the call under test when it is issued first. `None` if setting the configuration
/// is refused or dispatch is off: then dispatch has no say.
#[must_use]
pub fn first_fate(point: &Point, layout: &Layout) -> Option<Decision> {
    let rules = Rules { inclusive: layout.offers.inclusive, permitted: true };
    let set = Config::set(arguments(point, layout), rules, |s| layout.is_forbidden(s));
    let config = set.ok().filter(|config| config.mode != 0)?;
    let at = layout.entry(point.entry())?.after();
    Some(config.decide(at, |_| match point.selector() {
        Selector::Code => Some(layout.code_byte),
        selector if selector.is_memory() => Some(point.value()),
        _ => None,
    }))
}

/// Whether this ends the task in which a point is tried.
#[must_use]
pub fn is_last(point: &Point, sights: &[Sight]) -> bool {
    point.seccomp() != Seccomp::None
        || matches!(
            sights.last(),
            Some(Sight::Killed(_) | Sight::Exited(_) | Sight::ThreadGone | Sight::Process(_))
        )
}

/// What does not go together whatever dispatch does.
fn makes_sense(point: &Point, layout: &Layout) -> bool {
    let traced = point.tracer() != Tracer::None;
    let steps = point.tracer().steps();
    // The parent of a child of vfork cannot trace: it waits.
    !(traced && point.task() == Task::Vfork)
        && (traced || point.armed() != Armed::Tracer)
        // The next call of the tracee must be the one under test.
        && !((steps || point.tracer().emulates()) && point.seccomp() == Seccomp::Strict)
        && !(steps && point.seccomp() == Seccomp::Trap)
        // Restart codes confuse a kernel behind the trap of a filter too: not dispatch's business.
        && !(point.seccomp() == Seccomp::Trap && point.number().is_restart_code())
        // The first thread, which is to be armed, shares the sysctl.
        && !(point.sysctl() == Sysctl::Denies
            && point.parent() == Parent::Armed
            && point.task() == Task::Thread)
        && layout.entry(point.entry()).is_some()
        && layout.selector(point.selector()).is_some()
}

impl Tracer {
    /// Whether the tracee is resumed from call to call.
    #[must_use]
    pub fn calls(self) -> bool {
        matches!(self, Tracer::Calls | Tracer::SeizedCalls | Tracer::CallsSuppresses)
    }

    /// Whether the call under test is to be emulated by the tracer.
    #[must_use]
    pub fn emulates(self) -> bool {
        matches!(self, Tracer::Emulates | Tracer::EmulatesSteps)
    }

    /// Whether the tracee makes one step.
    #[must_use]
    pub fn steps(self) -> bool {
        matches!(self, Tracer::Steps | Tracer::EmulatesSteps)
    }

    /// Whether the tracer attached by `PTRACE_SEIZE` and wants to be told of the end.
    #[must_use]
    pub fn seizes(self) -> bool {
        matches!(self, Tracer::SeizedContinues | Tracer::SeizedCalls)
    }

    /// Whether the tracer keeps SIGSYS from the tracee.
    #[must_use]
    pub fn suppresses(self) -> bool {
        matches!(self, Tracer::Suppresses | Tracer::CallsSuppresses)
    }
}

impl Times {
    /// The number.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Times::Once => 1,
            Times::Twice => 2,
            Times::Thrice => 3,
        }
    }
}

/// Offset and length of a range for a call whose instruction ends at `ip`.
#[must_use]
pub fn range(span: Span, ip: u64, layout: &Layout) -> [u64; 2] {
    let start = layout.inside.start;
    let last = u64::MAX;
    match span {
        Span::Inside => [start, layout.inside.end - start],
        Span::ToIp => [start, ip.wrapping_sub(start)],
        Span::ThroughIp => [start, ip.wrapping_sub(start).wrapping_add(1)],
        Span::ToBeforeIp => [start, ip.wrapping_sub(start).wrapping_sub(1)],
        Span::Ip => [ip, 1],
        Span::BeforeIp => [ip - 1, 1],
        Span::AfterIp => [ip + 1, 1],
        Span::Instruction => [ip - CALL_LENGTH, CALL_LENGTH],
        Span::FromIp => [ip, last - ip],
        Span::FromAfterIp => [ip + 1, last - ip - 1],
        Span::Nothing => [0, 0],
        Span::EmptyAtIp => [ip, 0],
        Span::All => [0, last],
        Span::AllButZero => [1, last - 1],
        Span::WrapsToZero => [1, last],
        Span::Wraps => [start, last],
        Span::BelowIp => [0, ip],
        Span::BelowAndIp => [0, ip + 1],
        Span::KernelHalf => [1 << 63, (1 << 63) - 1],
        Span::LastByte => [last - 1, 1],
        Span::LowHalf => [ip & 0xffff_ffff, 1],
        Span::WrapsToItself => [ip, last],
        Span::ByteZero => [0, 1],
        Span::LengthInHighHalf => [start, 1 << 40 | 1],
    }
}

/// Mode, offset, length and selector as the kernel takes them.
#[must_use]
pub fn arguments(point: &Point, layout: &Layout) -> [u64; 4] {
    let ip = layout.entry(point.entry()).map_or(0, |entry| entry.after());
    let mode = match point.mode() {
        Mode::Off => 0,
        Mode::Exclusive => 1,
        Mode::Inclusive => 2,
    };
    let [offset, length] = range(point.span(), ip, layout);
    [mode, offset, length, layout.selector(point.selector()).unwrap_or(0)]
}

/// The configuration that is there before, where another one is.
#[must_use]
pub fn earlier(layout: &Layout) -> [u64; 4] {
    [1, layout.inside.start, layout.inside.end - layout.inside.start, layout.spare]
}

/// The registers with which the call under test is issued.
#[must_use]
pub fn registers(point: &Point, layout: &Layout) -> Registers {
    let other = layout.other.as_ref().filter(|_| point.entry() == Entry::Other);
    let native = |call: i64| call.cast_unsigned();
    let pick = |native: u64, of: fn(&Other) -> u32| other.map_or(native, |other| of(other).into());
    let effect = pick(native(libc::SYS_getresuid), |other| other.getresuid);
    let negative = |number: i64| number.cast_unsigned();
    let disarm = [crate::sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned().into(), 0, 0, 0, 0, 0];
    let [a, b, c] = layout.effect;
    let effects = [a, b, c, 0, 0, 0];
    let (number, arguments) = match point.number() {
        Number::Effect => (effect, effects),
        Number::EffectFar => (effect | 0x5e1f_beef << 32, effects),
        Number::Zero => (0, effects),
        Number::Unused => (UNUSED_NUMBER, effects),
        Number::MinusOne => (negative(-1), effects),
        Number::Lowest => (negative(i32::MIN.into()), effects),
        Number::Minus512 => (negative(-512), effects),
        Number::Minus513 => (negative(-513), effects),
        Number::Minus514 => (negative(-514), effects),
        Number::Minus515 => (negative(-515), effects),
        Number::Minus516 => (negative(-516), effects),
        Number::MinusErrno => (negative(-38), effects),
        Number::Return => {
            (pick(native(libc::SYS_rt_sigreturn), |other| other.rt_sigreturn), effects)
        }
        Number::Exit => {
            (pick(native(libc::SYS_exit), |other| other.exit), [EXIT_CODE, 0, 0, 0, 0, 0])
        }
        Number::ExitGroup => {
            let number = pick(native(libc::SYS_exit_group), |other| other.exit_group);
            (number, [EXIT_CODE, 0, 0, 0, 0, 0])
        }
        Number::Disarm => (pick(native(libc::SYS_prctl), |other| other.prctl), disarm),
        Number::FarMinusOne => (0xffff_ffff, effects),
        Number::OtherTable => (effect | 0x4000_0000, effects),
    };
    match other {
        Some(other) => (other.registers)(number, arguments),
        None => Registers::call(number, arguments),
    }
}

/// What becomes of SIGSYS at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Handler,
    Ignored,
    Default,
}

/// A task on its way through a point.
struct Life<'a> {
    point: &'a Point,
    layout: &'a Layout,
    bugs: Bugs,
    sights: Vec<Sight>,
    config: Config,
    /// What the selector says.
    byte: u8,
    /// Whether SIGSYS is blocked.
    blocked: bool,
    action: Action,
    /// Whether a SIGSYS of another origin is pending, whose information stays.
    same_pending: bool,
    handled: u32,
    stops: u32,
    /// Whether the tracee has not stopped yet since it was resumed before the call.
    fresh: bool,
}

fn failed(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

impl Life<'_> {
    fn see(&mut self, sight: Sight) {
        self.sights.push(sight);
    }

    fn whole(&mut self) -> Result<(), End> {
        let (point, layout) = (self.point, self.layout);
        let traced = point.tracer() != Tracer::None;
        let arguments = arguments(point, layout);
        match point.armed() {
            Armed::Again => self.set(earlier(layout), Sight::Set),
            Armed::After => {
                self.set(earlier(layout), Sight::Set);
                self.set([0; 4], Sight::Set);
            }
            Armed::Once | Armed::Tracer => {}
        }
        if point.armed() == Armed::Tracer {
            self.set(arguments, Sight::SetByTracer);
        } else {
            self.set(arguments, Sight::Set);
        }
        let trapped = self.decide(layout.inside.start) != Decision::Pass;
        if trapped && (traced || point.seccomp() == Seccomp::Strict) {
            return Err(End::Senseless);
        }
        for _ in 0..point.times().count() {
            self.byte = point.value();
            let (result, executed) = self.issue()?;
            self.byte = 0;
            self.see(Sight::Behind { result, kept: true, executed });
        }
        if point.seccomp() == Seccomp::Strict {
            return Ok(());
        }
        self.next()?;
        if trapped {
            let [number, arguments] = [libc::SYS_prctl.cast_unsigned(), 59];
            self.inside(Registers::call(number, [arguments, 0, 0, 0, 0, 0]))?;
        }
        match point.pending() {
            Pending::Other => self.unblocks(libc::SIGUSR1),
            Pending::RealTime => self.unblocks(REAL_TIME),
            _ => {}
        }
        Ok(())
    }

    /// The handling of a signal that was pending, behind all calls.
    fn unblocks(&mut self, signal: i32) {
        if self.point.tracer() != Tracer::None {
            let next = self.layout.inside.start;
            self.see(Sight::Stopped { signal, told: None, next, result: None });
        }
        self.see(Sight::Signalled(signal));
    }

    fn set(&mut self, arguments: [u64; 4], sight: fn(i32) -> Sight) {
        let permitted = self.point.sysctl() == Sysctl::Permits;
        let rules = Rules { inclusive: self.layout.offers.inclusive, permitted };
        let layout = self.layout;
        match Config::set(arguments, rules, |selector| layout.is_forbidden(selector)) {
            Ok(config) => {
                self.config = config;
                self.see(sight(0));
            }
            Err(error) => self.see(sight(error)),
        }
    }

    fn decide(&self, at: u64) -> Decision {
        self.config.decide(at, |selector| {
            if selector == self.layout.spare {
                return Some(0);
            }
            match self.point.selector() {
                Selector::Code => Some(self.layout.code_byte),
                selector if selector.is_memory() => Some(self.byte),
                _ => None,
            }
        })
    }

    /// The call under test: its result, unless that is not dispatch's business, and whether it
    /// had its effect.
    fn issue(&mut self) -> Result<(Option<u64>, bool), End> {
        let registers = registers(self.point, self.layout);
        let mut number = registers[Reg::NUMBER];
        let Some(entry) = self.layout.entry(self.point.entry()) else {
            return Err(End::Senseless);
        };
        let at = entry.after();
        loop {
            match self.decide(at) {
                Decision::Kill(signal) => {
                    self.phantom(at, signal);
                    return Err(End::Killed(signal));
                }
                Decision::Pass => return self.execute(at, number, &registers),
                Decision::Dispatch => match self.deliver(at, number, &registers, (2, 0))? {
                    Onward::Behind(result) => return Ok((Some(result), false)),
                    Onward::Again(again) => number = again,
                },
            }
        }
    }

    /// What a kernel with the bug `phantom-exit-stop` shows the tracer of a call that kills by its
    /// selector. A step shows where a signal that was pending before is the one that kills:
    /// `dequeue_synchronous_signal()` finds the step's first.
    fn phantom(&mut self, at: u64, signal: i32) {
        let pending = match self.point.pending() {
            Pending::Fault => signal == libc::SIGSEGV,
            Pending::Same => signal == libc::SIGSYS && self.same_pending,
            _ => false,
        };
        if !self.bugs.phantom_exit {
        } else if self.point.tracer().calls() {
            self.see(Sight::Left { at, result: Some(failed(libc::ENOSYS)) });
        } else if self.point.tracer() == Tracer::Steps && self.fresh && pending {
            let next = at;
            self.see(Sight::Stopped { signal: libc::SIGTRAP, told: None, next, result: None });
        }
    }

    /// The call from the gate that is not under test.
    fn next(&mut self) -> Result<(), End> {
        let gate = self.layout.next_gate(self.point.entry());
        let at = gate.after();
        let [a, b, c] = self.layout.effect;
        let number = libc::SYS_getresuid.cast_unsigned();
        let registers = Registers::call(number, [a, b, c, 0, 0, 0]);
        let executed = match self.decide(at) {
            Decision::Kill(signal) => {
                self.phantom(at, signal);
                return Err(End::Killed(signal));
            }
            Decision::Pass => {
                if self.point.tracer().calls() {
                    self.see(Sight::Entered { number, at });
                    self.see(Sight::Left { at, result: Some(0) });
                }
                true
            }
            Decision::Dispatch => {
                let _ = self.deliver(at, registers[Reg::NUMBER], &registers, (2, 0))?;
                false
            }
        };
        self.see(Sight::Next { executed });
        Ok(())
    }

    /// A call from inside when even those are not allowed. It never comes back.
    fn inside(&mut self, registers: Registers) -> Result<(), End> {
        let at = self.layout.inside.start;
        match self.decide(at) {
            Decision::Pass => Ok(()),
            Decision::Kill(signal) => Err(End::Killed(signal)),
            Decision::Dispatch => {
                let _ = self.deliver(at, registers[Reg::NUMBER], &registers, (2, 0))?;
                Err(End::Senseless)
            }
        }
    }

    /// `force_sig_info_to_task()`, `get_signal()` and `handle_signal()` of a SIGSYS with this code
    /// and `si_errno`.
    fn deliver(
        &mut self,
        at: u64,
        number: u64,
        registers: &Registers,
        (code, errno): (i32, i32),
    ) -> Result<Onward, End> {
        let inside = at == self.layout.inside.start;
        let other = self.layout.other.as_ref();
        let other = other.filter(|_| self.point.entry() == Entry::Other && !inside);
        // Of the other entry, the number counts in its low half, and that is put back.
        let is_next = at == self.layout.next_gate(self.point.entry()).after();
        let other = other.filter(|_| !is_next);
        let result = match other {
            Some(_) => number & 0xffff_ffff,
            None if Reg::NUMBER as usize == Reg::RESULT as usize => number,
            None => registers[Reg::RESULT],
        };
        let told = Told {
            code,
            errno,
            number: seen_number(number),
            arch: other.map_or(AUDIT_ARCH, |other| other.audit_arch),
            at,
        };
        let told = if self.same_pending { Told { code: -6, ..Told::default() } } else { told };
        self.same_pending = false;
        if self.blocked || self.action == Action::Ignored {
            self.action = Action::Default;
            self.blocked = false;
        }
        let tracer = self.point.tracer();
        if tracer != Tracer::None {
            let told = Some(told);
            self.see(Sight::Stopped { signal: libc::SIGSYS, told, next: at, result: Some(result) });
            self.stops += 1;
            if self.stops == PATIENCE {
                return Err(End::Killed(libc::SIGKILL));
            }
        }
        let init = self.point.task() == Task::Init;
        if tracer.suppresses() || self.action == Action::Default {
            // A traced init is spared what it does not handle.
            let spared = init && tracer != Tracer::None;
            if !tracer.suppresses() && !spared {
                return Err(End::Killed(libc::SIGSYS));
            }
            if !tracer.suppresses() && tracer.steps() {
                return Err(End::Senseless);
            }
            self.fresh = false;
            return Ok(self.restarts_unhandled(result, other.is_some()));
        }
        let steps = tracer.steps() && self.fresh;
        self.fresh = false;
        let (result, next) = self.restarts_handled(result, at, other.is_some());
        if self.point.handling() == Handling::BadStack {
            if tracer != Tracer::None {
                if init {
                    return Err(End::Senseless);
                }
                self.see(Sight::Stopped { signal: libc::SIGSEGV, told: None, next, result: None });
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        if self.point.handling() == Handling::Once {
            self.action = Action::Default;
        }
        if steps {
            let next = self.layout.handler(self.point.handling());
            self.see(Sight::Stopped { signal: libc::SIGTRAP, told: None, next, result: None });
        }
        let on_stack = matches!(self.point.handling(), Handling::OnStack | Handling::AutoDisarm);
        let frame = Frame { told, on_stack, result, next, kept: true, mask: self.mask() };
        self.see(Sight::Handled((self.point.handling() != Handling::Plain).then_some(frame)));
        self.byte = 0;
        self.handled += 1;
        if self.handled == PATIENCE {
            if tracer != Tracer::None {
                return Err(End::Senseless);
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        self.blocked = self.point.handling() != Handling::NoDefer;
        self.inside(Registers::call(libc::SYS_rt_sigreturn.cast_unsigned(), [0; 6]))?;
        self.blocked = false;
        if tracer.calls() {
            self.see(Sight::Left { at: next, result: Some(result) });
        }
        if next != at {
            return Ok(Onward::Again(result));
        }
        Ok(Onward::Behind(result))
    }

    /// The signal mask of the program.
    fn mask(&self) -> u64 {
        match self.point.pending() {
            Pending::Other => sys::bit(libc::SIGUSR1),
            Pending::Fault => sys::bit(libc::SIGSEGV),
            Pending::RealTime => sys::bit(REAL_TIME),
            _ => 0,
        }
    }

    /// What a kernel with the bug `restart-number` takes a result register for.
    fn restart_code(&self, result: u64, other: bool) -> Option<i64> {
        let code = if other { seen_number(result).into() } else { result.cast_signed() };
        let number = seen_number(result);
        (self.bugs.restart_number && number != -1 && matches!(code, -516 | -514 | -513 | -512))
            .then_some(code)
    }

    /// `handle_signal()`: the result register and next instruction in the frame.
    fn restarts_handled(&self, result: u64, at: u64, other: bool) -> (u64, u64) {
        let restart = self.point.handling() == Handling::Restart;
        match self.restart_code(result, other) {
            Some(-513) => (result, at - CALL_LENGTH),
            Some(-512) if restart => (result, at - CALL_LENGTH),
            Some(_) => (failed(libc::EINTR), at),
            None => (result, at),
        }
    }

    /// `arch_do_signal_or_restart()`: without a handler.
    fn restarts_unhandled(&self, result: u64, other: bool) -> Onward {
        match self.restart_code(result, other) {
            Some(-516) => Onward::Again(self.layout.restart_number),
            Some(_) => Onward::Again(result),
            None => Onward::Behind(result),
        }
    }

    /// What happens to a call that dispatch lets pass.
    fn execute(
        &mut self,
        at: u64,
        register: u64,
        registers: &Registers,
    ) -> Result<(Option<u64>, bool), End> {
        let tracer = self.point.tracer();
        let number = i64::from(seen_number(register)).cast_unsigned();
        let nothing = (Some(failed(libc::ENOSYS)), false);
        if tracer.calls() || (tracer.emulates() && self.fresh) {
            self.see(Sight::Entered { number, at });
        }
        if tracer.emulates() && self.fresh {
            self.fresh = false;
            return Ok(nothing);
        }
        match self.point.seccomp() {
            Seccomp::Strict if !self.is_allowed_by_strict() => {
                return Err(End::ThreadKilled(libc::SIGKILL));
            }
            Seccomp::Errno => {
                let result = Some(failed(FILTERED));
                self.leaves(at, result);
                return Ok((result, false));
            }
            Seccomp::Trap => {
                if tracer.calls() {
                    self.see(Sight::Left { at, result: None });
                }
                let told = (1, TRAPPED);
                return match self.deliver(at, register, registers, told)? {
                    Onward::Behind(result) => Ok((Some(result), false)),
                    Onward::Again(_) => Err(End::Senseless),
                };
            }
            Seccomp::Kill => {
                if tracer.calls() {
                    self.see(Sight::Left { at, result: None });
                }
                if tracer == Tracer::Steps && self.fresh && self.same_pending {
                    // The step's signal is found before the one that was pending already.
                    let (signal, next) = (libc::SIGTRAP, at);
                    self.see(Sight::Stopped { signal, told: None, next, result: None });
                }
                return Err(End::Killed(libc::SIGSYS));
            }
            _ => {}
        }
        let done = match self.point.number() {
            Number::Effect => (Some(0), true),
            Number::EffectFar if NUMBER_BITS <= 32 => (Some(0), true),
            Number::OtherTable if self.point.entry() != Entry::Other && self.layout.offers.x32 => {
                (Some(0), true)
            }
            Number::Zero => (None, false),
            Number::Return => return Err(End::Senseless),
            Number::Exit => return Err(End::ThreadExited(9)),
            Number::ExitGroup => return Err(End::Exited(9)),
            Number::Disarm => {
                self.config = Config::default();
                (Some(0), false)
            }
            _ => nothing,
        };
        self.leaves(at, done.0);
        Ok(done)
    }

    /// The way back of a call that was not dispatched.
    fn leaves(&mut self, at: u64, result: Option<u64>) {
        if self.point.tracer().calls() {
            self.see(Sight::Left { at, result });
        }
        if self.point.tracer().steps() && self.fresh {
            self.see(Sight::Stopped { signal: libc::SIGTRAP, told: None, next: at, result: None });
        }
        self.fresh = false;
    }

    /// `read`, `write`, `exit` and `rt_sigreturn` (`mode1_syscalls`, kernel/seccomp.c).
    fn is_allowed_by_strict(&self) -> bool {
        match self.point.number() {
            Number::Exit | Number::Return => true,
            Number::Zero => self.layout.zero_is_read && self.point.entry() != Entry::Other,
            _ => false,
        }
    }

    fn ends(&mut self, end: End) {
        let tracer = self.point.tracer();
        if tracer.seizes() {
            self.see(Sight::Event(libc::PTRACE_EVENT_EXIT));
        }
        let thread = self.point.task() == Task::Thread;
        let traced = tracer != Tracer::None;
        let process = match end {
            End::Killed(signal) => {
                self.see(Sight::Killed(signal));
                128 + signal
            }
            End::Exited(code) => {
                self.see(Sight::Exited(code));
                code
            }
            End::ThreadKilled(_) | End::ThreadExited(_) if thread && !traced => {
                self.see(Sight::ThreadGone);
                0
            }
            End::ThreadKilled(signal) => {
                self.see(Sight::Killed(signal));
                0
            }
            End::ThreadExited(code) => {
                self.see(Sight::Exited(code));
                0
            }
            End::Senseless => 0,
        };
        if thread && traced {
            self.see(Sight::Process(process));
        }
    }
}

impl Number {
    /// Whether the number is an error code by which the kernel restarts calls.
    #[must_use]
    pub fn is_restart_code(self) -> bool {
        use Number::{Minus512, Minus513, Minus514, Minus516};
        matches!(self, Minus512 | Minus513 | Minus514 | Minus516)
    }
}

impl Selector {
    /// Whether it is a byte that the program can set and the kernel can read.
    #[must_use]
    pub fn is_memory(self) -> bool {
        matches!(
            self,
            Selector::Private
                | Selector::Shared
                | Selector::File
                | Selector::ReadOnly
                | Selector::LastOfPage
                | Selector::FirstOfPage
        )
    }
}
