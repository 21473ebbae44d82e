// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the 32-bit program of `arch::compat` for a case.

use crate::arch;
use crate::arch::compat::{self, Registers, Request, SharedMemory, SigsysRecord, number};
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

/// The machine code of `int 0x80`.
pub(crate) const INT80: [u8; 2] = [0xcd, 0x80];
/// The machine code of SYSCALL.
pub(crate) const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// The machine code of SYSENTER.
pub(crate) const SYSENTER: [u8; 2] = [0x0f, 0x34];

/// The length of a slot of the shared memory in bytes.
const SLOT_LENGTH: usize = 64;
/// The offset in the shared memory of the end of the last slot. After the slots is the signal stack.
const SLOTS_END: usize = 0x6000;

/// The running program.
pub(crate) struct Program {
    pid: i32,
    shared: *mut SharedMemory,
}

impl std::fmt::Display for EntryInstruction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EntryInstruction::Sysenter => "SYSENTER",
            EntryInstruction::Syscall => "SYSCALL",
            EntryInstruction::Int80 => "int 0x80",
        })
    }
}

/// Addresses in the program's vDSO.
#[derive(Debug)]
pub(crate) struct Vdso {
    /// `__kernel_vsyscall`
    pub(crate) kernel_vsyscall: u32,
    /// `__kernel_sigreturn`
    pub(crate) sigreturn: u32,
    /// `__kernel_rt_sigreturn`
    pub(crate) rt_sigreturn: u32,
    /// The addresses of the vDSO's mapping, which may be longer than its ELF segment.
    pub(crate) mapping: Range<u32>,
    /// The instruction by which `__kernel_vsyscall` enters the kernel.
    pub(crate) instruction: EntryInstruction,
}

/// The system call instruction of `__kernel_vsyscall`, which the kernel selects by the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryInstruction {
    Sysenter,
    Syscall,
    Int80,
}

// SA_SIGINFO, SA_RESTORER, SA_ONSTACK and SA_NODEFER in the 32-bit `struct sigaction`.
pub(crate) const SIGINFO: u32 = 4;
pub(crate) const RESTORER: u32 = 0x0400_0000;
pub(crate) const ONSTACK: u32 = 0x0800_0000;
const NODEFER: u32 = 0x4000_0000;

impl Program {
    /// Starts the program in a child, and waits until it is ready for requests.
    pub(crate) fn start() -> Result<Program, Failure> {
        Program::start_in_child_after(|| Ok(()))
    }

    /// Starts the program in a child that calls `prepare` before it executes the program.
    pub(crate) fn start_in_child_after(
        prepare: impl FnOnce() -> Check,
    ) -> Result<Program, Failure> {
        let image = compat::program_image();
        let argument = |fd: i32| u64::from(fd.cast_unsigned());
        let file = sys::memory_file().map_err(broken("memfd_create"))?;
        let shared_file = sys::memory_file().map_err(broken("memfd_create"))?;
        let length = compat::SHARED_LENGTH;
        // SAFETY: the image is live.
        unsafe {
            sys::call(libc::SYS_write, &[argument(file), image.as_ptr() as u64, image.len() as u64])
                .and_then(|_| {
                    sys::call(libc::SYS_ftruncate, &[argument(shared_file), length as u64])
                })
        }
        .map_err(broken("writing a program"))?;
        let shared =
            sys::map_at(0, length, libc::MAP_SHARED, shared_file).map_err(broken("mmap"))?;
        let empty_list = [0u64];
        let list = empty_list.as_ptr() as u64;
        let pid = spawn_child(|| {
            if prepare().is_err() {
                return SETUP_FAILED;
            }
            // SAFETY: the path and the two lists are empty and terminated.
            let _ = unsafe {
                let flags = u64::from(libc::AT_EMPTY_PATH.cast_unsigned());
                sys::call(libc::SYS_dup2, &[argument(shared_file), compat::SHARED_FILE_DESCRIPTOR])
                    .and_then(|_| {
                        sys::call(
                            libc::SYS_execveat,
                            &[argument(file), c"".as_ptr() as u64, list, list, flags],
                        )
                    })
            };
            SETUP_FAILED
        })?;
        let _ = sys::close(file).and(sys::close(shared_file));
        let program = Program { pid, shared: shared.cast() };
        while program.read(|shared| shared.state.is_ready) != 1 {
            let waited = sys::wait(pid, libc::WNOHANG).map_err(broken("wait4"))?;
            if let Some((_, status)) = waited {
                return Err(mismatch("the 32-bit program runs", format!("it {status}")));
            }
            sys::sched_yield();
        }
        Ok(program)
    }

