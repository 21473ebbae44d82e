// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The `siginfo_t` of a dispatch.

use super::check_on;
use crate::arch::{self, Gate, Registers};
use crate::case::{Case, Check, OnlyArchs, case, case_not_in_core};
use crate::support::*;
use crate::sys;
use sudbox_protocol::Feature;

const TRIGGER_FUNCTION: &str = "trigger_sigsys()";

pub(super) const CASES: &[Case] = &[
    case(
        "siginfo/code",
        "a dispatch is SIGSYS with code SYS_USER_DISPATCH and errno 0",
        TRIGGER_FUNCTION,
        code_and_errno,
    ),
    case(
        "siginfo/call-address",
        "si_call_addr is the address after the system call instruction",
        TRIGGER_FUNCTION,
        call_address,
    ),
    case(
        "siginfo/number",
        "si_syscall has the bits of the number register that the entry reads (32, on s390x 16), whether or \
         not the call exists",
        TRIGGER_FUNCTION,
        number_bits,
    ),
    case(
        "siginfo/arch",
        "si_arch names the entry of the call: AUDIT_ARCH_X86_64",
        TRIGGER_FUNCTION,
        native_arch,
    ),
    case(
        "siginfo/arch-int80",
        "the siginfo of int 0x80 in 64-bit code has AUDIT_ARCH_I386, and number and address of that call",
        TRIGGER_FUNCTION,
        check_on!("x86_64", this_arch::compat_programs::siginfo_arch),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::INT80),
    case(
        "siginfo/rest-is-zero",
        "all bytes of siginfo outside the fields of SIGSYS are zero",
        TRIGGER_FUNCTION,
        rest_is_zero,
    ),
    case_not_in_core(
        "siginfo/layout-32",
        "the siginfo in the handler of a 32-bit program has the layout of 32-bit programs",
        "__copy_siginfo_to_user32()",
        check_on!("x86_64", this_arch::compat_programs::siginfo_layout),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case(
        "siginfo/full-at-pending-limit",
        "siginfo is complete even if the limit of queued signals is reached",
        "force_sig_info_to_task()",
        full_at_pending_limit,
    ),
];

/// Issues a dispatched call with this number, and checks its siginfo. `arch` is the expected `si_arch`.
pub(super) fn expect_siginfo(gate: &Gate, number: u64, arch: u32) -> Check {
    let (_, record) = issue_dispatched(gate, &Registers::for_call(number, [0; 6]))?;
    expect_equal("si_signo", record.signal(), libc::SIGSYS)?;
    expect_equal("si_code", record.code(), SYS_USER_DISPATCH)?;
    expect_equal("si_errno", record.errno(), 0)?;
    expect_equal_hex("si_call_addr", record.call_address(), gate.compared_address())?;
    expect_equal(
        &format!("si_syscall for {number:#x}"),
        record.number(),
        number_read_by_kernel(number),
    )?;
    expect_equal_hex("si_arch", record.arch().into(), arch.into())
}

fn code_and_errno() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let (_, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal("si_signo", record.signal(), libc::SIGSYS)?;
    expect_equal("si_code", record.code(), SYS_USER_DISPATCH)?;
    expect_equal("si_errno", record.errno(), 0)
}

fn call_address() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    for gate in [arch::gate(), arch::second_gate()] {
        let (_, record) = issue_dispatched(&gate, &fresh_umask_call())?;
        expect_equal_hex("si_call_addr", record.call_address(), gate.compared_address())?;
    }
    Ok(())
}

fn number_bits() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let getpid = call_number(libc::SYS_getpid);
    for number in [
        0,
        getpid,
        arch::UNUSED_NUMBER,
        // On x86-64 bit 30 marks a number of x32.
        1 << 30 | getpid,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000 | getpid,
        0xffff_ffff_0000_0000 | getpid,
    ] {
        expect_siginfo(&arch::gate(), number, arch::AUDIT_ARCH)?;
    }
    Ok(())
}

fn native_arch() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let (_, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal_hex("si_arch", record.arch().into(), arch::AUDIT_ARCH.into())
}

fn rest_is_zero() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let (_, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    // Bytes 12 to 15 align the address; the fields end at byte 32.
    let nonzero = (0..record.info.len())
        .filter(|i| (12..16).contains(i) || *i >= 32)
        .find(|i| record.info[*i] != 0);
    match nonzero {
        None => Ok(()),
        Some(i) => Err(mismatch(
            "zero bytes beside the fields of SIGSYS",
            format!("byte {i} of siginfo is {:#x}", record.info[i]),
        )),
    }
}

fn full_at_pending_limit() -> Check {
    handle_dispatches(do_nothing)?;
    let limits = [0u64; 2];
    // SAFETY: the structure is live.
    unsafe {
        sys::call(
            libc::SYS_prlimit64,
            &[0, u64::from(libc::RLIMIT_SIGPENDING), limits.as_ptr() as u64, 0],
        )
    }
    .map_err(broken("prlimit64"))?;
    arm()?;
    expect_siginfo(&arch::gate(), call_number(libc::SYS_getpid), arch::AUDIT_ARCH)
}
