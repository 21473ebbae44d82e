// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch of traced tasks: the stops that the tracer observes, and its access to the configuration.

use super::check_on;
use crate::arch::{self};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, all_but, case, case_not_in_core};
use crate::ptrace::SYSEMU;
use crate::support::*;
use crate::sys::{self, Errno, WaitStatus};
use crate::tracee::{CONFIG_SIZE, Config, StopKind, Tracee, pause_for_tracer};
use sudbox_protocol::Feature;

const ENTER_FUNCTION: &str = "syscall_trace_enter()";
const EXIT_FUNCTION: &str = "syscall_exit_work()";
const GET_FUNCTION: &str = "syscall_user_dispatch_get_config()";
const SET_FUNCTION: &str = "syscall_user_dispatch_set_config()";
const NEEDS_PTRACE_CONFIG: &[Feature] = &[Feature::Dispatch, Feature::PtraceConfig];
const NEEDS_PTRACE_CONFIG_AND_INCLUSIVE: &[Feature] =
    &[Feature::Dispatch, Feature::PtraceConfig, Feature::Inclusive];

const NEEDS_PTRACE_CONFIG_AND_IA32: &[Feature] =
    &[Feature::Dispatch, Feature::PtraceConfig, Feature::Ia32];

const SYSCALL: u32 = libc::PTRACE_SYSCALL;
const CONT: u32 = libc::PTRACE_CONT;

const HAS_SINGLE_STEP: OnlyArchs =
    OnlyArchs { archs: all_but!(Riscv64), reason: "riscv64 has no PTRACE_SINGLESTEP" };

