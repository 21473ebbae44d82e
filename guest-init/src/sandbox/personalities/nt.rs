// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The personality `nt`: the system calls of 64-bit Windows, with the numbers of Windows 10 20H1. The
//! numbers differ between releases, so most Windows programs call ntdll.dll instead. Dispatch was added to
//! Linux for the programs that make system calls themselves.
//!
//! The personality has no ntdll.dll: a thread begins directly at its entry, and each exception ends the
//! program, as an unhandled exception does on Windows.

use crate::arch::{self, Reg, Registers};
use crate::sandbox::bounded_text::Quoted;
use crate::sandbox::image::Image;
use crate::sandbox::personality::{CallContext, Fault, NextAction, Personality};
use crate::sandbox::program_memory::{self, PAGE_SIZE};
use crate::sys;
use std::fmt::{self, Write};
use std::time::Duration;

/// The personality `nt`.
pub struct Nt;

/// NTSTATUS (MS-ERREF 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Status(u32);

impl Status {
    const SUCCESS: Status = Status(0);
    const BREAKPOINT: Status = Status(0x8000_0003);
    const ACCESS_VIOLATION: Status = Status(0xc000_0005);
    const INVALID_HANDLE: Status = Status(0xc000_0008);
    const INVALID_PARAMETER: Status = Status(0xc000_000d);
    const NO_MEMORY: Status = Status(0xc000_0017);
    const INVALID_SYSTEM_SERVICE: Status = Status(0xc000_001c);
    const ILLEGAL_INSTRUCTION: Status = Status(0xc000_001d);
    const INVALID_PAGE_PROTECTION: Status = Status(0xc000_0045);
    const ARITHMETIC: Status = Status(0xc000_0094);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Status::SUCCESS => "STATUS_SUCCESS",
            Status::BREAKPOINT => "STATUS_BREAKPOINT",
            Status::ACCESS_VIOLATION => "STATUS_ACCESS_VIOLATION",
            Status::INVALID_HANDLE => "STATUS_INVALID_HANDLE",
            Status::INVALID_PARAMETER => "STATUS_INVALID_PARAMETER",
            Status::NO_MEMORY => "STATUS_NO_MEMORY",
            Status::INVALID_SYSTEM_SERVICE => "STATUS_INVALID_SYSTEM_SERVICE",
            Status::ILLEGAL_INSTRUCTION => "STATUS_ILLEGAL_INSTRUCTION",
            Status::INVALID_PAGE_PROTECTION => "STATUS_INVALID_PAGE_PROTECTION",
            Status::ARITHMETIC => "STATUS_INTEGER_DIVIDE_BY_ZERO",
            Status(other) => return write!(f, "{other:#x}"),
        };
        f.write_str(name)
    }
}

/// The result of a call: the next action after success, or an error status.
type CallResult = Result<NextAction, Status>;

/// The handles of the current process and thread, of the console, and of thread 0. Each later thread's
/// handle is larger by 4.
const THIS_PROCESS_HANDLE: u64 = u64::MAX;
const THIS_THREAD_HANDLE: u64 = u64::MAX - 1;
const CONSOLE_HANDLE: u64 = 0x50;
const FIRST_THREAD_HANDLE: u64 = 0x100;

const MEM_COMMIT: u64 = 0x1000;
const MEM_RESERVE: u64 = 0x2000;

/// `PAGE_*` and the corresponding `PROT_*`.
const PROTECTIONS: [(u64, i32); 6] = [
    (0x01, libc::PROT_NONE),
    (0x02, libc::PROT_READ),
    (0x04, libc::PROT_READ | libc::PROT_WRITE),
    (0x10, libc::PROT_EXEC),
    (0x20, libc::PROT_READ | libc::PROT_EXEC),
    (0x40, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC),
];

/// The time from 1601 to 1970 in units of 100 ns.
const UNIX_EPOCH_IN_NT_UNITS: u64 = 116_444_736_000_000_000;

/// Offsets in the thread environment block (TEB): the stack, the address of the TEB itself, the IDs of
/// process and thread, the address of the PEB, and the dispatch selector (at the same offset as in
/// Wine).
const TEB_STACK_BASE: u64 = 0x08;
const TEB_STACK_LIMIT: u64 = 0x10;
const TEB_SELF: u64 = 0x30;
const TEB_CLIENT_ID: u64 = 0x40;
const TEB_PEB: u64 = 0x60;
const TEB_SELECTOR: u64 = 0x340;
/// The process environment block (PEB) is in the second page of the first thread's block. It has the
/// addresses of the image and of the process parameters, which contain the handle of the standard
/// output.
const PEB_OFFSET: u64 = PAGE_SIZE;
const PARAMETERS_OFFSET: u64 = PAGE_SIZE + 0x800;
const PEB_IMAGE: u64 = 0x10;
const PEB_PARAMETERS: u64 = 0x20;
const PARAMETERS_OUTPUT: u64 = 0x28;

