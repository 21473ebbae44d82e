// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tracer of a task that runs points.

use super::call;
use super::dimension::{Arming, Point, Task};
use super::model::MAX_SIGSYS;
use super::observation::Observation;
use super::run_point::{normalize_address, observed_siginfo};
use super::shared_state::{memory, observe, shared_state, store_and_wake, wait_while};
use crate::arch::{self, Gate};
use crate::case::Failure;
use crate::probe::PTRACE_SET_DISPATCH;
use crate::ptrace::{self, CALL_STOP, SYSEMU};
use crate::shared::SigsysRecord;
use crate::support::{broken, refused_request};
use crate::sys::{self, WaitStatus};
use std::sync::atomic::Ordering;

/// `PTRACE_SYSEMU_SINGLESTEP` of x86-64.
const SYSEMU_SINGLESTEP: u32 = 32;

/// Traces the task that runs these points: the first or the second thread of the process. Returns how the task
/// ended.
///
/// # Errors
/// [`Failure::Broken`] if the task cannot be traced.
pub(super) fn trace_task(process: i32, points: &[Point]) -> Result<WaitStatus, Failure> {
    let first = points[0];
    let tracer = first.tracer();
    let mut pid = process;
    let mut options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    if first.task() == Task::Thread {
        while shared_state().traced_thread_id.load(Ordering::SeqCst) == 0 {
            wait_while(&shared_state().traced_thread_id, 0);
        }
        pid = i32::try_from(shared_state().traced_thread_id.load(Ordering::SeqCst)).unwrap_or(-1);
    }
    if tracer.attaches_by_seize() {
        options |= libc::PTRACE_O_TRACEEXIT;
        let options = u64::from(options.cast_unsigned());
        ptrace::request(pid, libc::PTRACE_SEIZE, 0, options).map_err(broken("PTRACE_SEIZE"))?;
        store_and_wake(&shared_state().is_tracer_attached, 1);
    }
    let mut tracing =
        TraceState { pid, points, resume_request: libc::PTRACE_CONT, sigsys_stops: 0 };
    let mut are_options_set = tracer.attaches_by_seize();
    loop {
        let waited = sys::wait(pid, libc::__WALL).map_err(broken("wait4"))?;
        let Some((_, status)) = waited else {
            return Err(Failure::Broken("wait4 gave nothing".into()));
        };
        let WaitStatus::Stopped(stop) = status else { return Ok(status) };
        if !are_options_set {
            let options = u64::from(options.cast_unsigned());
            ptrace::request(pid, libc::PTRACE_SETOPTIONS, 0, options)
                .map_err(refused_request("PTRACE_SETOPTIONS"))?;
            are_options_set = true;
        }
        let resumed = tracing.handle_stop(stop).and_then(|(request, signal)| {
            ptrace::request(pid, request, 0, u64::from(signal.cast_unsigned()))
        });
        match resumed {
            // The tracee is dying; the next wait4(2) reports its end.
            Err(sys::Errno(libc::ESRCH)) => {}
            // A call that the kernel failed to dispatch may have detached the tracee.
            Err(error) => {
                observe(Observation::SetupFailed(error.0));
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            Ok(_) => {}
        }
    }
}

/// The state of the tracer.
struct TraceState<'a> {
    pid: i32,
    points: &'a [Point],
    /// The request that resumes the tracee after a stop.
    resume_request: u32,
    /// The number of stops for SIGSYS in this point.
    sigsys_stops: u32,
}

