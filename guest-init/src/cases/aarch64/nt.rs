// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The transcripts of the Windows program for ARM64.

use crate::arch;
use crate::case::Failure;
use crate::sandbox::{Image, Segment, program_memory};

/// The transcript of the program from its usual entry.
pub(crate) const TRANSCRIPT: &str = r#"thread 0
  NtWriteFile(0x50, 0x140000f00, 20) "hello from Windows\r\n" = STATUS_SUCCESS
  0x1fff = STATUS_INVALID_SYSTEM_SERVICE
  0x5d = STATUS_INVALID_SYSTEM_SERVICE
  0x5e = STATUS_INVALID_SYSTEM_SERVICE
  NtAllocateVirtualMemory(0x0, 0x2345, 0x3000, 0x4) 0x140400000, 0x3000 = STATUS_SUCCESS
  NtProtectVirtualMemory(0x140400000, 0x3000, 0x2) 0x140400000, 0x3000, 0x4 = STATUS_SUCCESS
  NtQuerySystemTime(0x14080fff0) the time = STATUS_SUCCESS
  NtDelayExecution(-20000) = STATUS_SUCCESS
  NtQuerySystemTime(0x14080fff0) the time = STATUS_SUCCESS
  NtWriteFile(0x50, 0x10, 1) = STATUS_ACCESS_VIOLATION
  NtWriteFile(0x4711, 0x10, 1) = STATUS_INVALID_HANDLE
  NtCreateThreadEx(0x140000800, 0x1234, 0x0) 0x104 = STATUS_SUCCESS
  NtWaitForSingleObject(0x104) = STATUS_SUCCESS
  NtTerminateProcess(0x0)
thread 1
  NtWriteFile(0x50, 0x140000f40, 14) "and a thread\r\n" = STATUS_SUCCESS
  NtTerminateThread(0x3)
console
  hello from Windows
  and a thread
end 0x0
"#;

/// The transcript of the program from [`FAULTY_ENTRY`].
pub(crate) const FAULTY: &str = "thread 0
  exception STATUS_ACCESS_VIOLATION at 0x140000c04: access to 0x1230
end 0xc0000005
";

/// The address of the entry whose code makes a fault.
pub(crate) const FAULTY_ENTRY: u64 = program_memory::BASE + arch::WINDOWS_FAULTING_ENTRY;

pub(crate) fn image() -> Result<Image, Failure> {
    let mut image = Image::of_code(arch::windows_program());
    image.segments.push(Segment {
        address: program_memory::BASE + program_memory::PAGE_SIZE,
        bytes: Vec::new(),
        length: program_memory::PAGE_SIZE,
        protection: libc::PROT_READ | libc::PROT_WRITE,
    });
    Ok(image)
}
