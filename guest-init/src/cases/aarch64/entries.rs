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

/// Runs the program, and returns its records.
fn run_aarch32_program() -> Result<Vec<u32>, Failure> {
    let image = aarch32_program();
    let file = sys::memory_file().map_err(broken("memfd_create"))?;
    let notes = sys::memory_file().map_err(broken("memfd_create"))?;
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
            sys::call(libc::SYS_dup3, &[word(notes), 1, 0]).and_then(|_| {
                let path = c"".as_ptr() as u64;
                sys::call(libc::SYS_execveat, &[word(file), path, list, list, empty])
            })
        };
        NOT_EXECUTED
    })?;
    let end = wait_for_change(child)?;
    if end == WaitStatus::Exited(NOT_EXECUTED) {
        return Err(Failure::Unmet("programs of 32 bits".into()));
    }
    expect_success(end)?;
    let mut bytes = [0u8; AARCH32_OUTPUT_LENGTH];
    // SAFETY: writes at most the buffer.
    let read = unsafe {
        let (at, length) = (bytes.as_mut_ptr() as u64, bytes.len() as u64);
        sys::call(libc::SYS_pread64, &[word(notes), at, length, 0])
    };
    expect_equal("bytes noted", read.map_err(broken("pread64"))?, AARCH32_OUTPUT_LENGTH as u64)?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

pub(crate) fn aarch32() -> Check {
    /// The number of words that the handler records, and that are recorded after a call.
    const WORDS_PER_DISPATCH: usize = 6 + 17;
    const WORDS_PER_CALL: usize = 13;
    /// The bit of the processor state for Thumb (`PSR_AA32_T_BIT`).
    const THUMB: u32 = 0x20;
    let all = run_aarch32_program()?;
    let (end, mut rest) = (all[0], &all[1..]);
    let noted = 1 + 2 * (WORDS_PER_DISPATCH + WORDS_PER_CALL) + WORDS_PER_CALL;
    expect_equal("words noted", (end as usize & 0xfff) / 4, noted)?;
    for (state, after, pattern) in [
        ("ARM", AARCH32_COMPARED_ADDRESSES[0], AARCH32_PATTERNS[0]),
        ("Thumb", AARCH32_COMPARED_ADDRESSES[1], AARCH32_PATTERNS[1]),
    ] {
        let (record, more) = rest.split_at(WORDS_PER_DISPATCH);
        let (registers, more) = more.split_at(WORDS_PER_CALL);
        rest = more;
        let number = pattern[7];
        let expected =
            [31, 0, SYS_USER_DISPATCH.cast_unsigned(), after, number, AARCH32_AUDIT_ARCH];
        expect_equal(&format!("siginfo of a call in {state} state"), &record[..6], &expected[..])?;
        let frame = &record[6..];
        let what = format!("registers in the frame of a call in {state} state");
        expect_equal(&what, &frame[..pattern.len()], pattern)?;
        expect_equal_hex("next instruction in the frame", frame[15].into(), after.into())?;
        expect_equal("Thumb state in the frame", frame[16] & THUMB != 0, state == "Thumb")?;
        expect_equal(
            &format!("registers after a call in {state} state"),
            registers,
            &frame[..WORDS_PER_CALL],
        )?;
    }
    expect_equal("result of the allowed call", rest[0], RESET_UMASK)?;
    expect_equal("its other registers", &rest[1..WORDS_PER_CALL], &AARCH32_PATTERNS[0][1..])
}

/// The umask of the program before its calls.
const RESET_UMASK: u32 = 0o022;