    /// Reads the shared memory.
    pub(crate) fn read<T>(&self, inspect: impl FnOnce(&SharedMemory) -> T) -> T {
        fence(Ordering::SeqCst);
        // SAFETY: the memory stays mapped, and any bytes are valid for its fields. The program
        // waits or has ended, except during its start, when it sets each word once.
        inspect(unsafe { &*self.shared })
    }

    /// Changes the shared memory. The program must be waiting.
    pub(crate) fn write(&self, change: impl FnOnce(&mut SharedMemory)) {
        // SAFETY: the memory stays mapped; the program waits in a loop that only reads one word.
        change(unsafe { &mut *self.shared });
        fence(Ordering::SeqCst);
    }

    /// Writes a value to a slot of the shared memory. Returns the address of the slot in the program's
    /// address space.
    pub(crate) fn write_slot<T: Copy>(&self, slot: usize, value: T) -> u32 {
        let offset = compat::DATA_OFFSET + slot * SLOT_LENGTH;
        assert!(size_of::<T>() <= SLOT_LENGTH && offset + SLOT_LENGTH <= SLOTS_END);
        // SAFETY: the slot is in the shared memory, after `SharedMemory`.
        unsafe { self.shared.cast::<u8>().add(offset).cast::<T>().write_unaligned(value) };
        compat::SHARED_ADDRESS + to_u32(offset)
    }

    /// The content of a slot.
    pub(crate) fn read_slot<T: Copy>(&self, slot: usize) -> T {
        fence(Ordering::SeqCst);
        // SAFETY: the slot is in the shared memory; cases read structures of integers, for which any bytes
        // are valid.
        unsafe {
            self.shared
                .cast::<u8>()
                .add(compat::DATA_OFFSET + slot * SLOT_LENGTH)
                .cast::<T>()
                .read_unaligned()
        }
    }

    /// Fills a part of the shared memory after the slots with bytes of this value.
    pub(crate) fn fill(&self, offset: usize, length: usize, value: u8) {
        assert!(offset >= SLOTS_END && offset + length <= compat::SHARED_LENGTH);
        // SAFETY: the part is in the shared memory, and the program does not use it while it waits.
        unsafe { self.shared.cast::<u8>().add(offset).write_bytes(value, length) };
        fence(Ordering::SeqCst);
    }

    /// The bytes of a part of the shared memory.
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= compat::SHARED_LENGTH);
        fence(Ordering::SeqCst);
        // SAFETY: the part is in the shared memory; the program has ended or waits.
        unsafe { std::slice::from_raw_parts(self.shared.cast::<u8>().add(offset), length) }.to_vec()
    }

    /// Runs these requests, after which the program exits. Returns the requests with the registers
    /// after each of them.
    pub(crate) fn run(&self, requests: &[Request]) -> Result<Vec<Request>, Failure> {
        self.start_requests(requests);
        self.await_exit(requests)
    }

    /// Waits until the program has carried out these requests, which it has been told to start, and has exited.
    /// Returns the requests with the registers after each of them.
    pub(crate) fn await_exit(&self, requests: &[Request]) -> Result<Vec<Request>, Failure> {
        let (status, completed) = self.await_end(requests)?;
        // The exit code of the program is the number of requests that it carried out.
        let count = i32::try_from(requests.len()).unwrap_or(-1);
        expect_equal(
            "the 32-bit program",
            status.to_string(),
            WaitStatus::Exited(count).to_string(),
        )?;
        Ok(completed)
    }

    /// Runs these requests. Returns how the program ended, which may be before the last request, and the
    /// requests with the registers after each of them.
    pub(crate) fn run_until_end(
        &self,
        requests: &[Request],
    ) -> Result<(WaitStatus, Vec<Request>), Failure> {
        self.start_requests(requests);
        self.await_end(requests)
    }

    /// Lets the program start with these requests.
    pub(crate) fn start_requests(&self, requests: &[Request]) {
        assert!(requests.len() < compat::MAX_REQUESTS);
        self.write(|shared| shared.requests[..requests.len()].copy_from_slice(requests));
        self.write(|shared| shared.state.has_requests = 1);
    }

    /// Waits until the program has ended. Returns how it ended, and the requests with the registers after each.
    fn await_end(&self, requests: &[Request]) -> Result<(WaitStatus, Vec<Request>), Failure> {
        let status = wait_for_change(self.pid)?;
        let completed = self.read(|shared| shared.requests[..requests.len()].to_vec());
        Ok((status, completed))
    }

    /// The program's process ID.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The number of SIGSYS that the program handled.
    pub(crate) fn sigsys_count(&self) -> u32 {
        self.read(|shared| shared.state.sigsys_count)
    }

    /// The record that the handler made of the dispatch with this index.
    pub(crate) fn sigsys_record(&self, index: usize) -> Result<SigsysRecord, Failure> {
        if self.sigsys_count() as usize > index && index < compat::MAX_RECORDED {
            return Ok(self.read(|shared| shared.state.sigsys_records[index]));
        }
        Err(mismatch(format!("SIGSYS {index} handled"), format!("{} handled", self.sigsys_count())))
    }

    /// The addresses in the program's vDSO.
    pub(crate) fn vdso(&self) -> Result<Vdso, Failure> {
        let (base, kernel_vsyscall) =
            self.read(|shared| (shared.state.vdso, shared.state.kernel_vsyscall));
        if base == 0 || kernel_vsyscall == 0 {
            return Err(Failure::Unmet("the 32-bit vDSO".into()));
        }
        let (image, code) = self.read(|shared| (shared.vdso, shared.kernel_vsyscall));
        let symbol = |name| {
            symbol(&image, name)
                .map(|offset| base + offset)
                .ok_or_else(|| Failure::Broken(format!("no {name} in the 32-bit vDSO")))
        };
        let mapping = sys::mapping(self.pid, base.into())
            .and_then(|m| Some(u32::try_from(m.start).ok()?..u32::try_from(m.end).ok()?))
            .ok_or_else(|| Failure::Broken("the 32-bit vDSO is not mapped".into()))?;
        let offset_of = |bytes: [u8; 2]| code.windows(2).position(|pair| pair == bytes);
        let int80 = offset_of(INT80).unwrap_or(code.len());
        let instruction = if offset_of(SYSENTER).is_some_and(|offset| offset < int80) {
            EntryInstruction::Sysenter
        } else if offset_of(SYSCALL).is_some_and(|offset| offset < int80) {
            EntryInstruction::Syscall
        } else {
            EntryInstruction::Int80
        };
        Ok(Vdso {
            kernel_vsyscall,
            sigreturn: symbol("__kernel_sigreturn")?,
            rt_sigreturn: symbol("__kernel_rt_sigreturn")?,
            mapping,
            instruction,
        })
    }
}

