// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers of a random walk's calls.

use super::operations::{Call, CallSite, Program, ProgramLayout};
use crate::arch::{COMPAT_PRCTL, COMPAT_UMASK, Registers, UNUSED_NUMBER, compat_call};
use crate::sys::PR_SET_SYSCALL_USER_DISPATCH;

/// An address of arguments that the kernel cannot read.
const UNREADABLE_ADDRESS: u64 = 8;

/// The value of the number register and the arguments of a call.
#[must_use]
pub(super) fn number_and_arguments(
    site: CallSite,
    call: Call,
    layout: &ProgramLayout,
) -> (u64, [u64; 6]) {
    let compat = site == CallSite::CompatGate;
    let (umask, prctl) = if compat {
        (COMPAT_UMASK, COMPAT_PRCTL)
    } else {
        (libc::SYS_umask.cast_unsigned(), libc::SYS_prctl.cast_unsigned())
    };
    match call {
        Call::Umask(mask) => (umask, [mask.into(), 0, 0, 0, 0, 0]),
        Call::UmaskWithHighBit(mask) => (umask | 1 << 40, [mask.into(), 0, 0, 0, 0, 0]),
        Call::UnusedNumber => (UNUSED_NUMBER, [0; 6]),
        Call::MinusOne => (u64::MAX, [0; 6]),
        Call::Prctl(arguments) => {
            let [mode, offset, length, selector] = layout.arguments(arguments);
            let option = i64::from(PR_SET_SYSCALL_USER_DISPATCH).cast_unsigned();
            let arguments = [option, mode, offset, length, selector, 0];
            (prctl, arguments)
        }
        Call::Exec(program) => {
            let [valid, no_format] = layout.program_files;
            let (file, arguments) = match program {
                Program::Valid => (valid, 0),
                Program::NoFormat => (no_format, 0),
                Program::UnreadableArguments => (valid, UNREADABLE_ADDRESS),
            };
            let flags = u64::from(libc::AT_EMPTY_PATH.cast_unsigned());
            let arguments = [file, layout.empty_path, arguments, 0, flags, 0];
            (libc::SYS_execveat.cast_unsigned(), arguments)
        }
    }
}

/// The registers of a call.
#[must_use]
pub(super) fn registers(site: CallSite, call: Call, layout: &ProgramLayout) -> Registers {
    let (number, arguments) = number_and_arguments(site, call, layout);
    match site {
        CallSite::CompatGate => compat_call(number, arguments),
        _ => Registers::for_call(number, arguments),
    }
}