pub(super) const CASES: &[Case] = &[
    case(
        "ptrace/no-call-stops",
        "a dispatched call shows the tracer neither entry nor exit, only SIGSYS",
        ENTER_FUNCTION,
        no_call_stops,
    ),
    case(
        "ptrace/next-call-stops",
        "the call after a dispatched one shows the tracer entry and exit",
        EXIT_FUNCTION,
        expect_call_stops,
    ),
    case(
        "ptrace/no-emulation-stop",
        "PTRACE_SYSEMU does not see a dispatched call, only SIGSYS",
        ENTER_FUNCTION,
        no_emulation_stop,
    ),
    case(
        "ptrace/killed-without-stops",
        "a call that kills by its selector shows the tracer neither entry nor exit",
        EXIT_FUNCTION,
        killed_without_stops,
    )
    .known_bugs(&["phantom-exit-stop"]),
    case_not_in_core(
        "ptrace/selector-death-cannot-be-refused",
        "a call that an invalid or unreadable selector kills dies without a stop at which the tracer could \
         discard the signal",
        "syscall_user_dispatch()",
        selector_death_cannot_be_refused,
    ),
    case_not_in_core(
        "ptrace/step-dispatched",
        "a single step over a dispatched call stops for SIGSYS, then at the handler's start",
        EXIT_FUNCTION,
        check_on!(not "riscv64", stepping::step_dispatched),
    )
    .only(HAS_SINGLE_STEP),
    case_not_in_core(
        "ptrace/step-allowed",
        "a single step over an allowed call stops after it",
        EXIT_FUNCTION,
        check_on!(not "riscv64", stepping::step_allowed),
    )
    .only(HAS_SINGLE_STEP),
    case_not_in_core(
        "ptrace/step-emulated",
        "PTRACE_SYSEMU_SINGLESTEP over a dispatched call is a single step like any other",
        ENTER_FUNCTION,
        check_on!(not "riscv64", stepping::step_emulated),
    )
    .only(HAS_SINGLE_STEP),
    case(
        "ptrace/suppressed-signal",
        "if the tracer suppresses SIGSYS, the program continues after the call with its registers kept",
        "syscall_rollback()",
        suppressed_signal,
    )
    .known_bugs(&["result-register-lost"]),
    case(
        "ptrace/reads-configuration",
        "a tracer reads the configuration that was set, and zeros after OFF",
        GET_FUNCTION,
        reads_configuration,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case(
        "ptrace/checks-size-and-address",
        "a request with a wrong size is EINVAL, with a bad address EFAULT, to a running tracee ESRCH",
        SET_FUNCTION,
        checks_size_and_address,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case(
        "ptrace/arms-tracee",
        "setting the configuration arms and disarms the tracee, and not the tracer",
        SET_FUNCTION,
        arms_tracee,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case_not_in_core(
        "ptrace/needs-no-privilege",
        "a tracer without privileges reads and sets the configuration of its own tracees",
        SET_FUNCTION,
        needs_no_privilege,
    )
    .features(NEEDS_PTRACE_CONFIG)
    .needs(&[Need::Root]),
    case(
        "ptrace/validates-configuration",
        "the kernel refuses a tracer the same configurations as prctl, and nothing changes",
        SET_FUNCTION,
        validates_configuration,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case(
        "ptrace/set-at-entry",
        "if a tracer arms at the entry of a call, that call is executed and the next is dispatched",
        SET_FUNCTION,
        set_at_entry,
    )
    .features(NEEDS_PTRACE_CONFIG),
    case(
        "ptrace/siginfo-told",
        "at the stop for SIGSYS the tracer reads the call's number, address and architecture",
        "ptrace_getsiginfo()",
        siginfo_at_stop,
    ),
    case(
        "ptrace/killed-exit-event",
        "for a call that kills by its selector the tracer sees no signal, only the exit by SIGSYS",
        "force_exit_sig()",
        killed_exit_event,
    ),
    case_not_in_core(
        "ptrace/tracer-32",
        "a 32-bit tracer reads and sets the configuration of a 64-bit tracee in all its 64 bits",
        "compat_ptrace_request()",
        check_on!("x86_64", this_arch::compat_programs::tracer),
    )
    .features(NEEDS_PTRACE_CONFIG_AND_IA32)
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "ptrace/tracee-32",
        "a 64-bit tracer sets and reads all 64 bits of a 32-bit tracee's configuration, and they take \
         effect",
        "syscall_user_dispatch_set_config()",
        check_on!("x86_64", this_arch::compat_programs::tracee),
    )
    .features(NEEDS_PTRACE_CONFIG_AND_IA32)
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case(
        "ptrace/inclusive-restores",
        "an inclusive configuration that a tracer reads can be set again with the same effect",
        GET_FUNCTION,
        inclusive_restores,
    )
    .features(NEEDS_PTRACE_CONFIG_AND_INCLUSIVE)
    .known_bugs(&["inclusive-get-set"]),
];

/// Starts a tracee that arms, stops for its tracer, and issues a umask(2) call with this selector value. It
/// exits with 0 if the call is executed with ALLOW, or dispatched with BLOCK.
pub(super) fn start_caller(selector: u8) -> Result<Tracee, Failure> {
    handle_dispatches(do_nothing)?;
    Tracee::start(|| {
        let regs = fresh_umask_call();
        if arm().is_err() {
            return SETUP_FAILED;
        }
        set_selector(selector);
        pause_for_tracer();
        let after = arch::gate().issue(&regs);
        set_selector(ALLOW);
        let executed = take_umask_effect();
        let kept = is_result_kept(&after, &regs);
        exit_code(executed == (selector == ALLOW) && kept != executed)
    })
}

fn no_call_stops() -> Check {
    let tracee = start_caller(BLOCK)?;
    tracee.resume_to_signal(SYSCALL, 0, libc::SIGSYS)?;
    expect_equal("kind of stop", tracee.stop_kind()?, StopKind::None)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}

pub(super) fn expect_call_stops() -> Check {
    let tracee = start_caller(BLOCK)?;
    // A dispatch sets `on_dispatch`, which suppresses the exit stop of the dispatched call. The flag must
    // not suppress the stops of the next call, also if PTRACE_CONT resumes the tracee after the dispatch.
    for request in [SYSCALL, CONT] {
        let tracee = if request == SYSCALL { &tracee } else { &start_caller(BLOCK)? };
        tracee.resume_to_signal(request, 0, libc::SIGSYS)?;
        tracee.expect_call(SYSCALL, libc::SIGSYS, StopKind::Entry, libc::SYS_rt_sigreturn)?;
        tracee.expect_call_stop(SYSCALL, 0)?;
        expect_equal("kind of stop", tracee.stop_kind()?, StopKind::Exit)?;
        tracee.expect_call(SYSCALL, 0, StopKind::Entry, libc::SYS_umask)?;
        tracee.expect_call(SYSCALL, 0, StopKind::Exit, libc::SYS_umask)?;
        expect_success(tracee.resume(CONT, 0)?)?;
    }
    expect_equal("SIGSYS handled", dispatch_count(), 2)
}

fn no_emulation_stop() -> Check {
    let tracee = start_caller(BLOCK)?;
    tracee.resume_to_signal(SYSEMU, 0, libc::SIGSYS)?;
    expect_equal("kind of stop", tracee.stop_kind()?, StopKind::None)?;
    // The tracee stops at the handler's sigreturn, which shows that PTRACE_SYSEMU was in effect.
    tracee.expect_call(SYSEMU, libc::SIGSYS, StopKind::Entry, libc::SYS_rt_sigreturn)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    tracee.kill()
}

fn killed_without_stops() -> Check {
    let tracee = start_caller(INVALID)?;
    let status = tracee.resume(SYSCALL, 0)?;
    if let WaitStatus::Stopped(_) = status {
        log(format!("the stop is of kind {:?}", tracee.stop_kind()?));
        tracee.kill()?;
    }
    expect_killed(status, libc::SIGSYS, 0)?;
    // An executed call still stops at its entry and exit.
    expect_call_stops()
}

fn selector_death_cannot_be_refused() -> Check {
    for (unreadable, signal) in [(false, libc::SIGSYS), (true, libc::SIGSEGV)] {
        handle_dispatches(do_nothing)?;
        install_counting_handler(libc::SIGSEGV)?;
        let page = map_pages(1)?;
        let tracee = Tracee::start(|| {
            let regs = fresh_umask_call();
            let selector = if unreadable { page as u64 } else { selector_address(&SELECTOR) };
            if arm_with_selector(selector).is_err() || protect(page, 1, libc::PROT_NONE).is_err() {
                return SETUP_FAILED;
            }
            set_selector(INVALID);
            pause_for_tracer();
            let _ = arch::gate().issue(&regs);
            0
        })?;
        expect_killed(tracee.resume(CONT, 0)?, signal, 0)?;
    }
    Ok(())
}

fn suppressed_signal() -> Check {
    let tracee = start_caller(BLOCK)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    let registers = tracee.registers()?;
    expect_equal_hex(
        "next instruction at SIGSYS",
        registers.instruction_pointer,
        arch::gate().compared_address(),
    )?;
    expect_equal(
        "result's register at SIGSYS",
        registers.result.cast_signed(),
        result_register_at_umask_call(),
    )?;
    // The tracee itself checks the result register after the call.
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// The configuration that [`arm`] sets.
pub(super) fn armed_config() -> Config {
    Config {
        mode: MODE_EXCLUSIVE,
        selector: selector_address(&SELECTOR),
        offset: arch::inside().start,
        length: inside_length(),
    }
}

/// A configuration that changes if a field other than the mode is cut to 32 bits.
pub(super) const ALL_BITS_CONFIG: Config =
    Config { mode: MODE_EXCLUSIVE, selector: 0x34_5678_9abc, offset: 1 << 63 | 5, length: 7 << 40 };

fn reads_configuration() -> Check {
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        let armed = arm();
        pause_for_tracer();
        let Config { mode, selector, offset, length } = armed_config();
        let armed_again = expect_accepted(mode, offset, length + 16, selector);
        pause_for_tracer();
        let disarmed = disarm();
        pause_for_tracer();
        exit_code(armed.and(armed_again).and(disarmed).is_ok())
    })?;
    let resume_to_pause = || tracee.resume_to_signal(CONT, 0, libc::SIGSTOP);
    expect_equal("configuration before arming", tracee.config()?, Config::default())?;
    resume_to_pause()?;
    expect_equal("configuration", tracee.config()?, armed_config())?;
    resume_to_pause()?;
    let expected = Config { length: inside_length() + 16, ..armed_config() };
    expect_equal("configuration after arming again", tracee.config()?, expected)?;
    expect_equal("setting", tracee.set_config(&ALL_BITS_CONFIG), Ok(()))?;
    expect_equal("configuration that the tracer set", tracee.config()?, ALL_BITS_CONFIG)?;
    expect_equal("setting", tracee.set_config(&armed_config()), Ok(()))?;
    resume_to_pause()?;
    expect_equal("configuration after OFF", tracee.config()?, Config::default())?;
    expect_success(tracee.resume(CONT, 0)?)
}

fn checks_size_and_address() -> Check {
    /// The index of the shared word that is 1 once the tracee runs.
    const TRACEE_RUNS: usize = 0;
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        set_shared_word(TRACEE_RUNS, 1);
        loop {
            sys::sched_yield();
        }
    })?;
    let mut config = [0u64; 8];
    let config_address = config.as_mut_ptr() as u64;
    let unreadable = map_pages(1)?;
    protect(unreadable, 1, libc::PROT_NONE)?;
    let get_and_set =
        |size, address| [tracee.get_config_at(size, address), tracee.set_config_at(size, address)];
    for size in [0, 8, CONFIG_SIZE - 1, CONFIG_SIZE + 1, 64, CONFIG_SIZE | 1 << 32, u64::MAX] {
        let results = get_and_set(size, config_address);
        let invalid = [Err(Errno(libc::EINVAL)); 2];
        expect_equal(&format!("reading and setting {size:#x} bytes"), results, invalid)?;
    }
    let fault = [Err(Errno(libc::EFAULT)); 2];
    let results = get_and_set(CONFIG_SIZE, unreadable as u64);
    expect_equal("reading and setting at PROT_NONE", results, fault)?;
    expect_equal("reading and setting at 0", get_and_set(CONFIG_SIZE, 0), fault)?;
    let results = get_and_set(CONFIG_SIZE, arch::KERNEL_ADDRESS);
    expect_equal("reading and setting in the kernel", results, fault)?;
    expect_equal("bytes written so far", config, [0; 8])?;
    expect_equal("reading and setting", get_and_set(CONFIG_SIZE, config_address), [Ok(0); 2])?;
    tracee.request(CONT, 0, 0).map_err(refused_request("PTRACE_CONT"))?;
    await_shared_word(TRACEE_RUNS, 1);
    let results = get_and_set(CONFIG_SIZE, config_address);
    expect_equal("reading and setting a running tracee", results, [Err(Errno(libc::ESRCH)); 2])?;
    tracee.kill()
}

