// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The personality `alien`: a system call interface as unlike Linux's as possible. Numbers have 64
//! bits, results are in registers that no Linux call changes, and a flag reports failure.

use crate::arch::{ALIEN, Reg, Registers, set_alien_failure_flag};
use crate::sandbox::bounded_text::Quoted;
use crate::sandbox::image::Image;
use crate::sandbox::personality::{Call, Fault, Next, Personality};
use crate::sandbox::program_memory;
use std::fmt::Write;
use std::time::Duration;

/// `say(address, length)` writes bytes to the console, and returns their number and sum.
const SAY: u64 = 0xa11e_0000_0000_0027;
/// `map(length, protection)` returns the address of zeroed memory.
const MAP: u64 = 0xa11e_0000_0000_00e7;
/// `protect(address, length, protection)` returns the previous protection.
const PROTECT: u64 = 0xa11e_ffff_0000_003c;
/// `spawn(entry, argument)` returns the number of a new thread.
const SPAWN: u64 = 0x0000_0001_0000_003c;
/// `join(thread)` waits for the end of a thread.
const JOIN: u64 = 0x0000_0002_0000_003c;
/// `call(entry, argument)` calls the program back, and returns the argument of its `done`.
const CALL: u64 = 0x0000_0003_0000_003c;
/// `done(result)` returns from a callback.
const DONE: u64 = 0x0000_0004_0000_003c;
/// `nap(milliseconds)` sleeps.
const NAP: u64 = 0x8000_0000_0000_0001;
/// `faults(handler)` sets the address at which the program continues after a fault. There the result
/// registers hold the program counter and the address of the fault.
const FAULTS: u64 = 0x7fff_ffff_ffff_ff01;
/// `leave(status)` ends the thread.
const LEAVE: u64 = 0xffff_ffff_ffff_fffe;
/// `stop(status)` ends the program.
const STOP: u64 = 0x0000_003c_0000_0000;

/// The personality `alien`.
pub struct Alien;

/// Index in [`Call::words`] of the address that `faults` sets.
const HANDLER: usize = 0;

/// Converts a protection: the interface uses the bits of `PROT_*`.
fn protection(value: u64) -> Option<i32> {
    i32::try_from(value).ok().filter(|bits| (0..8).contains(bits))
}

impl Alien {
    /// Emulates a call other than `call` and `done`. Returns the results and the next action, or `None` if
    /// the call fails.
    fn emulate(call: &mut Call<'_>, number: u64, a: [u64; 4]) -> Option<([u64; 2], Next)> {
        let go = |first, second| Some(([first, second], Next::Go));
        match number {
            SAY => {
                let _ = write!(call.transcript, "say({:#x}, {})", a[0], a[1]);
                let bytes = call.memory.bytes(a[0], a[1])?;
                let _ = write!(call.transcript, " {}", Quoted(bytes));
                call.console.add(bytes);
                go(a[1], bytes.iter().map(|byte| u64::from(*byte)).sum())
            }
            MAP => {
                let _ = write!(call.transcript, "map({}, {})", a[0], a[1]);
                go(call.memory.allocate(a[0], protection(a[1])?)?, 0)
            }
            PROTECT => {
                let _ = write!(call.transcript, "protect({:#x}, {}, {})", a[0], a[1], a[2]);
                let before = call.memory.protect(a[0], a[1], protection(a[2])?)?;
                go(u64::try_from(before).ok()?, 0)
            }
            SPAWN => {
                let _ = write!(call.transcript, "spawn({:#x}, {:#x})", a[0], a[1]);
                let thread = call.new_thread()?;
                let start = Alien::begin(a[0], thread, a[1]);
                call.set_start(thread, start, 0, 0);
                Some(([thread as u64, 0], Next::Start(thread)))
            }
            NAP => {
                let _ = write!(call.transcript, "nap({})", a[0]);
                Some(([0, 0], Next::Sleep(Duration::from_millis(a[0]))))
            }
            JOIN => {
                let _ = write!(call.transcript, "join({})", a[0]);
                Some(([0, 0], Next::Await(call.is_other_thread(a[0])?)))
            }
            FAULTS => {
                let _ = write!(call.transcript, "faults({:#x})", a[0]);
                call.words[HANDLER] = a[0];
                go(0, 0)
            }
            CALL | DONE => {
                let _ = write!(call.transcript, "{}", if number == CALL { "call" } else { "done" });
                None
            }
            LEAVE => {
                let _ = write!(call.transcript, "leave({})", a[0]);
                Some(([0, 0], Next::EndThread(a[0])))
            }
            STOP => {
                let _ = write!(call.transcript, "stop({})", a[0]);
                Some(([0, 0], Next::End(a[0])))
            }
            _ => {
                let _ = write!(call.transcript, "unknown({number:#x})");
                None
            }
        }
    }