/// The arguments of a call.
struct Arguments<'a>(&'a Registers);

impl Arguments<'_> {
    /// The argument with this index, from 0. The first arguments are in registers, the others on the stack.
    fn get(&self, call: &CallContext<'_>, index: usize) -> Result<u64, Status> {
        match arch::NT_ARGUMENTS.get(index) {
            Some(reg) => Ok(self.0[*reg]),
            None => {
                let offset =
                    arch::NT_STACK_ARGUMENTS_OFFSET + 8 * (index - arch::NT_ARGUMENTS.len()) as u64;
                load(call, self.0[Reg::Sp].wrapping_add(offset))
            }
        }
    }
}

/// Reads a word of the program's memory.
fn load(call: &CallContext<'_>, address: u64) -> Result<u64, Status> {
    call.memory.word(address).ok_or(Status::ACCESS_VIOLATION)
}

/// Writes a word to the program's memory.
fn store(call: &mut CallContext<'_>, address: u64, value: u64) -> Result<(), Status> {
    let stored = call.memory.write(address, &value.to_ne_bytes());
    stored.then_some(()).ok_or(Status::ACCESS_VIOLATION)
}

/// The `PROT_*` of a `PAGE_*`.
fn linux_protection(nt_protection: u64) -> Result<i32, Status> {
    let row = PROTECTIONS.iter().find(|(nt, _)| *nt == nt_protection);
    row.map(|(_, linux)| *linux).ok_or(Status::INVALID_PAGE_PROTECTION)
}

fn check_this_process(handle: u64) -> Result<(), Status> {
    if handle == THIS_PROCESS_HANDLE { Ok(()) } else { Err(Status::INVALID_HANDLE) }
}

/// Extends a range to whole pages: start and length.
fn whole_pages(start: u64, length: u64) -> Result<(u64, u64), Status> {
    let first = start & !(PAGE_SIZE - 1);
    let end = start.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE));
    end.filter(|end| *end > first).map(|end| (first, end - first)).ok_or(Status::INVALID_PARAMETER)
}

/// `NtWriteFile(FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock, Buffer, Length, ByteOffset,
/// Key)`
fn write_file(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (handle, block) = (arguments.get(call, 0)?, arguments.get(call, 4)?);
    let (buffer, length) = (arguments.get(call, 5)?, arguments.get(call, 6)? & 0xffff_ffff);
    let _ = write!(call.transcript, "({handle:#x}, {buffer:#x}, {length})");
    if handle != CONSOLE_HANDLE {
        return Err(Status::INVALID_HANDLE);
    }
    let bytes = call.memory.bytes(buffer, length).ok_or(Status::ACCESS_VIOLATION)?;
    let _ = write!(call.transcript, " {}", Quoted(bytes));
    call.console.add(bytes);
    store(call, block, 0)?;
    store(call, block.wrapping_add(8), length)?;
    Ok(NextAction::Continue)
}

/// `NtAllocateVirtualMemory(ProcessHandle, *BaseAddress, ZeroBits, *RegionSize, AllocationType,
/// Protect)`
fn allocate(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (base_pointer, size_pointer) = (arguments.get(call, 1)?, arguments.get(call, 3)?);
    let (allocation_type, nt_protection) = (arguments.get(call, 4)?, arguments.get(call, 5)?);
    let (base, size) = (load(call, base_pointer)?, load(call, size_pointer)?);
    let _ =
        write!(call.transcript, "({base:#x}, {size:#x}, {allocation_type:#x}, {nt_protection:#x})");
    check_this_process(arguments.get(call, 0)?)?;
    if allocation_type & MEM_COMMIT == 0 || allocation_type & !(MEM_COMMIT | MEM_RESERVE) != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    let protection = linux_protection(nt_protection)?;
    let (first, length) = whole_pages(base, size)?;
    let start = if base == 0 {
        call.memory.allocate(length, protection)
    } else {
        call.memory.map(first, length, protection).then_some(first)
    };
    let start = start.ok_or(Status::NO_MEMORY)?;
    store(call, base_pointer, start)?;
    store(call, size_pointer, length)?;
    let _ = write!(call.transcript, " {start:#x}, {length:#x}");
    Ok(NextAction::Continue)
}