fn arms_tracee() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        let gate = arch::gate();
        pause_for_tracer();
        let while_armed = expect_dispatched(&gate).and_then(|()| expect_executed(&gate));
        pause_for_tracer();
        let while_disarmed = expect_executed_despite_block(&gate);
        exit_code(while_armed.and(while_disarmed).is_ok())
    })?;
    expect_equal("setting", tracee.set_config(&armed_config()), Ok(()))?;
    expect_executed_despite_block(&arch::gate())?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    tracee.resume_to_signal(CONT, libc::SIGSYS, libc::SIGSTOP)?;
    expect_equal("setting", tracee.set_config(&Config::default()), Ok(()))?;
    expect_success(tracee.resume(CONT, 0)?)
}

fn needs_no_privilege() -> Check {
    become_nobody().map_err(broken("becoming nobody"))?;
    reads_configuration()?;
    arms_tracee()?;
    validates_configuration()
}

fn validates_configuration() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = start_caller(BLOCK)?;
    let valid = armed_config();
    let bad_selector = (Config { selector: arch::KERNEL_ADDRESS, ..valid }, libc::EFAULT);
    for (config, errno) in [
        (Config { mode: 3, ..valid }, libc::EINVAL),
        (Config { mode: 1 << 32 | 1, ..valid }, libc::EINVAL),
        (Config { mode: MODE_OFF, ..valid }, libc::EINVAL),
        (Config { length: 0, ..valid }, libc::EINVAL),
        (Config { offset: u64::MAX, ..valid }, libc::EINVAL),
        (Config { selector: u64::MAX, length: 0, ..valid }, libc::EINVAL),
    ]
    .into_iter()
    .chain(arch::REFUSES_KERNEL_ADDRESSES.then_some(bad_selector))
    {
        expect_equal(
            &format!("setting {config:x?}"),
            tracee.set_config(&config),
            Err(Errno(errno)),
        )?;
        expect_equal("configuration after it", tracee.config()?, valid)?;
    }
    tracee.resume_to_signal(SYSCALL, 0, libc::SIGSYS)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)
}

