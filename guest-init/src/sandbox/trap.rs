// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Engines by which a task is told of its own call by SIGSYS: both modes of dispatch, and seccomp's
//! `SECCOMP_RET_TRAP`. And how a task is told of its own faults.

use super::call::{self, Fault, Next};
use super::room::Room;
use super::{Problem, arena, task};
use crate::arch::{self, Context, Reg};
use crate::filter::{self, statement};
use crate::sys;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP};
use std::time::Duration;

/// How long a look takes at whether a thread has ended.
const LOOK: Duration = Duration::from_millis(1);

/// Installs a filter that answers so to native calls from the arena, and has the task told of others
/// from there: `int 0x80` can be but a fault. Gives what the kernel answers.
///
/// # Errors
/// As `seccomp(2)`.
pub(super) fn install_filter(answer: u32, flags: u64) -> sys::Result<u64> {
    // One comparison: the arena is all addresses with the same bits above its length.
    const HIGH: u32 = (arena::BASE >> 32) as u32;
    const LOW: u32 = (arena::BASE & 0xffff_ffff) as u32;
    const MASK: u32 = !((arena::LENGTH & 0xffff_ffff) as u32 - 1);
    const _: () =
        assert!(arena::LENGTH.is_power_of_two() && arena::BASE.is_multiple_of(arena::LENGTH));
    // `struct seccomp_data`: `AUDIT_ARCH_*` at offset 4, the instruction pointer, 8 bytes at offset 8.
    const ARCH_AT: u32 = 4;
    const LOW_AT: u32 = if cfg!(target_endian = "little") { 8 } else { 12 };
    const HIGH_AT: u32 = 20 - LOW_AT;
    let load = BPF_LD | BPF_W | BPF_ABS;
    let equal = BPF_JMP | BPF_JEQ | BPF_K;
    let mut program = [
        statement(load, 0, 0, HIGH_AT),
        statement(equal, 0, 7, HIGH),
        statement(load, 0, 0, LOW_AT),
        statement(BPF_ALU | BPF_AND | BPF_K, 0, 0, MASK),
        statement(equal, 0, 4, LOW),
        statement(load, 0, 0, ARCH_AT),
        statement(equal, 0, 1, arch::AUDIT_ARCH),
        statement(BPF_RET | BPF_K, 0, 0, answer),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, flags)
}

/// A call of the program. A SIGSYS that others send is none.
pub(super) extern "C" fn on_call(_: i32, info: *const [u8; 128], frame: *mut Context) {
    let room = Room::current();
    let thread = room.thread_on(arch::current_stack());
    task::as_native(room, thread, || {
        // SAFETY: the kernel hands a handler both, which nobody else uses.
        let (info, registers) = unsafe { (&*info, &mut (*frame).registers) };
        let Some(entered) = call::arch_of(info) else { return room.signal() };
        let next = room.call(thread, registers, entered);
        carry_out(room, next);
    });
}

/// A fault of the program. One of ours is ours.
pub(super) extern "C" fn on_fault(signal: i32, info: *const [u8; 128], frame: *mut Context) {
    let room = Room::current();
    let thread = room.thread_on(arch::current_stack());
    task::as_native(room, thread, || {
        // SAFETY: the kernel hands a handler both.
        let (info, registers) = unsafe { (&*info, &mut (*frame).registers) };
        let Some(fault) = Fault::of(signal, info) else { return room.signal() };
        let place = registers[Reg::NEXT];
        // A jump to nowhere is the program's too.
        if !arena::range().contains(&place) && fault != Fault::Access(place) {
            room.give_up(Problem::Died);
            sys::exit(1);
        }
        let next = room.fault(thread, registers, fault);
        carry_out(room, next);
    });
}

/// Does in the task itself what comes after a call.
fn carry_out(room: &Room, next: Next) {
    match next {
        Next::Go => {}
        // Nothing interrupts it: handlers have all signals blocked.
        Next::Sleep(time) => sys::sleep(time),
        Next::Await(thread) => {
            while room.lives(thread) {
                sys::sleep(LOOK);
            }
        }
        Next::Start(thread) => {
            if let Err(errno) = task::start(room, thread) {
                room.give_up(Problem::System("clone", errno));
                sys::exit(1);
            }
        }
        // SAFETY: ends this thread, of which nobody needs anything any more.
        Next::EndThread(_) => drop(unsafe { sys::call(libc::SYS_exit, &[0]) }),
        Next::End(_) => sys::exit(0),
    }
}