/// `NtProtectVirtualMemory(ProcessHandle, *BaseAddress, *RegionSize, NewProtect, *OldProtect)`
fn protect(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (base_pointer, size_pointer) = (arguments.get(call, 1)?, arguments.get(call, 2)?);
    let (nt_protection, old_protection_pointer) =
        (arguments.get(call, 3)?, arguments.get(call, 4)?);
    let (base, size) = (load(call, base_pointer)?, load(call, size_pointer)?);
    let _ = write!(call.transcript, "({base:#x}, {size:#x}, {nt_protection:#x})");
    check_this_process(arguments.get(call, 0)?)?;
    let protection = linux_protection(nt_protection)?;
    let (first, length) = whole_pages(base, size)?;
    let previous =
        call.memory.protect(first, length, protection).ok_or(Status::INVALID_PARAMETER)?;
    let row = PROTECTIONS.iter().find(|(_, linux)| *linux == previous);
    let previous = row.map_or(0, |(nt, _)| *nt);
    store(call, base_pointer, first)?;
    store(call, size_pointer, length)?;
    if !call.memory.write(old_protection_pointer, &previous.to_ne_bytes()[..4]) {
        return Err(Status::ACCESS_VIOLATION);
    }
    let _ = write!(call.transcript, " {first:#x}, {length:#x}, {previous:#x}");
    Ok(NextAction::Continue)
}

/// `NtCreateThreadEx(*ThreadHandle, DesiredAccess, ObjectAttributes, ProcessHandle, StartRoutine,
/// Argument, CreateFlags, ...)`
fn create_thread(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (handle_pointer, entry) = (arguments.get(call, 0)?, arguments.get(call, 4)?);
    let (argument, flags) = (arguments.get(call, 5)?, arguments.get(call, 6)?);
    let _ = write!(call.transcript, "({entry:#x}, {argument:#x}, {:#x})", flags & 0xffff_ffff);
    check_this_process(arguments.get(call, 3)?)?;
    if flags & 0xffff_ffff != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    store(call, handle_pointer, 0)?;
    let thread = call.new_thread().ok_or(Status::NO_MEMORY)?;
    set_up_thread(call, thread, entry, argument).ok_or(Status::NO_MEMORY)?;
    let handle = FIRST_THREAD_HANDLE + 4 * thread as u64;
    store(call, handle_pointer, handle)?;
    let _ = write!(call.transcript, " {handle:#x}");
    Ok(NextAction::StartThread(thread))
}

/// `NtQuerySystemTime(*SystemTime)`: the time since 1601 in units of 100 ns. The transcript must be the same in
/// every run, so it does not have the time.
fn query_time(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let now = sys::clock(libc::CLOCK_REALTIME);
    let units = now.as_secs() * 10_000_000 + u64::from(now.subsec_nanos()) / 100;
    let time_pointer = arguments.get(call, 0)?;
    let _ = write!(call.transcript, "({time_pointer:#x})");
    store(call, time_pointer, units + UNIX_EPOCH_IN_NT_UNITS)?;
    let _ = write!(call.transcript, " the time");
    Ok(NextAction::Continue)
}

/// `NtDelayExecution(Alertable, *Interval)`, in units of 100 ns: a negative interval is a duration. A positive
/// interval is a point in time, which is not supported.
fn delay(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let interval = load(call, arguments.get(call, 1)?)?.cast_signed();
    let _ = write!(call.transcript, "({interval})");
    if interval > 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    let units = interval.unsigned_abs();
    let subsecond_units = u32::try_from(units % 10_000_000).unwrap_or(0);
    Ok(NextAction::Sleep(Duration::new(units / 10_000_000, subsecond_units * 100)))
}

/// `NtWaitForSingleObject(Handle, Alertable, *Timeout)`, for thread handles without a timeout.
fn wait_for_thread(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (handle, timeout_pointer) = (arguments.get(call, 0)?, arguments.get(call, 2)?);
    let _ = write!(call.transcript, "({handle:#x})");
    if timeout_pointer != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    let index =
        handle.checked_sub(FIRST_THREAD_HANDLE).filter(|offset| offset % 4 == 0).map(|o| o / 4);
    let thread = index.and_then(|index| call.other_thread(index));
    Ok(NextAction::AwaitEndOf(thread.ok_or(Status::INVALID_HANDLE)?))
}

/// `NtTerminateThread(ThreadHandle, ExitStatus)`, for the calling thread.
fn end_thread(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (handle, status) = (arguments.get(call, 0)?, arguments.get(call, 1)? & 0xffff_ffff);
    let _ = write!(call.transcript, "({status:#x})");
    if handle == THIS_THREAD_HANDLE {
        Ok(NextAction::EndThread(status))
    } else {
        Err(Status::INVALID_HANDLE)
    }
}

/// `NtTerminateProcess(ProcessHandle, ExitStatus)`
fn end_process(call: &mut CallContext<'_>, arguments: &Arguments<'_>) -> CallResult {
    let (handle, status) = (arguments.get(call, 0)?, arguments.get(call, 1)? & 0xffff_ffff);
    let _ = write!(call.transcript, "({status:#x})");
    check_this_process(handle)?;
    Ok(NextAction::EndProgram(status))
}