fn set_at_entry() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        let regs = fresh_umask_call();
        set_selector(BLOCK);
        pause_for_tracer();
        let _ = arch::gate().issue(&regs);
        let first_executed = take_umask_effect();
        let _ = arch::gate().issue(&regs);
        let second_executed = take_umask_effect();
        set_selector(ALLOW);
        exit_code(first_executed && !second_executed)
    })?;
    tracee.expect_call(SYSCALL, 0, StopKind::Entry, libc::SYS_umask)?;
    expect_equal("setting", tracee.set_config(&armed_config()), Ok(()))?;
    tracee.expect_call(SYSCALL, 0, StopKind::Exit, libc::SYS_umask)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}

fn siginfo_at_stop() -> Check {
    let tracee = start_caller(BLOCK)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    // The words of a siginfo_t (include/uapi/asm-generic/siginfo.h).
    let mut info = [0u32; 32];
    tracee
        .request(libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr() as u64)
        .map_err(refused_request("PTRACE_GETSIGINFO"))?;
    let word = |value: i32| value.cast_unsigned();
    expect_equal("signal, errno, code", info[..3].to_vec(), vec![31, 0, word(SYS_USER_DISPATCH)])?;
    let address = u64::from_ne_bytes(std::array::from_fn(|i| info[4 + i / 4].to_ne_bytes()[i % 4]));
    expect_equal_hex("si_call_addr", address, arch::gate().compared_address())?;
    expect_equal("si_syscall", i64::from(info[6]), libc::SYS_umask)?;
    expect_equal_hex("si_arch", info[7].into(), arch::AUDIT_ARCH.into())?;
    expect_equal("bytes after si_arch", info[8..].iter().all(|word| *word == 0), true)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)
}

