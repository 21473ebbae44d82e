// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The call under test of a point: its configuration, its registers, and properties of its states.

use super::dimension::{GateChoice, Mode, Number, Point, Selector, Span, Times, Tracer};
use super::memory::Layout;
use crate::arch::{CALL_LENGTH, Registers, SecondEntry, UNUSED_NUMBER};

/// The exit code of the calls exit(2) and exit_group(2) under test.
pub const EXIT_CODE: u8 = 9;

impl Tracer {
    /// Whether the tracer resumes by `PTRACE_SYSCALL`.
    #[must_use]
    pub fn stops_at_calls(self) -> bool {
        matches!(self, Tracer::Syscall | Tracer::SeizedSyscall | Tracer::SyscallSuppressed)
    }

    /// Whether the tracer skips the call under test (`PTRACE_SYSEMU*`).
    #[must_use]
    pub fn skips_call(self) -> bool {
        matches!(self, Tracer::Sysemu | Tracer::SysemuSinglestep)
    }

    /// Whether the tracer single-steps over the call under test.
    #[must_use]
    pub fn single_steps(self) -> bool {
        matches!(self, Tracer::Singlestep | Tracer::SysemuSinglestep)
    }

    /// Whether the tracer attaches by `PTRACE_SEIZE`. It then sees `PTRACE_EVENT_EXIT`.
    #[must_use]
    pub fn attaches_by_seize(self) -> bool {
        matches!(self, Tracer::SeizedCont | Tracer::SeizedSyscall)
    }

    /// Whether the tracer suppresses SIGSYS.
    #[must_use]
    pub fn suppresses_sigsys(self) -> bool {
        matches!(self, Tracer::ContSuppressed | Tracer::SyscallSuppressed)
    }
}

impl Times {
    /// The number of times that the call is issued.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Times::Once => 1,
            Times::Twice => 2,
            Times::Thrice => 3,
        }
    }
}

impl Number {
    /// Whether the number is also an error code by which the kernel restarts calls (`ERESTART*`).
    #[must_use]
    pub fn is_restart_code(self) -> bool {
        use Number::{Minus512, Minus513, Minus514, Minus516};
        matches!(self, Minus512 | Minus513 | Minus514 | Minus516)
    }
}

impl Selector {
    /// Whether the selector is a byte that the test can set and the kernel can read.
    #[must_use]
    pub fn is_memory(self) -> bool {
        matches!(
            self,
            Selector::Private
                | Selector::Shared
                | Selector::PrivateFile
                | Selector::SharedFile
                | Selector::LastOfPage
                | Selector::FirstOfPage
        )
    }
}

/// The offset and length of a range. `ip` is the compared address of the call under test.
#[must_use]
pub fn range(span: Span, ip: u64, layout: &Layout) -> [u64; 2] {
    let start = layout.inside.start;
    let max = u64::MAX;
    match span {
        Span::Inside => [start, layout.inside.end - start],
        Span::ToIp => [start, ip.wrapping_sub(start)],
        Span::ThroughIp => [start, ip.wrapping_sub(start).wrapping_add(1)],
        Span::ToBeforeIp => [start, ip.wrapping_sub(start).wrapping_sub(1)],
        Span::Ip => [ip, 1],
        Span::BeforeIp => [ip - 1, 1],
        Span::AfterIp => [ip + 1, 1],
        Span::Instruction => [ip - CALL_LENGTH, CALL_LENGTH],
        Span::FromIp => [ip, max - ip],
        Span::FromAfterIp => [ip + 1, max - ip - 1],
        Span::Nothing => [0, 0],
        Span::EmptyAtIp => [ip, 0],
        Span::All => [0, max],
        Span::AllButZero => [1, max - 1],
        Span::WrapsToZero => [1, max],
        Span::Wraps => [start, max],
        Span::BelowIp => [0, ip],
        Span::BelowAndIp => [0, ip + 1],
        Span::KernelHalf => [1 << 63, (1 << 63) - 1],
        Span::LastByte => [max - 1, 1],
        Span::LowHalf => [ip & 0xffff_ffff, 1],
        Span::WrapsToItself => [ip, max],
        Span::ByteZero => [0, 1],
        Span::LengthInHighHalf => [start, 1 << 40 | 1],
    }
}

/// The prctl(2) arguments of the configuration: mode, offset, length and selector.
#[must_use]
pub fn configuration_arguments(point: &Point, layout: &Layout) -> [u64; 4] {
    let ip = layout.gate(point.gate()).map_or(0, |gate| gate.compared_address());
    let mode = match point.mode() {
        Mode::Off => 0,
        Mode::Exclusive => 1,
        Mode::Inclusive => 2,
    };
    let [offset, length] = range(point.span(), ip, layout);
    [mode, offset, length, layout.selector(point.selector()).unwrap_or(0)]
}

/// The prctl(2) arguments of the configuration that some points set before the configuration under test.
#[must_use]
pub fn earlier_configuration_arguments(layout: &Layout) -> [u64; 4] {
    [1, layout.inside.start, layout.inside.end - layout.inside.start, layout.allow_selector]
}

/// The registers with which the call under test is issued.
#[must_use]
pub fn call_registers(point: &Point, layout: &Layout) -> Registers {
    let second_entry =
        layout.second_entry.as_ref().filter(|_| point.gate() == GateChoice::SecondEntry);
    let register = |number: i64| number.cast_unsigned();
    let number_at_gate = |native: i64, at_second_entry: fn(&SecondEntry) -> u32| {
        second_entry.map_or(register(native), |entry| at_second_entry(entry).into())
    };
    let getresuid = number_at_gate(libc::SYS_getresuid, |entry| entry.getresuid);
    let disarm = [crate::sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned().into(), 0, 0, 0, 0, 0];
    let [a, b, c] = layout.id_addresses;
    let ids = [a, b, c, 0, 0, 0];
    let (number, arguments) = match point.number() {
        Number::Getresuid => (getresuid, ids),
        Number::GetresuidFarBits => (getresuid | 0x5e1f_beef << 32, ids),
        Number::Zero => (0, ids),
        Number::Unused => (UNUSED_NUMBER, ids),
        Number::MinusOne => (register(-1), ids),
        Number::IntMin => (register(i32::MIN.into()), ids),
        Number::Minus512 => (register(-512), ids),
        Number::Minus513 => (register(-513), ids),
        Number::Minus514 => (register(-514), ids),
        Number::Minus515 => (register(-515), ids),
        Number::Minus516 => (register(-516), ids),
        Number::Minus38 => (register(-38), ids),
        Number::RtSigreturn => {
            (number_at_gate(libc::SYS_rt_sigreturn, |entry| entry.rt_sigreturn), ids)
        }
        Number::Exit => {
            let number = number_at_gate(libc::SYS_exit, |entry| entry.exit);
            (number, [EXIT_CODE.into(), 0, 0, 0, 0, 0])
        }
        Number::ExitGroup => {
            let number = number_at_gate(libc::SYS_exit_group, |entry| entry.exit_group);
            (number, [EXIT_CODE.into(), 0, 0, 0, 0, 0])
        }
        Number::Disarm => (number_at_gate(libc::SYS_prctl, |entry| entry.prctl), disarm),
        Number::LowHalfMinusOne => (0xffff_ffff, ids),
        Number::GetresuidBit30 => (getresuid | 0x4000_0000, ids),
    };
    match second_entry {
        Some(entry) => (entry.registers)(number, arguments),
        None => Registers::for_call(number, arguments),
    }
}
