// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracers that change the SIGSYS of a dispatch at its stop.

use crate::arch::{self, Reg};
use crate::case::{Case, Check, Failure, OnlyArchs, case};
use crate::ptrace;
use crate::shared::{SigsysRecord, shared};
use crate::support::*;
use crate::sys::{self, SigAction};
use crate::tracee::{Tracee, pause_for_tracer};
use sudbox_protocol::Arch;

const CONT: u32 = libc::PTRACE_CONT;

pub(super) const CASES: &[Case] = &[
    case(
        "ptrace/signal-changed",
        "if the tracer delivers another signal at the stop for SIGSYS, changes the siginfo or the registers, \
         or blocks the signal, this takes effect in the program",
        "ptrace_signal()",
        signal_changed,
    )
    .only(OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "the effects on the program were compared with kernels of x86-64 only",
    }),
    case(
        "ptrace/detached-stays-armed",
        "a program that armed itself stays armed when its tracer attaches and detaches or exits",
        "__ptrace_unlink()",
        detached_stays_armed,
    ),
];

/// The value of the result register that the tracer sets at the last call.
const RESULT: u64 = 0x1234_5678_9abc;

/// The index of the dispatched call whose signal the tracer blocks.
const BLOCKED_CALL: usize = 2;
/// The number of dispatched calls.
const CALLS: usize = 4;

/// The signal that the tracer delivers in place of SIGSYS. Its number is 1.
const INJECTED_SIGNAL: i32 = libc::SIGHUP;

