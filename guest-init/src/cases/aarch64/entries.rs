// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls of 32-bit programs.

use crate::arch::{
    AARCH32_AUDIT_ARCH, AARCH32_COMPARED_ADDRESSES, AARCH32_OUTPUT_LENGTH, AARCH32_PATTERNS,
    aarch32_program,
};
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, WaitStatus};

/// Exit code of a child whose execve(2) failed.
const NOT_EXECUTED: i32 = 98;

/// Runs the 32-bit program, and returns the words that it records. Word 0 is the address after the last word.
fn run_aarch32_program() -> Result<Vec<u32>, Failure> {
    let image = aarch32_program();
    let file = sys::memory_file().map_err(broken("memfd_create"))?;
    let records_file = sys::memory_file().map_err(broken("memfd_create"))?;
    let word = |fd: i32| u64::from(fd.cast_unsigned());
    // SAFETY: the image is live.
    unsafe { sys::call(libc::SYS_write, &[word(file), image.as_ptr() as u64, image.len() as u64]) }
        .map_err(broken("write"))?;
    let _ = take_umask_effect();
    let child = spawn_child(|| {
        let list = [0u64].as_ptr() as u64;
        let empty = u64::from(libc::AT_EMPTY_PATH.cast_unsigned());
        // SAFETY: the path and the two lists are empty and terminated.
        let _ = unsafe {
            sys::call(libc::SYS_dup3, &[word(records_file), 1, 0]).and_then(|_| {
                let path = c"".as_ptr() as u64;
                sys::call(libc::SYS_execveat, &[word(file), path, list, list, empty])
            })
        };
        NOT_EXECUTED
    })?;
    let status = wait_for_change(child)?;
    if status == WaitStatus::Exited(NOT_EXECUTED) {
        return Err(Failure::Unmet("programs of 32 bits".into()));
    }
    expect_success(status)?;
    let mut bytes = [0u8; AARCH32_OUTPUT_LENGTH];
    // SAFETY: writes at most the buffer.
    let read = unsafe {
        let (at, length) = (bytes.as_mut_ptr() as u64, bytes.len() as u64);
        sys::call(libc::SYS_pread64, &[word(records_file), at, length, 0])
    };
    expect_equal("bytes recorded", read.map_err(broken("pread64"))?, AARCH32_OUTPUT_LENGTH as u64)?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

pub(crate) fn aarch32() -> Check {
    /// The number of words that the handler records: six of the siginfo, and 17 registers in the frame.
    const WORDS_PER_DISPATCH: usize = 6 + 17;
    /// The number of registers that the program records after a call.
    const WORDS_PER_CALL: usize = 13;
    /// The bit of the processor state for Thumb (`PSR_AA32_T_BIT`).
    const THUMB: u32 = 0x20;
    let words = run_aarch32_program()?;
    // The first word is the address after the last record. The first word is at the start of a page.
    let (end_address, mut rest) = (words[0], &words[1..]);
    let expected_words = 1 + 2 * (WORDS_PER_DISPATCH + WORDS_PER_CALL) + WORDS_PER_CALL;
    expect_equal("words recorded", (end_address as usize & 0xfff) / 4, expected_words)?;
    for (state, compared_address, pattern) in [
        ("ARM", AARCH32_COMPARED_ADDRESSES[0], AARCH32_PATTERNS[0]),
        ("Thumb", AARCH32_COMPARED_ADDRESSES[1], AARCH32_PATTERNS[1]),
    ] {
        let (dispatch_record, after_record) = rest.split_at(WORDS_PER_DISPATCH);
        let (registers, after_registers) = after_record.split_at(WORDS_PER_CALL);
        rest = after_registers;
        let (siginfo, frame) = dispatch_record.split_at(6);
        // The number of a call is in register 7.
        let number = pattern[7];
        let sigsys = libc::SIGSYS.cast_unsigned();
        let code = SYS_USER_DISPATCH.cast_unsigned();
        let expected = [sigsys, 0, code, compared_address, number, AARCH32_AUDIT_ARCH];
        expect_equal(&format!("siginfo of a call in {state} state"), siginfo, &expected[..])?;
        let what = format!("registers in the frame of a call in {state} state");
        expect_equal(&what, &frame[..pattern.len()], pattern)?;
        // The frame has registers 0 to 15, the last of which is the instruction pointer, and the
        // processor state.
        let next = frame[15];
        expect_equal_hex("next instruction in the frame", next.into(), compared_address.into())?;
        expect_equal("Thumb state in the frame", frame[16] & THUMB != 0, state == "Thumb")?;
        expect_equal(
            &format!("registers after a call in {state} state"),
            registers,
            &frame[..WORDS_PER_CALL],
        )?;
    }
    expect_equal("result of the allowed call", u64::from(rest[0]), RESET_UMASK)?;
    let others = &rest[1..WORDS_PER_CALL];
    expect_equal("other registers after the allowed call", others, &AARCH32_PATTERNS[0][1..])
}