impl Vdso {
    /// The address after the `int 0x80` of `__kernel_vsyscall`. The kernel uses this address for
    /// the calls of all system call instructions in `__kernel_vsyscall` (`do_fast_syscall_32()`).
    pub(crate) fn int80_compared_address(&self, program: &Program) -> Result<u32, Failure> {
        let code = program.read(|shared| shared.kernel_vsyscall);
        let offset = code.windows(2).position(|pair| pair == INT80);
        let offset =
            offset.ok_or_else(|| Failure::Broken("no int 0x80 in __kernel_vsyscall".into()))?;
        Ok(self.kernel_vsyscall + to_u32(offset + INT80.len()))
    }
}

/// The 32-bit value at an offset of an ELF image.
fn word(image: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(image.get(offset..offset + 4)?.try_into().ok()?))
}

/// The 16-bit value at an offset of an ELF image.
fn half_word(image: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(image.get(offset..offset + 2)?.try_into().ok()?))
}

/// The value of a symbol in the first page of a 32-bit vDSO. The structures are those of elf(5):
/// `Elf32_Ehdr`, `Elf32_Phdr` (32 bytes), `Elf32_Dyn` (8 bytes) and `Elf32_Sym` (16 bytes).
fn symbol(image: &[u8], name: &str) -> Option<u32> {
    const E_PHOFF: usize = 28;
    const E_PHNUM: usize = 44;
    const P_VADDR: usize = 8;
    const PT_DYNAMIC: u32 = 2;
    const DT_NULL: u32 = 0;
    const DT_STRTAB: u32 = 5;
    const DT_SYMTAB: u32 = 6;
    const MAX_ENTRIES: usize = 64;
    let word = |offset: usize| word(image, offset);
    let headers = word(E_PHOFF)? as usize;
    let dynamic = (0..usize::from(half_word(image, E_PHNUM)?))
        .map(|i| headers + i * 32)
        .find(|header| word(*header) == Some(PT_DYNAMIC))
        .and_then(|header| word(header + P_VADDR))? as usize;
    let dynamic_value = |tag: u32| {
        (0..MAX_ENTRIES)
            .map(|i| dynamic + i * 8)
            .take_while(|entry| word(*entry) != Some(DT_NULL))
            .find(|entry| word(*entry) == Some(tag))
            .and_then(|entry| word(entry + 4))
            .map(|value| value as usize)
    };
    let (strings, symbols) = (dynamic_value(DT_STRTAB)?, dynamic_value(DT_SYMTAB)?);
    // The number of symbols is not in the dynamic section. Entries after the last symbol are read too, but
    // have another name.
    (0..MAX_ENTRIES).map(|i| symbols + i * 16).find_map(|entry| {
        let start = strings + word(entry)? as usize;
        let text = image.get(start..start + name.len() + 1)?;
        (text[..name.len()] == *name.as_bytes() && text[name.len()] == 0)
            .then(|| word(entry + 4))
            .flatten()
    })
}