    /// Emulates `call` and `done`, which switch registers. Returns false for other calls, and if the call
    /// fails.
    fn emulate_callback(
        call: &mut Call<'_>,
        registers: &mut Registers,
        number: u64,
        a: [u64; 4],
    ) -> bool {
        /// Bytes below the stack pointer that the program may use (a red zone).
        const RED_ZONE: u64 = 256;
        if number == CALL && call.push(registers) {
            let _ = write!(call.transcript, "call({:#x}, {})", a[0], a[1]);
            registers[Reg::INSTRUCTION_POINTER] = a[0];
            registers[ALIEN.arguments[0]] = a[1];
            registers[Reg::Sp] = (registers[Reg::Sp].wrapping_sub(RED_ZONE)) & !15;
            return true;
        }
        let outer = if number == DONE { call.pop() } else { None };
        let Some(outer) = outer else { return false };
        let _ = write!(call.transcript, "done({})", a[0]);
        *registers = outer;
        set_alien_failure_flag(registers, false);
        registers[ALIEN.results[0]] = a[0];
        true
    }

    /// The first registers of a thread.
    fn begin(entry: u64, thread: usize, argument: u64) -> Registers {
        let mut registers = Registers::at_start(entry, program_memory::stack(thread).end);
        registers[ALIEN.arguments[0]] = argument;
        registers
    }
}

impl Personality for Alien {
    fn name(&self) -> &'static str {
        "alien"
    }

    fn notification_limit(&self) -> Option<&'static str> {
        Some("its call numbers have 64 bits, its results are in other registers and in a flag")
    }

    fn prepare_first_thread(&self, call: &mut Call<'_>, image: &Image) -> Option<()> {
        call.map_stack(0)?;
        call.set_start(0, Alien::begin(image.entry, 0, 0), 0, 0);
        Some(())
    }

    fn call(&self, call: &mut Call<'_>, registers: &mut Registers) -> Next {
        let number = registers[ALIEN.number];
        let arguments = ALIEN.arguments.map(|reg| registers[reg]);
        if Alien::emulate_callback(call, registers, number, arguments) {
            return Next::Go;
        }
        let answer = Alien::emulate(call, number, arguments);
        set_alien_failure_flag(registers, answer.is_none());
        let (results, next) = answer.unwrap_or(([number, 0], Next::Go));
        for (reg, value) in ALIEN.results.into_iter().zip(results) {
            registers[reg] = value;
        }
        match (answer, next) {
            (None, _) => drop(write!(call.transcript, " fails")),
            (_, Next::Go | Next::Start(_)) => {
                let _ = write!(call.transcript, " = {:#x}, {:#x}", results[0], results[1]);
            }
            _ => {}
        }
        next
    }

    fn fault(&self, call: &mut Call<'_>, registers: &mut Registers, fault: Fault) -> Next {
        let place = registers[Reg::INSTRUCTION_POINTER];
        let _ = write!(call.transcript, "fault {fault} at {place:#x}");
        let handler = std::mem::take(&mut call.words[HANDLER]);
        if handler == 0 {
            return Next::End(u64::MAX);
        }
        registers[Reg::INSTRUCTION_POINTER] = handler;
        registers[ALIEN.results[0]] = place;
        registers[ALIEN.results[1]] = fault.address();
        Next::Go
    }
}
