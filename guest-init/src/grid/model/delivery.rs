// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The model of a SIGSYS: its delivery, the handler, and the continuation of the program.

use super::{
    Continuation, End, MAX_SIGSYS, REAL_TIME_SIGNAL, SigsysAction, Simulation, error_result,
};
use crate::arch::{AUDIT_ARCH, CALL_LENGTH, Reg, Registers};
use crate::grid::dimension::{Disposition, GateChoice, Pending, Task};
use crate::grid::observation::{Frame, Observation, Siginfo};
use crate::support::number_read_by_kernel;
use crate::sys;

/// `si_code` of a signal by tgkill(2) (include/uapi/asm-generic/siginfo.h).
const SI_TKILL: i32 = -6;
/// Results by which the kernel's functions restart a call (include/linux/errno.h).
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

impl Simulation<'_> {
    /// Simulates a forced SIGSYS with this `si_code` and `si_errno` (`force_sig_info_to_task()`), its delivery
    /// (`get_signal()`) and its handler (`handle_signal()`).
    pub(super) fn deliver(
        &mut self,
        compared_address: u64,
        number_register: u64,
        registers: &Registers,
        (code, errno): (i32, i32),
    ) -> Result<Continuation, End> {
        let is_inside = compared_address == self.layout.inside.start;
        let is_next_call =
            compared_address == self.layout.next_gate(self.point.gate()).compared_address();
        let second_entry = self.layout.second_entry.as_ref().filter(|_| {
            self.point.gate() == GateChoice::SecondEntry && !is_inside && !is_next_call
        });
        let result = match second_entry {
            // The second entry reads the low half of the number register, and restores only that half.
            Some(_) => number_register & 0xffff_ffff,
            None if Reg::NUMBER as usize == Reg::RESULT as usize => number_register,
            None => registers[Reg::RESULT],
        };
        let info = Siginfo {
            code,
            errno,
            number: number_read_by_kernel(number_register),
            arch: second_entry.map_or(AUDIT_ARCH, |entry| entry.audit_arch),
            call_address: compared_address,
        };
        // A SIGSYS of tgkill(2) that was pending keeps its own siginfo.
        let info = if self.is_sigsys_pending {
            Siginfo { code: SI_TKILL, ..Siginfo::default() }
        } else {
            info
        };
        self.is_sigsys_pending = false;
        if self.is_sigsys_blocked || self.sigsys_action == SigsysAction::Ignored {
            self.sigsys_action = SigsysAction::Default;
            self.is_sigsys_blocked = false;
        }
        let tracer = self.point.tracer();
        if self.is_traced() {
            let (signal, info) = (libc::SIGSYS, Some(info));
            self.observe(Observation::Stopped {
                signal,
                info,
                instruction_pointer: compared_address,
                result: Some(result),
            });
            self.sigsys_stops += 1;
            if self.sigsys_stops == MAX_SIGSYS {
                return Err(End::Killed(libc::SIGKILL));
            }
        }
        let is_init = self.point.task() == Task::Init;
        if tracer.suppresses_sigsys() || self.sigsys_action == SigsysAction::Default {
            // The kernel drops a fatal signal that a tracer delivers to the init of a PID namespace.
            let is_dropped = is_init && self.is_traced();
            if !tracer.suppresses_sigsys() && !is_dropped {
                return Err(End::Killed(libc::SIGSYS));
            }
            if !tracer.suppresses_sigsys() && tracer.single_steps() {
                return Err(End::Invalid);
            }
            self.before_first_stop = false;
            return Ok(self.restart_without_handler(result, second_entry.is_some()));
        }
        let is_stepped = tracer.single_steps() && self.before_first_stop;
        self.before_first_stop = false;
        let (result, next_instruction) =
            self.restart_with_handler(result, compared_address, second_entry.is_some());
        if self.point.disposition() == Disposition::ReadOnlyStack {
            if self.is_traced() {
                if is_init {
                    return Err(End::Invalid);
                }
                self.observe_stop(libc::SIGSEGV, next_instruction);
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        if self.point.disposition() == Disposition::ResetHand {
            self.sigsys_action = SigsysAction::Default;
        }
        if is_stepped {
            self.observe_stop(libc::SIGTRAP, self.layout.handler(self.point.disposition()));
        }
        self.simulate_handler(info, result, next_instruction)?;
        if next_instruction != compared_address {
            return Ok(Continuation::Reissue(result));
        }
        Ok(Continuation::Return(result))
    }

    /// Simulates the handler of SIGSYS and its sigreturn.
    fn simulate_handler(
        &mut self,
        info: Siginfo,
        result: u64,
        instruction_pointer: u64,
    ) -> Result<(), End> {
        let disposition = self.point.disposition();
        let on_alternate_stack =
            matches!(disposition, Disposition::OnStack | Disposition::AutoDisarm);
        let frame = Frame {
            info,
            on_alternate_stack,
            result,
            instruction_pointer,
            preserved: true,
            mask: self.mask(),
        };
        let has_frame = disposition != Disposition::NoSiginfo;
        self.observe(Observation::Handled(has_frame.then_some(frame)));
        self.selector_byte = 0;
        self.handled_count += 1;
        if self.handled_count == MAX_SIGSYS {
            if self.is_traced() {
                return Err(End::Invalid);
            }
            return Err(End::Killed(libc::SIGSEGV));
        }
        self.is_sigsys_blocked = disposition != Disposition::NoDefer;
        self.simulate_inside_call(Registers::for_call(
            libc::SYS_rt_sigreturn.cast_unsigned(),
            [0; 6],
        ))?;
        self.is_sigsys_blocked = false;
        if self.point.tracer().stops_at_calls() {
            self.observe(Observation::CallExit { instruction_pointer, result: Some(result) });
        }
        Ok(())
    }

    /// The signal mask of the program outside handlers.
    fn mask(&self) -> u64 {
        match self.point.pending() {
            Pending::Sigusr1 => sys::signal_bit(libc::SIGUSR1),
            Pending::Sigsegv => sys::signal_bit(libc::SIGSEGV),
            Pending::RealTimeSignal => sys::signal_bit(REAL_TIME_SIGNAL),
            _ => 0,
        }
    }

    /// The restart code that a kernel with the bug `restart-number` sees in the value `result` of the result
    /// register. `None` on other kernels, and if `result` is not a restart code.
    fn restart_code(&self, result: u64, is_second_entry: bool) -> Option<i64> {
        let code = if is_second_entry {
            number_read_by_kernel(result).into()
        } else {
            result.cast_signed()
        };
        let number = number_read_by_kernel(result);
        let is_restart_code =
            matches!(code, ERESTART_RESTARTBLOCK | ERESTARTNOHAND | ERESTARTNOINTR | ERESTARTSYS);
        (self.bugs.restart_number && number != -1 && is_restart_code).then_some(code)
    }

    /// The result register and the next instruction in the signal frame (`handle_signal()`).
    fn restart_with_handler(
        &self,
        result: u64,
        compared_address: u64,
        is_second_entry: bool,
    ) -> (u64, u64) {
        let has_sa_restart = self.point.disposition() == Disposition::Restart;
        match self.restart_code(result, is_second_entry) {
            Some(ERESTARTNOINTR) => (result, compared_address - CALL_LENGTH),
            Some(ERESTARTSYS) if has_sa_restart => (result, compared_address - CALL_LENGTH),
            Some(_) => (error_result(libc::EINTR), compared_address),
            None => (result, compared_address),
        }
    }

    /// The continuation if no handler runs (`arch_do_signal_or_restart()`).
    fn restart_without_handler(&self, result: u64, is_second_entry: bool) -> Continuation {
        match self.restart_code(result, is_second_entry) {
            Some(ERESTART_RESTARTBLOCK) => Continuation::Reissue(self.layout.restart_number),
            Some(_) => Continuation::Reissue(result),
            None => Continuation::Return(result),
        }
    }
}