/// Starts a tracee that makes [`CALLS`] dispatched calls, and checks the result register after each.
fn start_program() -> Result<Tracee, Failure> {
    handle_dispatches(do_nothing)?;
    let action = SigAction {
        handler: handler_address(),
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // The handler of SIGSYS also records the injected signal, as a dispatch.
    // SAFETY: the address is that of a signal handler.
    unsafe { sys::sigaction(INJECTED_SIGNAL, &action) }.map_err(broken("rt_sigaction"))?;
    Tracee::start(|| {
        let call = fresh_umask_call();
        if arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        for index in 0..CALLS {
            let after = issue_blocked(&arch::gate(), &call);
            let expected = if index == CALLS - 1 { RESULT } else { call[Reg::RESULT] };
            if after[Reg::RESULT] != expected || take_umask_effect() {
                return 1;
            }
            if index == BLOCKED_CALL {
                let _ = sys::sigmask(libc::SIG_UNBLOCK, sys::signal_bit(libc::SIGSYS));
            }
        }
        0
    })
}

/// The record of the last handled signal, which must have this index.
fn record_of_signal(index: u32) -> Result<SigsysRecord, Failure> {
    expect_equal("signals handled", dispatch_count(), index + 1)?;
    shared().sigsys_record(index as usize).ok_or_else(|| Failure::Broken("no record".into()))
}

fn signal_changed() -> Check {
    let tracee = start_program()?;
    let siginfo = || ptrace::signal_info(tracee.pid).map_err(refused_request("PTRACE_GETSIGINFO"));
    // Resumes the tracee with this signal up to the stop for the next SIGSYS.
    let resume_to_sigsys = |signal| tracee.resume_to_signal(CONT, signal, libc::SIGSYS);
    // The tracer delivers another signal, whose sender is the tracer.
    resume_to_sigsys(0)?;
    resume_to_sigsys(INJECTED_SIGNAL)?;
    // si_signo, si_pid and si_uid.
    let mut expected = [0u8; 128];
    expected[0..4].copy_from_slice(&INJECTED_SIGNAL.to_ne_bytes());
    expected[16..20].copy_from_slice(&sys::getpid().to_ne_bytes());
    expected[20..24].copy_from_slice(&sys::getuid().to_ne_bytes());
    let record = record_of_signal(0)?;
    expect_equal("siginfo of a signal in place of SIGSYS", record.info, expected)?;
    expect_equal_hex(
        "next instruction in its frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        arch::gate().compared_address(),
    )?;
    // The tracer sets another siginfo: si_errno, si_code, both halves of si_call_addr, si_syscall, si_arch.
    let mut changed = siginfo()?;
    for (offset, value) in [(4, 77u32), (8, 1), (16, 0x1111_2222), (20, 3), (24, 4), (28, 5)] {
        changed[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    tracee
        .request(libc::PTRACE_SETSIGINFO, 0, changed.as_ptr() as u64)
        .map_err(refused_request("PTRACE_SETSIGINFO"))?;
    resume_to_sigsys(libc::SIGSYS)?;
    expect_equal("siginfo that the tracer set", record_of_signal(1)?.info, changed)?;
    // The tracer blocks the signal, which stays pending until the program unblocks it. The tracee then stops
    // for the same signal again.
    let first_siginfo = siginfo()?;
    let mask = sys::signal_bit(libc::SIGSYS);
    tracee
        .request(PTRACE_SETSIGMASK, 8, &raw const mask as u64)
        .map_err(refused_request("PTRACE_SETSIGMASK"))?;
    resume_to_sigsys(libc::SIGSYS)?;
    expect_equal("signals handled while SIGSYS is blocked", dispatch_count(), 2)?;
    expect_equal("siginfo of the signal that was pending", siginfo()?, first_siginfo)?;
    resume_to_sigsys(libc::SIGSYS)?;
    expect_equal("siginfo after unblocking", record_of_signal(2)?.info, first_siginfo)?;
    // The tracer sets another result.
    let mut registers = tracee.registers()?;
    registers.result = RESULT;
    tracee.set_registers(&registers)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
    expect_equal_hex(
        "the register that the tracer set",
        record_of_signal(3)?.registers[Reg::RESULT],
        RESULT,
    )
}

const SEIZE: u32 = libc::PTRACE_SEIZE;

/// `PTRACE_SETSIGMASK` (include/uapi/linux/ptrace.h).
const PTRACE_SETSIGMASK: u32 = 0x420b;

fn detached_stays_armed() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        // This program arms after its tracer has attached. The programs of `expect_armed_after` arm before
        // their tracer attaches.
        let armed = arm();
        pause_for_tracer();
        let dispatched = expect_dispatched(&arch::gate());
        exit_code(armed.and(dispatched).and_then(|()| expect_executed(&arch::gate())).is_ok())
    })?;
    expect_equal("detaching", tracee.request(libc::PTRACE_DETACH, 0, 0), Ok(0))?;
    expect_success(wait_for_change(tracee.pid)?)?;
    expect_armed_after(|child| {
        let tracee = Tracee::seize(child)?;
        expect_equal("detaching", tracee.request(libc::PTRACE_DETACH, 0, 0), Ok(0))
    })?;
    expect_armed_after(|child| {
        let tracer = spawn_child(|| exit_code(crate::ptrace::request(child, SEIZE, 0, 0).is_ok()))?;
        expect_success(wait_for_change(tracer)?)
    })
}

/// The index of the shared word that is 1 once the program has armed.
const HAS_ARMED: usize = 0;
/// The index of the shared word that is 1 once the tracer has left the program.
const TRACER_HAS_LEFT: usize = 1;

/// Checks that an armed program stays armed after a tracer has attached to the program and left it.
fn expect_armed_after(attach_and_leave: impl Fn(i32) -> Check) -> Check {
    let child = spawn_child(|| {
        // If the kernel has Yama, only PR_SET_PTRACER permits a tracer that is not an ancestor.
        // SAFETY: takes no pointers.
        let _ = unsafe { sys::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
        if arm().is_err() {
            return SETUP_FAILED;
        }
        set_shared_word(TRACER_HAS_LEFT, 0);
        set_shared_word(HAS_ARMED, 1);
        await_shared_word(TRACER_HAS_LEFT, 1);
        let dispatched = expect_dispatched(&arch::gate());
        exit_code(dispatched.and_then(|()| expect_executed(&arch::gate())).is_ok())
    })?;
    await_shared_word(HAS_ARMED, 1);
    set_shared_word(HAS_ARMED, 0);
    attach_and_leave(child)?;
    set_shared_word(TRACER_HAS_LEFT, 1);
    expect_success(wait_for_change(child)?)
}
