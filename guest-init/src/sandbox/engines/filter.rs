// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engine that uses a seccomp filter with `SECCOMP_RET_TRAP`: as with dispatch, the kernel sends
//! SIGSYS to a task for each call of the program, and the handler emulates the call.

use crate::arch;
use crate::filter::{self, statement};
use crate::sandbox::program_memory;
use crate::sandbox::state::EngineOperations;
use crate::sandbox::task::{self, ENTER_SIGNAL};
use crate::sys;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP};

pub(super) const METHODS: EngineOperations = EngineOperations {
    is_supervised: false,
    enter_signal: ENTER_SIGNAL,
    // Later threads inherit the filter of the first thread.
    intercept: |_, thread, _| match thread {
        0 => install(SECCOMP_RET_TRAP, 0).map(drop),
        _ => Ok(()),
    },
    supervise: task::wait_for_end,
};

/// Installs a seccomp filter. For calls from the program's memory, the filter returns `native_action` if they
/// come through the native entry, and `SECCOMP_RET_TRAP` if they come through another entry, such as
/// `int 0x80`. The filter allows all other calls. Returns the result of `seccomp(2)`.
///
/// # Errors
/// As `seccomp(2)`.
pub(super) fn install(native_action: u32, flags: u64) -> sys::Result<u64> {
    // One masked comparison suffices, since all addresses of the program's memory have the same high bits.
    const BASE_HIGH: u32 = (program_memory::BASE >> 32) as u32;
    const BASE_LOW: u32 = (program_memory::BASE & 0xffff_ffff) as u32;
    const LOW_MASK: u32 = !((program_memory::LENGTH & 0xffff_ffff) as u32 - 1);
    const _: () = assert!(
        program_memory::LENGTH.is_power_of_two()
            && program_memory::BASE.is_multiple_of(program_memory::LENGTH)
    );
    // Offsets in `struct seccomp_data`: `arch` (`AUDIT_ARCH_*`), and the halves of the 64-bit
    // `instruction_pointer` at offset 8.
    const ARCH_OFFSET: u32 = 4;
    const LOW_OFFSET: u32 = if cfg!(target_endian = "little") { 8 } else { 12 };
    const HIGH_OFFSET: u32 = 20 - LOW_OFFSET;
    let load_word = BPF_LD | BPF_W | BPF_ABS;
    let jump_if_equal = BPF_JMP | BPF_JEQ | BPF_K;
    let mut program = [
        statement(load_word, 0, 0, HIGH_OFFSET),
        statement(jump_if_equal, 0, 7, BASE_HIGH),
        statement(load_word, 0, 0, LOW_OFFSET),
        statement(BPF_ALU | BPF_AND | BPF_K, 0, 0, LOW_MASK),
        statement(jump_if_equal, 0, 4, BASE_LOW),
        statement(load_word, 0, 0, ARCH_OFFSET),
        statement(jump_if_equal, 0, 1, arch::AUDIT_ARCH),
        statement(BPF_RET | BPF_K, 0, 0, native_action),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, flags)
}
