// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engine that answers from outside by seccomp's user notification.
//!
//! A notification has a number of 32 bits, six arguments, the next instruction, and takes one result.
//! The stack pointer is in `/proc/PID/syscall`.

use super::call::Next;
use super::room::{Room, THREADS};
use super::supervisor::{self, Then, Waiting};
use super::{Problem, trap};
use crate::arch::{AUDIT_ARCH, Reg, Registers};
use crate::sys::{self, Errno};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a task takes from its call to its sleep there, more or less.
const SOON: Duration = Duration::from_micros(100);

/// How often deaths are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// In a task: has its calls from the arena told to the supervisor, who shares its descriptors. Gives
/// the descriptor. Once a call is taken note of, no signal but one that kills interrupts it
/// (`WAIT_KILLABLE_RECV`, 5.19 on), so that none is made twice.
pub(super) fn listen() -> sys::Result<i32> {
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = trap::install_filter(libc::SECCOMP_RET_USER_NOTIF, flags)?;
    Ok(i32::try_from(listener).unwrap_or(-1))
}

/// A call that is not answered yet.
#[derive(Clone, Copy, Default)]
struct Open {
    id: u64,
    result: u64,
}

/// Answers until the program has ended.
pub(super) fn supervise(room: &Room) -> Result<(), Problem> {
    let mut waiting = Waiting::default();
    let mut open = [Open::default(); THREADS];
    let served = serve(room, &mut waiting, &mut open);
    supervisor::end_all(room);
    for task in &room.tasks {
        let listener = task.listener.swap(0, Ordering::SeqCst);
        if listener > 0 {
            let _ = sys::close(listener - 1);
        }
    }
    served
}

fn serve(room: &Room, waiting: &mut Waiting, open: &mut [Open; THREADS]) -> Result<(), Problem> {
    while !room.over() {
        while let Some(thread) = waiting.ready(room) {
            answer(room, thread, open[thread])?;
        }
        let Some(thread) = wait(room, waiting.time().unwrap_or(LOOK).min(LOOK))? else {
            if supervisor::died(room) {
                return Ok(());
            }
            continue;
        };
        let Some((registers, mut call)) = receive(room, thread)? else { continue };
        let mut registers = registers;
        // The filter has others told to the task.
        let next = room.call(thread, &mut registers, AUDIT_ARCH);
        call.result = registers[Reg::RESULT];
        match waiting.carry_out(room, thread, next)? {
            Then::Answer | Then::Start(_) => answer(room, thread, call)?,
            Then::Leave => open[thread] = call,
        }
        if matches!(next, Next::End(_)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for a thread to call, for so long.
fn wait(room: &Room, time: Duration) -> Result<Option<usize>, Problem> {
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; THREADS];
    let mut coming = false;
    for (fd, task) in fds.iter_mut().zip(&room.tasks) {
        // The listener of the dead has always something to say.
        if task.number.load(Ordering::SeqCst) > 0 {
            fd.fd = task.listener.load(Ordering::SeqCst) - 1;
            coming |= fd.fd < 0;
        }
    }
    // Who is about to listen does not say so.
    let time = if coming { Duration::from_millis(1) } else { time };
    // Not 0 while there is time left.
    let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX).max(i32::from(!time.is_zero()));
    // SAFETY: as many entries as said.
    let count = unsafe { libc::poll(fds.as_mut_ptr(), THREADS as libc::nfds_t, time) };
    if count < 0 && sys_errno() != libc::EINTR {
        return Err(Problem::System("poll", Errno(sys_errno())));
    }
    Ok(fds.iter().position(|fd| fd.revents & libc::POLLIN != 0))
}

fn sys_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A request to a thread's listener.
fn request<T>(room: &Room, thread: usize, request: u64, data: &mut T) -> sys::Result<u64> {
    let listener = room.tasks[thread].listener.load(Ordering::SeqCst) - 1;
    let data = std::ptr::from_mut(data) as u64;
    // SAFETY: the request reads or writes one of these structures, as the caller passes it.
    unsafe { sys::call(libc::SYS_ioctl, &[u64::from(listener.cast_unsigned()), request, data]) }
}

/// The call of a thread, and the registers that can be known of it; `None` if it was interrupted.
fn receive(room: &Room, thread: usize) -> Result<Option<(Registers, Open)>, Problem> {
    // SAFETY: plain numbers, zero where the kernel demands it.
    let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    match request(room, thread, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut told) {
        Err(Errno(libc::ENOENT | libc::EINTR)) => return Ok(None),
        other => other.map_err(|errno| Problem::System("SECCOMP_IOCTL_NOTIF_RECV", errno))?,
    };
    let mut registers = Registers::default();
    registers[Reg::NUMBER] = i64::from(told.data.nr).cast_unsigned();
    for (reg, value) in Reg::ARGUMENTS.into_iter().zip(told.data.args) {
        registers[reg] = value;
    }
    registers[Reg::NEXT] = told.data.instruction_pointer;
    registers[Reg::Sp] = stack_of(told.pid)
        .ok_or(Problem::System("/proc/PID/syscall says no stack pointer", Errno(libc::ESRCH)))?;
    Ok(Some((registers, Open { id: told.id, result: 0 })))
}

/// The stack pointer of a task that waits in a call: `number arguments sp pc` (proc(5)). Its
/// notification comes before it sleeps, and until then it is said to be `running`.
fn stack_of(pid: u32) -> Option<u64> {
    loop {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        if text.trim_end() != "running" {
            let word = text.split_whitespace().nth(7)?;
            return u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        }
        sys::sleep(SOON);
    }
}

fn answer(room: &Room, thread: usize, call: Open) -> Result<(), Problem> {
    let mut response = libc::seccomp_notif_resp {
        id: call.id,
        val: call.result.cast_signed(),
        error: 0,
        flags: 0,
    };
    match request(room, thread, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) {
        // It was killed.
        Ok(_) | Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(Problem::System("SECCOMP_IOCTL_NOTIF_SEND", errno)),
    }
}
