// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The errors of a kernel without dispatch, by which programs detect its absence.

use super::seccomp::{SYS_SECCOMP, filter_umask, umask_call};
use crate::arch;
use crate::case::{Case, Check, absence_case};
use crate::ptrace::SYSEMU;
use crate::support::*;
use crate::sys::{Errno, WaitStatus};
use crate::tracee::{CONFIG_SIZE, StopKind, Tracee, pause_for_tracer};
use libc::{SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP};
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[
    absence_case(
        "absence/modes-refused",
        "without dispatch every mode, also OFF, is EINVAL, and calls are executed",
        "set_syscall_user_dispatch()",
        modes_refused,
    ),
    absence_case(
        "absence/filter-decides",
        "without dispatch a filter still fails a call with an error, traps it by SIGSYS with code SYS_SECCOMP, \
         or kills",
        "__seccomp_filter()",
        filter_decides,
    )
    .features(&[Feature::SeccompFilter]),
    absence_case(
        "absence/tracer-sees-calls",
        "without dispatch a tracer still stops its tracee at entry and exit of a call, and can skip the call",
        "ptrace_report_syscall()",
        tracer_sees_calls,
    ),
    absence_case(
        "absence/requests-refused",
        "without dispatch a tracer's requests to read or set the configuration are EINVAL, before 6.4 EIO",
        "ptrace_request()",
        requests_refused,
    ),
];

fn modes_refused() -> Check {
    let (start, length, selector) =
        (arch::inside().start, inside_length(), selector_address(&SELECTOR));
    for mode in [MODE_OFF, MODE_EXCLUSIVE, MODE_INCLUSIVE, 3, u64::MAX] {
        for (offset, length, selector) in
            [(0, 0, 0), (start, length, selector), (start, length, arch::KERNEL_ADDRESS)]
        {
            expect_refused(mode, offset, length, selector, libc::EINVAL)?;
            expect_executed_despite_block(&arch::gate())?;
        }
    }
    Ok(())
}

fn filter_decides() -> Check {
    const ERRNO: i32 = 77;
    handle_dispatches(do_nothing)?;
    let status = run_vforked(|| {
        if filter_umask(SECCOMP_RET_KILL_PROCESS).is_err() {
            return SETUP_FAILED;
        }
        let _ = arch::gate().issue(&umask_call());
        0
    })?;
    expect_killed(status, libc::SIGSYS, 0)?;
    let status = run_vforked(|| {
        if filter_umask(SECCOMP_RET_ERRNO | ERRNO.cast_unsigned()).is_err() {
            return SETUP_FAILED;
        }
        exit_code(arch::gate().issue(&umask_call()).result() == -i64::from(ERRNO))
    })?;
    expect_success(status)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    filter_umask(SECCOMP_RET_TRAP).map_err(broken("seccomp"))?;
    let _ = arch::gate().issue(&umask_call());
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal("si_code", record.code(), SYS_SECCOMP)?;
    expect_equal_hex("si_call_addr", record.call_address(), arch::gate().compared_address())?;
    expect_equal("si_syscall", i64::from(record.number()), libc::SYS_umask)
}

fn tracer_sees_calls() -> Check {
    let tracee = Tracee::start(|| {
        let regs = fresh_umask_call();
        pause_for_tracer();
        let _ = arch::gate().issue(&regs);
        let executed = take_umask_effect();
        pause_for_tracer();
        let _ = arch::gate().issue(&regs);
        exit_code(executed && !take_umask_effect())
    })?;
    tracee.expect_call(libc::PTRACE_SYSCALL, 0, StopKind::Entry, libc::SYS_umask)?;
    tracee.expect_call(libc::PTRACE_SYSCALL, 0, StopKind::Exit, libc::SYS_umask)?;
    tracee.resume_to_signal(libc::PTRACE_CONT, 0, libc::SIGSTOP)?;
    tracee.expect_call(SYSEMU, 0, StopKind::Entry, libc::SYS_umask)?;
    expect_equal("the tracee", tracee.resume(libc::PTRACE_CONT, 0)?, WaitStatus::Exited(0))
}

/// The release that introduced the ptrace(2) requests (include/uapi/linux/ptrace.h).
const REQUESTS_SINCE: [u32; 2] = [6, 4];

/// The first two numbers of this kernel's release.
fn release() -> [u32; 2] {
    let (release, _, _) = crate::probe::uname();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().flatten().unwrap_or(0))
}

fn requests_refused() -> Check {
    let expected = if release() < REQUESTS_SINCE { libc::EIO } else { libc::EINVAL };
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        exit_code(expect_executed_despite_block(&arch::gate()).is_ok())
    })?;
    let config =
        [MODE_EXCLUSIVE, selector_address(&SELECTOR), arch::inside().start, inside_length()];
    let address = config.as_ptr() as u64;
    for size in [0, CONFIG_SIZE] {
        expect_equal(
            "reading the configuration",
            tracee.get_config_at(size, address),
            Err(Errno(expected)),
        )?;
        expect_equal(
            "setting the configuration",
            tracee.set_config_at(size, address),
            Err(Errno(expected)),
        )?;
    }
    expect_success(tracee.resume(libc::PTRACE_CONT, 0)?)
}
