// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The core dump of a process that a dispatch killed.

use super::registers::pattern_registers;
use crate::arch::{self, TraceeRegisters};
use crate::case::{Case, Check, Failure, Need, outside_core};
use crate::support::*;
use crate::sys::{self, Change};

pub(super) const CASES: &[Case] = &[outside_core(
    "signals/core-tells",
    "the core dump of an unhandled dispatch has its siginfo and the registers of the call, that of an \
     invalid selector the code SI_KERNEL",
    "fill_note_info()",
    core_has_siginfo_and_registers,
)
.needs(&[Need::Root, Need::Vm])];

/// The working directory of the process, to which the kernel writes the core dump.
const CORE_FOLDER: &str = "/tmp/core-tells";
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// Types of notes in a core (include/uapi/linux/elf.h).
const NT_PRSTATUS: u32 = 1;
const NT_SIGINFO: u32 = 0x5349_4749;
/// The offset of the registers in the 64-bit `struct elf_prstatus` (include/linux/elfcore.h).
const REGISTERS_OFFSET: usize = 112;
/// `SI_KERNEL`, the `si_code` of signals by `force_exit_sig()`.
const SI_KERNEL: i32 = 0x80;

fn core_has_siginfo_and_registers() -> Check {
    let text = std::fs::read_to_string(CORE_PATTERN).map_err(broken("core_pattern"))?;
    let result = check_core_dumps();
    let _ = std::fs::write(CORE_PATTERN, text);
    result
}

fn check_core_dumps() -> Check {
    std::fs::write(CORE_PATTERN, "core").map_err(broken("core_pattern"))?;
    let gate = arch::gate();
    for (selector, code) in [(BLOCK, SYS_USER_DISPATCH), (2, SI_KERNEL)] {
        let core = dump_core_of_child(selector)?;
        let info = first_note(&core, NT_SIGINFO)?;
        let field =
            |at: usize| info.get(at..at + 4).map_or(0, |b| i32::from_ne_bytes(four_bytes(b)));
        expect_equal("signal, errno, code", [0, 4, 8].map(field), [libc::SIGSYS, 0, code])?;
        if selector == BLOCK {
            let address = info.get(16..24).map_or(0, |b| u64::from_ne_bytes(eight_bytes(b)));
            expect_equal_hex("si_call_addr", address, gate.compared_address())?;
            expect_equal("si_syscall", i64::from(field(24)), libc::SYS_umask)?;
            expect_equal_hex("si_arch", field(28).cast_unsigned().into(), arch::AUDIT_ARCH.into())?;
            let rest = info.get(32..128).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            expect_equal("bytes after si_arch are zero", rest, true)?;
        }
        let status = first_note(&core, NT_PRSTATUS)?;
        let bytes = status.get(REGISTERS_OFFSET..REGISTERS_OFFSET + size_of::<TraceeRegisters>());
        let bytes = bytes.ok_or_else(|| mismatch("registers in NT_PRSTATUS", "a shorter note"))?;
        // SAFETY: the structure consists of integers, and is as long as the bytes.
        let registers = unsafe { bytes.as_ptr().cast::<TraceeRegisters>().read_unaligned() };
        expect_equal_hex(
            "next instruction",
            registers.instruction_pointer,
            gate.compared_address(),
        )?;
        if selector == BLOCK {
            let kept = is_result_value_kept(registers.result.cast_signed(), &pattern_registers());
            ensure(
                kept,
                &format!("result's register {:#x}", pattern_registers().result()),
                || format!("{:#x}", registers.result),
            )?;
        }
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Runs a process that a call with this selector value kills, and returns its core dump.
fn dump_core_of_child(selector: u8) -> Result<Vec<u8>, Failure> {
    let _ = std::fs::remove_dir_all(CORE_FOLDER);
    std::fs::create_dir_all(CORE_FOLDER).map_err(broken("a folder"))?;
    let child = spawn_child(|| {
        let limits = [1u64 << 24; 2];
        // Only the headers and notes are needed.
        let set = std::fs::write("/proc/self/coredump_filter", "0").is_ok()
            && std::env::set_current_dir(CORE_FOLDER).is_ok()
            // SAFETY: the structure is live.
            && unsafe {
                let core = u64::from(libc::RLIMIT_CORE);
                sys::call(libc::SYS_prlimit64, &[0, core, limits.as_ptr() as u64, 0]).is_ok()
            };
        if !set || arm().is_err() {
            return 99;
        }
        let regs = pattern_registers();
        set_selector(selector);
        let _ = arch::gate().issue(&regs);
        0
    })?;
    let expected = Change::Killed { signal: libc::SIGSYS, core: true };
    expect_equal("the end of the process", wait_for_change(child)?, expected)?;
    let entry = std::fs::read_dir(CORE_FOLDER)
        .ok()
        .and_then(|mut folder| folder.next())
        .and_then(Result::ok)
        .ok_or_else(|| mismatch("a core", "an empty folder"))?;
    std::fs::read(entry.path()).map_err(broken("reading the core"))
}

fn four_bytes(bytes: &[u8]) -> [u8; 4] {
    std::array::from_fn(|i| bytes[i])
}

fn eight_bytes(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|i| bytes[i])
}

/// The first note of a type in a core (elf(5)).
fn first_note(core: &[u8], kind: u32) -> Result<&[u8], Failure> {
    find_note(core, kind).ok_or_else(|| mismatch(format!("a note of type {kind:#x}"), "none"))
}

fn find_note(core: &[u8], kind: u32) -> Option<&[u8]> {
    const PT_NOTE: u32 = 4;
    let at = |value: u64| usize::try_from(value).ok();
    let half = |from: usize| Some(u16::from_ne_bytes(core.get(from..from + 2)?.try_into().ok()?));
    let word = |from: usize| Some(u32::from_ne_bytes(core.get(from..from + 4)?.try_into().ok()?));
    let long = |from: usize| at(u64::from_ne_bytes(core.get(from..from + 8)?.try_into().ok()?));
    let headers = long(32)?;
    let header = (0..usize::from(half(56)?))
        .map(|i| headers + i * 56)
        .find(|from| word(*from) == Some(PT_NOTE))?;
    let (mut from, length) = (long(header + 8)?, long(header + 32)?);
    let end = from + length;
    while from + 12 <= end {
        let (name, bytes) = (word(from)? as usize, word(from + 4)? as usize);
        let start = from + 12 + name.next_multiple_of(4);
        if word(from + 8)? == kind {
            return core.get(start..start + bytes);
        }
        from = start + bytes.next_multiple_of(4);
    }
    None
}
