// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The model of a SIGSYS: its delivery, its handler, and the continuation of the program.

use super::{Action, Continuation, End, MAX_SIGSYS, REAL_TIME_SIGNAL, Simulation, error_result};
use crate::arch::{AUDIT_ARCH, CALL_LENGTH, Reg, Registers};
use crate::grid::dimension::{Disposition, Entry, Pending, Task};
use crate::grid::observation::{Frame, Observation, Siginfo};
use crate::support::number_read_by_kernel;
use crate::sys;

impl Simulation<'_> {
    /// Forces and handles a SIGSYS with this `si_code` and `si_errno`: `force_sig_info_to_task()`,
    /// `get_signal()` and `handle_signal()`.
    pub(super) fn deliver(
        &mut self,
        at: u64,
        number: u64,
        registers: &Registers,
        (code, errno): (i32, i32),
    ) -> Result<Continuation, End> {
        let inside = at == self.layout.inside.start;
        let is_next = at == self.layout.next_gate(self.point.entry()).compared_address();
        let other = self.layout.other.as_ref();
        let other = other.filter(|_| self.point.entry() == Entry::Other && !inside && !is_next);
        let result = match other {
            // The other entry reads the low half of the number and restores that.
            Some(_) => number & 0xffff_ffff,
            None if Reg::NUMBER as usize == Reg::RESULT as usize => number,
            None => registers[Reg::RESULT],
        };
        let info = Siginfo {
            code,
            errno,
            number: number_read_by_kernel(number),
            arch: other.map_or(AUDIT_ARCH, |other| other.audit_arch),
            at,
        };
        // SI_TKILL
        let info =
            if self.sigsys_pending { Siginfo { code: -6, ..Siginfo::default() } } else { info };
        self.sigsys_pending = false;
        if self.blocked || self.action == Action::Ignored {
            self.action = Action::Default;
            self.blocked = false;
        }
        let tracer = self.point.tracer();
        if self.is_traced() {
            let (signal, info) = (libc::SIGSYS, Some(info));
            self.observe(Observation::Stopped { signal, info, next: at, result: Some(result) });
            self.stops += 1;
            if self.stops == MAX_SIGSYS {
                return Err(End::Killed(libc::SIGKILL));
            }
        }
        let init = self.point.task() == Task::Init;
        if tracer.suppresses_sigsys() || self.action == Action::Default {
            // The kernel drops a fatal signal that a tracer delivers to an init.
            let dropped = init && self.is_traced();
            if !tracer.suppresses_sigsys() && !dropped {
                return Err(End::Killed(libc::SIGSYS));
            }
            if !tracer.suppresses_sigsys() && tracer.single_steps() {
                return Err(End::Invalid);
            }
            self.before_first_stop = false;
            return Ok(self.restart_without_handler(result, other.is_some()));
        }
        let steps = tracer.single_steps() && self.before_first_stop;
        self.before_first_stop = false;
        let (result, next) = self.restart_with_handler(result, at, other.is_some());
        if self.point.disposition() == Disposition::ReadOnlyStack {
            if self.is_traced() {
                if init {
                    return Err(End::Invalid);
                }
                self.observe_stop(libc::SIGSEGV, next);
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        if self.point.disposition() == Disposition::ResetHand {
            self.action = Action::Default;
        }
        if steps {
            self.observe_stop(libc::SIGTRAP, self.layout.handler(self.point.disposition()));
        }
        self.handle(info, result, next)?;
        if next != at {
            return Ok(Continuation::Reissue(result));
        }
        Ok(Continuation::Return(result))
    }

    /// Runs the handler of SIGSYS and its sigreturn.
    fn handle(&mut self, info: Siginfo, result: u64, next: u64) -> Result<(), End> {
        let disposition = self.point.disposition();
        let on_stack = matches!(disposition, Disposition::OnStack | Disposition::AutoDisarm);
        let frame = Frame { info, on_stack, result, next, preserved: true, mask: self.mask() };
        let has_frame = disposition != Disposition::NoSiginfo;
        self.observe(Observation::Handled(has_frame.then_some(frame)));
        self.selector_byte = 0;
        self.handled += 1;
        if self.handled == MAX_SIGSYS {
            if self.is_traced() {
                return Err(End::Invalid);
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        self.blocked = disposition != Disposition::NoDefer;
        self.call_inside(Registers::for_call(libc::SYS_rt_sigreturn.cast_unsigned(), [0; 6]))?;
        self.blocked = false;
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit { at: next, result: Some(result) });
        }
        Ok(())
    }

    /// The signal mask of the program.
    fn mask(&self) -> u64 {
        match self.point.pending() {
            Pending::Other => sys::signal_bit(libc::SIGUSR1),
            Pending::Fault => sys::signal_bit(libc::SIGSEGV),
            Pending::RealTime => sys::signal_bit(REAL_TIME_SIGNAL),
            _ => 0,
        }
    }

    /// The restart code for which a kernel with the bug `restart-number` mistakes the result register.
    fn restart_code(&self, result: u64, other: bool) -> Option<i64> {
        let code = if other { number_read_by_kernel(result).into() } else { result.cast_signed() };
        let number = number_read_by_kernel(result);
        (self.bugs.restart_number && number != -1 && matches!(code, -516 | -514 | -513 | -512))
            .then_some(code)
    }

    /// The result register and the next instruction in the signal frame (`handle_signal()`).
    fn restart_with_handler(&self, result: u64, at: u64, other: bool) -> (u64, u64) {
        let restart = self.point.disposition() == Disposition::Restart;
        match self.restart_code(result, other) {
            Some(-513) => (result, at - CALL_LENGTH),
            Some(-512) if restart => (result, at - CALL_LENGTH),
            Some(_) => (error_result(libc::EINTR), at),
            None => (result, at),
        }
    }

    /// The continuation if no handler runs (`arch_do_signal_or_restart()`).
    fn restart_without_handler(&self, result: u64, other: bool) -> Continuation {
        match self.restart_code(result, other) {
            Some(-516) => Continuation::Reissue(self.layout.restart_number),
            Some(_) => Continuation::Reissue(result),
            None => Continuation::Return(result),
        }
    }
}
