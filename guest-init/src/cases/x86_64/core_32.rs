// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The core dump of a 32-bit program that a dispatch killed.

use super::compat::{Program, arm_inside_request};
use super::handlers_32::own_segment_request;
use crate::arch;
use crate::arch::compat::{self, Registers, Request, number};
use crate::case::{Check, Failure};
use crate::cases::signals_core::{
    FIRST_NOTES, NT_PRSTATUS, NT_SIGINFO, WHOLE_CORE, enable_core, first_note, notes_of,
    prepare_core_folder, read_core, with_core_files,
};
use crate::support::*;
use crate::sys::WaitStatus;

/// The type of the note with the segments of a thread's own (include/uapi/linux/elf.h).
const NT_386_TLS: u32 = 0x200;
/// Words of the 32-bit `struct elf_prstatus` (include/linux/elfcore-compat.h): `pr_pid`, and in `pr_reg`
/// (`struct user_regs_struct32`) the registers.
const PID_WORD: usize = 6;
const REGISTERS_WORD: usize = 18;
/// BX, CX, DX, SI, DI, BP, AX and IP in `pr_reg`.
const REGISTERS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 12];
/// The length of `struct elf_prstatus` in words. The last one is `pr_fpvalid`.
const STATUS_LENGTH: usize = 36;

pub(crate) fn core_tells() -> Check {
    with_core_files(check_core_dumps)
}

/// The words of a note.
fn words(content: &[u8]) -> Vec<u32> {
    content.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

fn check_core_dumps() -> Check {
    for has_segment in [false, true] {
        prepare_core_folder()?;
        let program = Program::start_in_child_after(|| match enable_core(WHOLE_CORE) {
            true => Ok(()),
            false => Err(Failure::Broken("enabling core dumps".into())),
        })?;
        let call = Registers { ax: number::GETPID, bx: 1, cx: 2, dx: 3, si: 4, di: 5, bp: 6 };
        let mut requests = Vec::new();
        if has_segment {
            requests.push(own_segment_request(&program));
        }
        requests.push(arm_inside_request());
        requests.push(Request::new(compat::outside_gate(), BLOCK, call));
        let (status, _) = program.run_until_end(&requests)?;
        let expected = WaitStatus::Killed { signal: libc::SIGSYS, core: true };
        expect_equal("the end of the program", status, expected)?;
        let core = read_core()?;
        let notes = notes_of(&core)?;
        let kinds: Vec<u32> = notes.iter().map(|note| note.kind).collect();
        let first = kinds.get(..FIRST_NOTES.len()).unwrap_or_default();
        expect_equal("first notes of the core", first, &FIRST_NOTES)?;
        let what = format!("notes of the thread's own segments, with one: {has_segment}");
        let count = kinds.iter().filter(|kind| **kind == NT_386_TLS).count();
        expect_equal(&what, count, usize::from(has_segment))?;
        let next = compat::outside_gate_compared_address();
        let mut expected = vec![
            libc::SIGSYS.cast_unsigned(),
            0,
            SYS_USER_DISPATCH.cast_unsigned(),
            next,
            call.ax,
            arch::AUDIT_ARCH_COMPAT,
        ];
        expected.resize(32, 0);
        expect_equal("words of the siginfo", words(first_note(&notes, NT_SIGINFO)?), expected)?;
        let status = words(first_note(&notes, NT_PRSTATUS)?);
        expect_equal("length of NT_PRSTATUS in words", status.len(), STATUS_LENGTH)?;
        expect_equal("pr_pid", status[PID_WORD], program.pid().cast_unsigned())?;
        expect_equal("pr_fpvalid", status[STATUS_LENGTH - 1], 1)?;
        let registers = REGISTERS.map(|index| status[REGISTERS_WORD + index]);
        expect_equal(
            "BX, CX, DX, SI, DI, BP, AX and EIP",
            registers,
            [call.bx, call.cx, call.dx, call.si, call.di, call.bp, call.ax, next],
        )?;
    }
    Ok(())
}
