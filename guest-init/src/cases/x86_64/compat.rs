// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the 32-bit program of `arch::compat` for a case.

use crate::arch;
use crate::arch::compat::{self, Board, Order, Registers, Seen, number};
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, Change};
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

/// The running program.
pub(crate) struct Program {
    pid: i32,
    board: *mut Board,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::Sysenter => "SYSENTER",
            Way::Syscall => "SYSCALL",
            Way::Int80 => "int 0x80",
        })
    }
}

/// Addresses in the program's vDSO.
#[derive(Debug)]
pub(crate) struct Vdso {
    /// `__kernel_vsyscall`
    pub(crate) fast: u32,
    /// `__kernel_sigreturn`
    pub(crate) sigreturn: u32,
    /// `__kernel_rt_sigreturn`
    pub(crate) rt_sigreturn: u32,
    /// The mapping, which may be longer than the segment.
    pub(crate) mapping: Range<u32>,
    /// The entry that the image uses.
    pub(crate) way: Way,
}

/// The system call instruction of `__kernel_vsyscall`, which the kernel selects by the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sysenter,
    Syscall,
    Int80,
}

/// `SA_SIGINFO`, `SA_RESTORER`, `SA_ONSTACK`, `SA_NODEFER` in the 32-bit structure.
pub(crate) const SIGINFO: u32 = 4;
pub(crate) const RESTORER: u32 = 0x0400_0000;
const ONSTACK: u32 = 0x0800_0000;
const NODEFER: u32 = 0x4000_0000;

impl Program {
    /// Starts the program in a child, and waits until it is ready for orders.
    pub(crate) fn start() -> Result<Program, Failure> {
        Program::start_after(|| Ok(()))
    }

    /// Starts the program in a child that calls a function first.
    pub(crate) fn start_after(first: impl FnOnce() -> Check) -> Result<Program, Failure> {
        let image = compat::program();
        let word = |fd: i32| u64::from(fd.cast_unsigned());
        let file = sys::memory_file().map_err(broken("memfd_create"))?;
        let shared = sys::memory_file().map_err(broken("memfd_create"))?;
        let length = compat::BOARD_LENGTH;
        // SAFETY: the image is live.
        unsafe {
            sys::call(libc::SYS_write, &[word(file), image.as_ptr() as u64, image.len() as u64])
                .and_then(|_| sys::call(libc::SYS_ftruncate, &[word(shared), length as u64]))
        }
        .map_err(broken("writing a program"))?;
        let board = sys::map_at(0, length, libc::MAP_SHARED, shared).map_err(broken("mmap"))?;
        let none = [0u64];
        let list = none.as_ptr() as u64;
        let pid = start(|| {
            if first().is_err() {
                return 98;
            }
            // SAFETY: the path and the two lists are empty and terminated.
            let _ = unsafe {
                let empty = u64::from(libc::AT_EMPTY_PATH.cast_unsigned());
                sys::call(libc::SYS_dup2, &[word(shared), compat::BOARD_FILE]).and_then(|_| {
                    sys::call(
                        libc::SYS_execveat,
                        &[word(file), c"".as_ptr() as u64, list, list, empty],
                    )
                })
            };
            97
        })?;
        let _ = sys::close(file).and(sys::close(shared));
        let program = Program { pid, board: board.cast() };
        while program.read(|board| board.head.ready) != 1 {
            let gone = sys::wait(pid, libc::WNOHANG).map_err(broken("wait4"))?;
            if let Some((_, change)) = gone {
                return Err(mismatch("the 32-bit program runs", format!("it {change}")));
            }
            sys::sched_yield();
        }
        Ok(program)
    }

