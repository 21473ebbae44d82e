// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The transcripts of the Windows program for x86-64.

use crate::arch;
use crate::case::{Check, Failure};
use crate::cases::foreign::{expect_transcript, set_umask};
use crate::sandbox::{Engine, Image, Nt, pe, program_memory};
use crate::support::*;

/// The transcript of the program.
pub(crate) const TRANSCRIPT: &str = r#"thread 0
  NtWriteFile(0x50, 0x140002100, 20) "hello from Windows\r\n" = STATUS_SUCCESS
  0x1fff = STATUS_INVALID_SYSTEM_SERVICE
  0x39 = STATUS_INVALID_SYSTEM_SERVICE
  0xe7 = STATUS_INVALID_SYSTEM_SERVICE
  NtAllocateVirtualMemory(0x0, 0x2345, 0x3000, 0x4) 0x140400000, 0x3000 = STATUS_SUCCESS
  NtProtectVirtualMemory(0x140400000, 0x3000, 0x2) 0x140400000, 0x3000, 0x4 = STATUS_SUCCESS
  NtQuerySystemTime(0x14080ffc0) the time = STATUS_SUCCESS
  NtDelayExecution(-20000) = STATUS_SUCCESS
  NtQuerySystemTime(0x14080ffc0) the time = STATUS_SUCCESS
  NtWriteFile(0x50, 0x10, 1) = STATUS_ACCESS_VIOLATION
  NtWriteFile(0x4711, 0x10, 1) = STATUS_INVALID_HANDLE
  NtCreateThreadEx(0x140001800, 0x1234, 0x0) 0x104 = STATUS_SUCCESS
  NtWaitForSingleObject(0x104) = STATUS_SUCCESS
  0x1fff = STATUS_INVALID_SYSTEM_SERVICE
  NtTerminateProcess(0x0)
thread 1
  NtWriteFile(0x50, 0x140002140, 14) "and a thread\r\n" = STATUS_SUCCESS
  NtTerminateThread(0x3)
console
  hello from Windows
  and a thread
end 0x0
"#;

/// The transcript of the second entry point.
pub(crate) const FAULTY: &str = "thread 0
  exception STATUS_ACCESS_VIOLATION at 0x140001c15: access to 0x1230
end 0xc0000005
";

/// The address of the second entry.
pub(crate) const FAULTY_ENTRY: u64 = program_memory::BASE + arch::WINDOWS_FAULTING_ENTRY;

pub(crate) fn image() -> Result<Image, Failure> {
    pe::read(arch::windows_program()).map_err(broken("reading the program"))
}

/// The transcript of the entry that issues `int 0x80`: the same whether or not Linux has 32-bit calls.
const INT80: &str = "thread 0
  exception STATUS_ACCESS_VIOLATION at 0x140001d0a: access to 0xffffffffffffffff
end 0xc0000005
";

pub(crate) fn int80() -> Check {
    const INITIAL_UMASK: u64 = 0o22;
    let image = Image { entry: program_memory::BASE + arch::WINDOWS_INT80_ENTRY, ..image()? };
    set_umask(INITIAL_UMASK).map_err(broken("umask"))?;
    for engine in Engine::ALL {
        if engine.check_available().is_ok() {
            expect_transcript(&image, &Nt, &[engine], INT80)?;
        }
    }
    // The tasks share the umask with this process.
    expect_equal("umask after the program", set_umask(INITIAL_UMASK), Ok(INITIAL_UMASK))
}