/// An address or offset below 4 GiB as 32 bits.
fn to_u32(value: usize) -> u32 {
    u32::try_from(value).expect("below 4 GiB")
}

impl SigsysRecord {
    /// The 32-bit field at this byte offset of the siginfo.
    fn field(&self, offset: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.info[offset + i]))
    }

    /// `si_call_addr`
    pub(crate) fn call_address(&self) -> u32 {
        self.field(12)
    }

    /// `si_arch`
    pub(crate) fn arch(&self) -> u32 {
        self.field(20)
    }
}

/// Checks the siginfo of the dispatch of a 32-bit call (`struct compat_siginfo`,
/// include/linux/compat.h). The bytes after `si_arch` must be zero.
pub(crate) fn expect_siginfo(record: &SigsysRecord, compared_address: u32, number: u32) -> Check {
    expect_equal("si_signo", record.field(0), libc::SIGSYS.cast_unsigned())?;
    expect_equal("si_errno", record.field(4), 0)?;
    expect_equal("si_code", record.field(8).cast_signed(), SYS_USER_DISPATCH)?;
    expect_equal_hex("si_call_addr", record.call_address().into(), compared_address.into())?;
    expect_equal("si_syscall", record.field(16), number)?;
    expect_equal_hex("si_arch", record.arch().into(), arch::AUDIT_ARCH_COMPAT.into())?;
    expect_equal("bytes after si_arch", record.info[24..].iter().all(|byte| *byte == 0), true)
}

/// A request for a call inside the allowed range.
pub(crate) fn inside_request(number: u32, arguments: &[u32]) -> Request {
    Request::new(compat::inside_gate(), ALLOW, Registers::for_call(number, arguments))
}

/// A request that sets the dispatch configuration by prctl(2).
pub(crate) fn set_dispatch_request(mode: u64, start: u32, length: u32, selector: u32) -> Request {
    let option = sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned();
    let mode = u32::try_from(mode).unwrap_or(u32::MAX);
    inside_request(number::PRCTL, &[option, mode, start, length, selector])
}

/// A request that arms with this range and the selector at the start of the shared memory.
pub(crate) fn arm_range_request(start: u32, length: u32) -> Request {
    set_dispatch_request(MODE_EXCLUSIVE, start, length, compat::SHARED_ADDRESS)
}

/// A request that arms with the program's inside range.
pub(crate) fn arm_inside_request() -> Request {
    let inside = compat::inside();
    arm_range_request(inside.start, inside.end - inside.start)
}

/// A request for `rt_sigaction(2)` with the 32-bit structure in a slot.
pub(crate) fn sigaction_request(
    program: &Program,
    slot: usize,
    signal: i32,
    handler: u32,
    flags: u32,
) -> Request {
    sigaction_with_restorer_request(program, slot, signal, handler, flags, compat::restorer())
}

/// As [`sigaction_request`], with this restorer.
pub(crate) fn sigaction_with_restorer_request(
    program: &Program,
    slot: usize,
    signal: i32,
    handler: u32,
    flags: u32,
    restorer: u32,
) -> Request {
    let action = program.write_slot(slot, [handler, flags, restorer, 0, 0]);
    inside_request(number::RT_SIGACTION, &[signal.cast_unsigned(), action, 0, 8])
}

/// A request that installs the handler of SIGSYS: with [`SIGINFO`] `compat::sigsys_handler`, else
/// `compat::plain_sigsys_handler`.
pub(crate) fn sigsys_handler_request(program: &Program, flags: u32) -> Request {
    let handler = if flags & SIGINFO != 0 {
        compat::sigsys_handler()
    } else {
        compat::plain_sigsys_handler()
    };
    sigaction_request(program, 0, libc::SIGSYS, handler, flags)
}

/// Requests that set an alternate stack, and install the handler of SIGSEGV that runs on it.
pub(crate) fn fault_handler_requests(program: &Program) -> [Request; 2] {
    let length = 0x2000;
    let stack = compat::SHARED_ADDRESS + to_u32(compat::SIGNAL_STACK_END) - length;
    let stack_descriptor = program.write_slot(1, [stack, 0, length]);
    [
        inside_request(number::SIGALTSTACK, &[stack_descriptor, 0]),
        sigaction_request(
            program,
            2,
            libc::SIGSEGV,
            compat::fault_handler(),
            SIGINFO | RESTORER | ONSTACK | NODEFER,
        ),
    ]
}