    /// The board.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        fence(Ordering::SeqCst);
        // SAFETY: the board stays mapped, and any bytes are valid for its fields. The program waits or has
        // ended, except during its start, when it sets each word once.
        look(unsafe { &*self.board })
    }

    /// The board, mutable, while the program waits.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Board)) {
        // SAFETY: as in `read`; the program waits in a loop that only reads one word.
        change(unsafe { &mut *self.board });
        fence(Ordering::SeqCst);
    }

    /// Writes data to a slot of the board, and gives its address in the program.
    pub(crate) fn put<T: Copy>(&self, slot: usize, value: T) -> u32 {
        let at = compat::DATA + slot * 64;
        assert!(size_of::<T>() <= 64 && at + 64 <= 0x6000);
        // SAFETY: the slot is on the board, outside `Board`.
        unsafe { self.board.cast::<u8>().add(at).cast::<T>().write_unaligned(value) };
        compat::BOARD + narrow(at)
    }

    /// The content of a slot.
    pub(crate) fn get<T: Copy>(&self, slot: usize) -> T {
        fence(Ordering::SeqCst);
        // SAFETY: as in `put`; cases read structures of integers.
        unsafe {
            self.board.cast::<u8>().add(compat::DATA + slot * 64).cast::<T>().read_unaligned()
        }
    }

    /// Runs these orders and ends the program. Gives the orders with the registers after each.
    pub(crate) fn obey(&self, orders: &[Order]) -> Result<Vec<Order>, Failure> {
        let (change, done) = self.try_to_obey(orders)?;
        let all = i32::try_from(orders.len()).unwrap_or(-1);
        equal("the 32-bit program", change.to_string(), Change::Exited(all).to_string())?;
        Ok(done)
    }

    /// Runs these orders; the program may be killed meanwhile.
    pub(crate) fn try_to_obey(&self, orders: &[Order]) -> Result<(Change, Vec<Order>), Failure> {
        assert!(orders.len() < compat::ORDERS);
        self.write(|board| board.orders[..orders.len()].copy_from_slice(orders));
        self.write(|board| board.head.go = 1);
        let change = end_of(self.pid)?;
        let done = self.read(|board| board.orders[..orders.len()].to_vec());
        Ok((change, done))
    }

    /// The program's process ID.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The number of SIGSYS that the program handled.
    pub(crate) fn signals(&self) -> u32 {
        self.read(|board| board.head.signals)
    }

    /// The records of the handler.
    pub(crate) fn seen(&self, index: usize) -> Result<Seen, Failure> {
        if self.signals() as usize > index && index < compat::SEEN {
            return Ok(self.read(|board| board.head.seen[index]));
        }
        Err(mismatch(format!("SIGSYS {index} handled"), format!("{} handled", self.signals())))
    }

    /// The program's vDSO.
    pub(crate) fn vdso(&self) -> Result<Vdso, Failure> {
        let (base, fast) = self.read(|board| (board.head.vdso, board.head.fast));
        if base == 0 || fast == 0 {
            return Err(Failure::Unmet("the 32-bit vDSO".into()));
        }
        let (image, code) = self.read(|board| (board.vdso, board.fast));
        let symbol = |name| {
            symbol(&image, name)
                .map(|offset| base + offset)
                .ok_or_else(|| Failure::Broken(format!("no {name} in the 32-bit vDSO")))
        };
        let mapping = sys::mapping(self.pid, base.into())
            .and_then(|m| Some(u32::try_from(m.start).ok()?..u32::try_from(m.end).ok()?))
            .ok_or_else(|| Failure::Broken("the 32-bit vDSO is not mapped".into()))?;
        let has = |bytes: [u8; 2]| code.windows(2).position(|pair| pair == bytes);
        let int80 = has([0xcd, 0x80]).unwrap_or(code.len());
        let way = if has([0x0f, 0x34]).is_some_and(|at| at < int80) {
            Way::Sysenter
        } else if has([0x0f, 0x05]).is_some_and(|at| at < int80) {
            Way::Syscall
        } else {
            Way::Int80
        };
        Ok(Vdso {
            fast,
            sigreturn: symbol("__kernel_sigreturn")?,
            rt_sigreturn: symbol("__kernel_rt_sigreturn")?,
            mapping,
            way,
        })
    }
}

impl Vdso {
    /// The address after the `int 0x80` of `__kernel_vsyscall`. The kernel reports it for calls by all
    /// instructions there (`do_fast_syscall_32()`).
    pub(crate) fn landing(&self, program: &Program) -> Result<u32, Failure> {
        let code = program.read(|board| board.fast);
        let at = code.windows(2).position(|pair| pair == [0xcd, 0x80]);
        let at = at.ok_or_else(|| Failure::Broken("no int 0x80 in __kernel_vsyscall".into()))?;
        Ok(self.fast + narrow(at) + 2)
    }
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?))
}