/// The function that emulates a call.
type Service = fn(&mut CallContext<'_>, &Arguments<'_>) -> CallResult;

/// The emulated calls: number, name, function.
const SERVICES: [(u32, &str, Service); 9] = [
    (0x04, "NtWaitForSingleObject", wait_for_thread),
    (0x08, "NtWriteFile", write_file),
    (0x18, "NtAllocateVirtualMemory", allocate),
    (0x2c, "NtTerminateProcess", end_process),
    (0x34, "NtDelayExecution", delay),
    (0x50, "NtProtectVirtualMemory", protect),
    (0x53, "NtTerminateThread", end_thread),
    (0x5a, "NtQuerySystemTime", query_time),
    (0xc1, "NtCreateThreadEx", create_thread),
];

/// Sets up the TEB and the first registers of a thread.
fn set_up_thread(
    call: &mut CallContext<'_>,
    thread: usize,
    entry: u64,
    argument: u64,
) -> Option<()> {
    let (stack, block) = (program_memory::stack(thread), program_memory::block(thread).start);
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    call.memory.map(block, program_memory::BLOCK_LENGTH, read_write).then_some(())?;
    let peb = program_memory::block(0).start + PEB_OFFSET;
    for (offset, value) in [
        (TEB_STACK_BASE, stack.end),
        (TEB_STACK_LIMIT, stack.start),
        (TEB_SELF, block),
        (TEB_CLIENT_ID, 4),
        (TEB_CLIENT_ID + 8, 8 + 4 * thread as u64),
        (TEB_PEB, peb),
    ] {
        store(call, block + offset, value).ok()?;
    }
    let mut registers = Registers::at_start(entry, stack.end - arch::NT_RESERVED_ABOVE_STACK);
    registers[arch::NT_FIRST_ARGUMENT] = argument;
    if let Some(reg) = arch::NT_TEB {
        registers[reg] = block;
    }
    call.set_first_registers(thread, registers, block, block + TEB_SELECTOR);
    Some(())
}

impl Personality for Nt {
    fn name(&self) -> &'static str {
        "nt"
    }

    fn notification_limit(&self) -> Option<&'static str> {
        arch::NT_NOTIFICATION_LIMIT
    }

    fn prepare_first_thread(&self, call: &mut CallContext<'_>, image: &Image) -> Option<()> {
        call.map_stack(0)?;
        let block = program_memory::block(0).start;
        // As on Windows, the first argument of the first thread is the address of the PEB.
        set_up_thread(call, 0, image.entry, block + PEB_OFFSET)?;
        for (offset, value) in [
            (PEB_OFFSET + PEB_IMAGE, program_memory::BASE),
            (PEB_OFFSET + PEB_PARAMETERS, block + PARAMETERS_OFFSET),
            (PARAMETERS_OFFSET + PARAMETERS_OUTPUT, CONSOLE_HANDLE),
        ] {
            store(call, block + offset, value).ok()?;
        }
        Some(())
    }

    fn call(&self, call: &mut CallContext<'_>, registers: &mut Registers) -> NextAction {
        let call_address = registers[Reg::INSTRUCTION_POINTER].wrapping_sub(arch::CALL_LENGTH);
        let instruction = call.memory.bytes(call_address, arch::CALL_LENGTH).unwrap_or_default();
        let number = arch::nt_number(registers, instruction);
        let service = SERVICES.iter().find(|(known, ..)| *known == number);
        let result = if let Some((_, name, service)) = service {
            let _ = call.transcript.write_str(name);
            service(call, &Arguments(registers))
        } else {
            let _ = write!(call.transcript, "{number:#x}");
            Err(Status::INVALID_SYSTEM_SERVICE)
        };
        let (next, status) = match result {
            Ok(next) => (next, Status::SUCCESS),
            Err(status) => (NextAction::Continue, status),
        };
        if !matches!(next, NextAction::EndProgram(_) | NextAction::EndThread(_)) {
            let _ = write!(call.transcript, " = {status}");
        }
        registers[Reg::RESULT] = status.0.into();
        next
    }

    fn fault(
        &self,
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction {
        let status = match fault {
            Fault::Access(_) => Status::ACCESS_VIOLATION,
            Fault::IllegalInstruction => Status::ILLEGAL_INSTRUCTION,
            Fault::Arithmetic => Status::ARITHMETIC,
            Fault::Breakpoint => Status::BREAKPOINT,
        };
        let fault_pc = registers[Reg::INSTRUCTION_POINTER];
        let _ = write!(call.transcript, "exception {status} at {fault_pc:#x}: {fault}");
        NextAction::EndProgram(status.0.into())
    }
}
