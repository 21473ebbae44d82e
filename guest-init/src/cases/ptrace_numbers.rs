// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracers that replace the number of an allowed call at its entry.

use super::ptrace::start_caller;
use crate::case::{Case, Check, OnlyArchs, case};
use crate::recording;
use crate::support::*;
use crate::tracee::StopKind;
use sudbox_protocol::Arch;

const SYSCALL: u32 = libc::PTRACE_SYSCALL;

pub(super) const CASES: &[Case] = &[case(
    "ptrace/number-replaced",
    "if the tracer replaces the number of an allowed call by -1, the call is skipped and has the result \
     that the tracer sets",
    "syscall_trace_enter()",
    number_replaced,
)
.only(OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "the registers that hold number and result at the entry are those of x86-64",
})];

/// The numbers that the tracer sets, each with its name in observations.
const NUMBERS: &[(&str, u64)] = &[
    ("-1", u64::MAX),
    ("-1 in the low half", 0xffff_ffff),
    ("-2", u64::MAX - 1),
    ("INT_MIN", 0xffff_ffff_8000_0000),
    ("unknown", 99_999),
    ("umask, high half not 0", 1 << 32 | libc::SYS_umask.cast_unsigned()),
    ("umask with bit 30", 1 << 30 | libc::SYS_umask.cast_unsigned()),
];

/// A result that no call returns.
const RESULT: u64 = 0x5eed;

fn number_replaced() -> Check {
    for (name, number) in NUMBERS {
        for set_result in [None, Some(RESULT)] {
            let tracee = start_caller(ALLOW)?;
            tracee.expect_call(SYSCALL, 0, StopKind::Entry, libc::SYS_umask)?;
            let mut registers = tracee.registers()?;
            registers.number = *number;
            registers.result = set_result.unwrap_or(registers.result);
            tracee.set_registers(&registers)?;
            tracee.expect_call_stop(SYSCALL, 0)?;
            let result = tracee.registers()?.result;
            let scenario =
                format!("number {name}{}", if set_result.is_some() { ", result set" } else { "" });
            let text = format!("{:#x} or {}", result, result.cast_signed());
            recording::add_text(&scenario, "result", "do_syscall_64()", &text)?;
            if let (u64::MAX, Some(set_result)) = (*number, set_result) {
                expect_equal("the result of the skipped call", result, set_result)?;
            }
            tracee.kill()?;
        }
    }
    Ok(())
}