fn half(image: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?))
}

/// The value of a symbol in the first page of a 32-bit vDSO (elf(5)).
fn symbol(image: &[u8], name: &str) -> Option<u32> {
    let word = |at: usize| word(image, at);
    let headers = word(28)? as usize;
    let dynamic = (0..usize::from(half(image, 44)?))
        .map(|i| headers + i * 32)
        .find(|at| word(*at) == Some(2))
        .and_then(|at| word(at + 8))? as usize;
    let entry = |tag: u32| {
        (0..64)
            .map(|i| dynamic + i * 8)
            .take_while(|at| word(*at) != Some(0))
            .find(|at| word(*at) == Some(tag))
            .and_then(|at| word(at + 4))
            .map(|value| value as usize)
    };
    let (strings, symbols) = (entry(5)?, entry(6)?);
    // The symbol table has no length: it ends at the string table, or at an entry that is no symbol.
    (0..64).map(|i| symbols + i * 16).find_map(|at| {
        let start = strings + word(at)? as usize;
        let text = image.get(start..start + name.len() + 1)?;
        (text[..name.len()] == *name.as_bytes() && text[name.len()] == 0)
            .then(|| word(at + 4))
            .flatten()
    })
}

/// An address or offset below 4 GiB as 32 bits.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("below 4 GiB")
}

impl Seen {
    fn field(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.info[at + i]))
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

/// The siginfo of the dispatch of a 32-bit call (`struct compat_siginfo`, include/linux/compat.h), which is
/// zero after `si_arch`.
pub(crate) fn describes(seen: &Seen, after: u32, number: u32) -> Check {
    equal("si_signo", seen.field(0), libc::SIGSYS.cast_unsigned())?;
    equal("si_errno", seen.field(4), 0)?;
    equal("si_code", seen.field(8).cast_signed(), USER_DISPATCH)?;
    equal_hex("si_call_addr", seen.call_address().into(), after.into())?;
    equal("si_syscall", seen.field(16), number)?;
    equal_hex("si_arch", seen.arch().into(), arch::AUDIT_ARCH_COMPAT.into())?;
    equal("bytes behind si_arch", seen.info[24..].iter().all(|byte| *byte == 0), true)
}

/// An order for a call from inside.
pub(crate) fn inside(number: u32, arguments: &[u32]) -> Order {
    Order::new(compat::inside_gate(), ALLOW, Registers::call(number, arguments))
}

/// An order that arms with this range and the board's selector.
pub(crate) fn arm_range(start: u32, length: u32) -> Order {
    inside(number::PRCTL, &[59, 1, start, length, compat::BOARD])
}

/// An order that arms with the program's inside range.
pub(crate) fn arm_inside() -> Order {
    let inside = compat::inside();
    arm_range(inside.start, inside.end - inside.start)
}

/// An order for `rt_sigaction(2)` with the 32-bit structure in a slot.
fn action(program: &Program, slot: usize, signal: i32, handler: u32, flags: u32) -> Order {
    let at = program.put(slot, [handler, flags, compat::restorer(), 0, 0]);
    inside(number::RT_SIGACTION, &[signal.cast_unsigned(), at, 0, 8])
}

/// An order that handles SIGSYS: by `compat::handler` with [`SIGINFO`], else by `compat::plain_handler`.
pub(crate) fn handle_sigsys(program: &Program, flags: u32) -> Order {
    let handler = if flags & SIGINFO != 0 { compat::handler() } else { compat::plain_handler() };
    action(program, 0, libc::SIGSYS, handler, flags)
}

/// Orders that handle faults on a signal stack.
pub(crate) fn handle_faults(program: &Program) -> [Order; 2] {
    let length = 0x2000;
    let stack = compat::BOARD + narrow(compat::STACK_END) - length;
    let at = program.put(1, [stack, 0, length]);
    [
        inside(number::SIGALTSTACK, &[at, 0]),
        action(
            program,
            2,
            libc::SIGSEGV,
            compat::fault_handler(),
            SIGINFO | RESTORER | ONSTACK | NODEFER,
        ),
    ]
}