fn killed_exit_event() -> Check {
    let tracee = start_caller(INVALID)?;
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEEXIT;
    tracee
        .request(libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned()))
        .map_err(refused_request("PTRACE_SETOPTIONS"))?;
    tracee.resume_to_signal(CONT, 0, libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8)?;
    let mut status = 0u64;
    tracee
        .request(libc::PTRACE_GETEVENTMSG, 0, &raw mut status as u64)
        .map_err(refused_request("PTRACE_GETEVENTMSG"))?;
    let signal = status & 0x7f;
    expect_equal("signal in the exit status", signal, libc::SIGSYS.cast_unsigned().into())?;
    expect_killed(tracee.resume(CONT, 0)?, libc::SIGSYS, 0)
}

fn inclusive_restores() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::gate();
    let tracee = Tracee::start(|| {
        let regs = fresh_umask_call();
        let armed = expect_accepted(
            MODE_INCLUSIVE,
            gate.compared_address(),
            1,
            selector_address(&SELECTOR),
        )
        .is_ok();
        pause_for_tracer();
        let is_executed = |gate: &arch::Gate| {
            let _ = issue_blocked(gate, &regs);
            take_umask_effect()
        };
        exit_code(armed && !is_executed(&gate) && is_executed(&arch::second_gate()))
    })?;
    let config = tracee.config()?;
    log(format!("read: {config:x?}"));
    let set_result = tracee.set_config(&config);
    let config_after = tracee.config()?;
    expect_equal("setting what was read", set_result, Ok(()))?;
    expect_equal("configuration after it", config_after, config)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}