impl TraceState<'_> {
    /// Records a stop. Returns the request and the signal that resume the tracee.
    fn handle_stop(&mut self, stop: i32) -> sys::Result<(u32, i32)> {
        if shared_state().is_recording.load(Ordering::SeqCst) == 0 {
            // Between two points.
            let signal = if stop >> 8 == 0 && stop != CALL_STOP { stop } else { 0 };
            return Ok((libc::PTRACE_CONT, signal));
        }
        let index = shared_state().current_point.load(Ordering::SeqCst) as usize;
        let Some(point) = self.points.get(index) else { return Ok((libc::PTRACE_CONT, 0)) };
        let tracer = point.tracer();
        match stop {
            libc::SIGSTOP => {
                self.sigsys_stops = 0;
                self.prepare_call_under_test(point)?;
                Ok((self.resume_request, 0))
            }
            CALL_STOP => {
                self.observe_call()?;
                if tracer.skips_call() {
                    self.resume_request = libc::PTRACE_CONT;
                }
                Ok((self.resume_request, 0))
            }
            stop if stop >> 8 != 0 => {
                observe(Observation::Event(stop >> 8));
                Ok((self.resume_request, 0))
            }
            signal => {
                let info = ptrace::signal_info(self.pid)?;
                let registers = ptrace::registers(self.pid)?;
                let frame = registers.general();
                let record =
                    SigsysRecord { info, registers: frame, flags: 0, stack: 0, frame_mask: 0 };
                let is_sigsys = signal == libc::SIGSYS;
                let info = is_sigsys.then(|| observed_siginfo(&record));
                let result = is_sigsys.then_some(registers.result);
                observe(Observation::Stopped {
                    signal,
                    info,
                    instruction_pointer: normalize_address(registers.instruction_pointer),
                    result,
                });
                if is_sigsys {
                    self.sigsys_stops += 1;
                    if self.sigsys_stops == MAX_SIGSYS {
                        sys::kill(self.pid, libc::SIGKILL)?;
                        // Do not resume the tracee: it could then die without the stop for its exit.
                        return Err(sys::Errno(libc::ESRCH));
                    }
                }
                let request = self.resume_request;
                if tracer.single_steps() || tracer.skips_call() {
                    self.resume_request = libc::PTRACE_CONT;
                    // Keep single-stepping, so that the first step into the handler stops.
                    if is_sigsys && request != SYSEMU {
                        return Ok((request, signal));
                    }
                }
                if signal == libc::SIGTRAP || (is_sigsys && tracer.suppresses_sigsys()) {
                    return Ok((self.resume_request, 0));
                }
                Ok((self.resume_request, signal))
            }
        }
    }

    /// Prepares the tracee, which has stopped before the call under test: sets the configuration if the point
    /// is armed by its tracer, and chooses the request that resumes the tracee.
    fn prepare_call_under_test(&mut self, point: &Point) -> sys::Result<()> {
        let layout = &memory().layout;
        if point.arming() == Arming::Tracer {
            let [mode, offset, length, selector] = call::configuration_arguments(point, layout);
            // `struct ptrace_sud_config`
            let config = [mode, selector, offset, length];
            let request = u32::try_from(PTRACE_SET_DISPATCH).unwrap_or(0);
            let result = ptrace::request(
                self.pid,
                request,
                size_of_val(&config) as u64,
                config.as_ptr() as u64,
            );
            observe(Observation::SetByTracer(result.map_or_else(|error| error.0, |_| 0)));
        }
        let tracer = point.tracer();
        self.resume_request = if tracer.stops_at_calls() {
            libc::PTRACE_SYSCALL
        } else if tracer.single_steps() {
            if let Some(gate) = layout.gate(point.gate()) {
                self.run_to_call(&gate)?;
            }
            if tracer.skips_call() { SYSEMU_SINGLESTEP } else { libc::PTRACE_SINGLESTEP }
        } else if tracer.skips_call() {
            SYSEMU
        } else {
            libc::PTRACE_CONT
        };
        Ok(())
    }

    /// Runs the tracee to the gate's call by a breakpoint, and removes the breakpoint. A breakpoint is written
    /// as an aligned word of 8 bytes, which does not reach into the next page.
    fn run_to_call(&self, gate: &Gate) -> sys::Result<()> {
        let call = gate.call_address();
        let word_address = call & !7;
        let mut words = [0u64; 2];
        for (index, word) in (0..).zip(&mut words) {
            // The second word may be in an unmapped page.
            *word = self.read_word(word_address + 8 * index).unwrap_or(0);
        }
        let [low, high] = words.map(u64::to_ne_bytes);
        let code: [u8; 16] = std::array::from_fn(|i| if i < 8 { low[i] } else { high[i - 8] });
        let offset = usize::try_from(call - word_address).unwrap_or(0);
        let code_at_call = u64::from_ne_bytes(std::array::from_fn(|i| code[offset + i]));
        let mut patched = code;
        patched[offset..offset + 8]
            .copy_from_slice(&arch::with_breakpoint(code_at_call).to_ne_bytes());
        let first_word = |code: [u8; 16]| u64::from_ne_bytes(std::array::from_fn(|i| code[i]));
        let poke = |value| ptrace::request(self.pid, libc::PTRACE_POKETEXT, word_address, value);
        poke(first_word(patched))?;
        ptrace::request(self.pid, libc::PTRACE_CONT, 0, 0)?;
        let stop = sys::wait(self.pid, libc::__WALL)?;
        poke(first_word(code))?;
        if stop != Some((self.pid, WaitStatus::Stopped(libc::SIGTRAP))) {
            return Err(sys::Errno(libc::ESRCH));
        }
        let mut registers = ptrace::registers(self.pid)?;
        registers.instruction_pointer = call;
        ptrace::set_registers(self.pid, &registers)
    }

    /// Reads eight bytes of the tracee's memory.
    fn read_word(&self, address: u64) -> sys::Result<u64> {
        let mut word = 0u64;
        ptrace::request(self.pid, libc::PTRACE_PEEKTEXT, address, &raw mut word as u64)?;
        Ok(word)
    }

    /// Records a syscall stop, unless the call is inside the allowed range.
    fn observe_call(&self) -> sys::Result<()> {
        /// `PTRACE_SYSCALL_INFO_ENTRY`
        const ENTRY: u8 = 1;
        let info = ptrace::call_info(self.pid)?;
        // `struct ptrace_syscall_info` (include/uapi/linux/ptrace.h). Byte 0: kind of the stop; words of 8
        // bytes: 1, instruction pointer; 3, number or result.
        let word = |index: usize| u64::from_ne_bytes(std::array::from_fn(|i| info[8 * index + i]));
        let (instruction_pointer, value) = (word(1), word(3));
        if arch::inside().contains(&instruction_pointer) {
            return Ok(());
        }
        observe(if info[0] == ENTRY {
            Observation::CallEntry { number: value, instruction_pointer }
        } else {
            Observation::CallExit { instruction_pointer, result: Some(value) }
        });
        Ok(())
    }
}
