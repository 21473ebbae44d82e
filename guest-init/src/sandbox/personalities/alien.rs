// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The personality `alien`: a system call interface as unlike Linux's as possible. Numbers have 64
//! bits, results are in registers that no Linux call changes, and a flag reports failure.

use crate::arch::{ALIEN, Reg, Registers, set_alien_failure_flag};
use crate::sandbox::bounded_text::Quoted;
use crate::sandbox::image::Image;
use crate::sandbox::personality::{CallContext, Fault, NextAction, Personality};
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

/// The personality `alien`, an invented system call interface as unlike Linux's as possible.
pub struct Alien;

/// Index in [`CallContext::personality_words`] of the address that `faults` sets.
const HANDLER_WORD: usize = 0;

/// Converts a protection: the interface uses the bits of `PROT_*`.
fn protection(value: u64) -> Option<i32> {
    i32::try_from(value).ok().filter(|bits| (0..8).contains(bits))
}

impl Alien {
    /// Emulates a call that does not switch registers. Returns the results and the next action; `None` if the
    /// call fails. A `call` or `done` that [`Alien::emulate_callback`] did not accept always fails.
    fn emulate(
        call: &mut CallContext<'_>,
        number: u64,
        arguments: [u64; 4],
    ) -> Option<([u64; 2], NextAction)> {
        let continue_with = |first, second| Some(([first, second], NextAction::Continue));
        match number {
            SAY => {
                let _ = write!(call.transcript, "say({:#x}, {})", arguments[0], arguments[1]);
                let bytes = call.memory.bytes(arguments[0], arguments[1])?;
                let _ = write!(call.transcript, " {}", Quoted(bytes));
                call.console.add(bytes);
                continue_with(arguments[1], bytes.iter().map(|byte| u64::from(*byte)).sum())
            }
            MAP => {
                let _ = write!(call.transcript, "map({}, {})", arguments[0], arguments[1]);
                continue_with(call.memory.allocate(arguments[0], protection(arguments[1])?)?, 0)
            }
            PROTECT => {
                let _ = write!(
                    call.transcript,
                    "protect({:#x}, {}, {})",
                    arguments[0], arguments[1], arguments[2]
                );
                let previous =
                    call.memory.protect(arguments[0], arguments[1], protection(arguments[2])?)?;
                continue_with(u64::try_from(previous).ok()?, 0)
            }
            SPAWN => {
                let _ = write!(call.transcript, "spawn({:#x}, {:#x})", arguments[0], arguments[1]);
                let thread = call.new_thread()?;
                let start = Alien::first_registers(arguments[0], thread, arguments[1]);
                call.set_first_registers(thread, start, 0, 0);
                Some(([thread as u64, 0], NextAction::StartThread(thread)))
            }
            NAP => {
                let _ = write!(call.transcript, "nap({})", arguments[0]);
                Some(([0, 0], NextAction::Sleep(Duration::from_millis(arguments[0]))))
            }
            JOIN => {
                let _ = write!(call.transcript, "join({})", arguments[0]);
                Some(([0, 0], NextAction::AwaitEndOf(call.other_thread(arguments[0])?)))
            }
            FAULTS => {
                let _ = write!(call.transcript, "faults({:#x})", arguments[0]);
                call.personality_words[HANDLER_WORD] = arguments[0];
                continue_with(0, 0)
            }
            CALL | DONE => {
                let _ = write!(call.transcript, "{}", if number == CALL { "call" } else { "done" });
                None
            }
            LEAVE => {
                let _ = write!(call.transcript, "leave({})", arguments[0]);
                Some(([0, 0], NextAction::EndThread(arguments[0])))
            }
            STOP => {
                let _ = write!(call.transcript, "stop({})", arguments[0]);
                Some(([0, 0], NextAction::EndProgram(arguments[0])))
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
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        number: u64,
        arguments: [u64; 4],
    ) -> bool {
        /// Bytes below the stack pointer that the program may use (a red zone).
        const RED_ZONE: u64 = 256;
        if number == CALL && call.push_callback(registers) {
            let _ = write!(call.transcript, "call({:#x}, {})", arguments[0], arguments[1]);
            registers[Reg::INSTRUCTION_POINTER] = arguments[0];
            registers[ALIEN.arguments[0]] = arguments[1];
            registers[Reg::Sp] = (registers[Reg::Sp].wrapping_sub(RED_ZONE)) & !15;
            return true;
        }
        let caller_registers = if number == DONE { call.pop_callback() } else { None };
        let Some(caller_registers) = caller_registers else { return false };
        let _ = write!(call.transcript, "done({})", arguments[0]);
        *registers = caller_registers;
        set_alien_failure_flag(registers, false);
        registers[ALIEN.results[0]] = arguments[0];
        true
    }

    /// The first registers of a thread.
    fn first_registers(entry: u64, thread: usize, argument: u64) -> Registers {
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

    fn prepare_first_thread(&self, call: &mut CallContext<'_>, image: &Image) -> Option<()> {
        call.map_stack(0)?;
        call.set_first_registers(0, Alien::first_registers(image.entry, 0, 0), 0, 0);
        Some(())
    }

    fn call(&self, call: &mut CallContext<'_>, registers: &mut Registers) -> NextAction {
        let number = registers[ALIEN.number];
        let arguments = ALIEN.arguments.map(|reg| registers[reg]);
        if Alien::emulate_callback(call, registers, number, arguments) {
            return NextAction::Continue;
        }
        let outcome = Alien::emulate(call, number, arguments);
        set_alien_failure_flag(registers, outcome.is_none());
        let (results, next) = outcome.unwrap_or(([number, 0], NextAction::Continue));
        for (reg, value) in ALIEN.results.into_iter().zip(results) {
            registers[reg] = value;
        }
        match (outcome, next) {
            (None, _) => drop(write!(call.transcript, " fails")),
            (_, NextAction::Continue | NextAction::StartThread(_)) => {
                let _ = write!(call.transcript, " = {:#x}, {:#x}", results[0], results[1]);
            }
            _ => {}
        }
        next
    }

    fn fault(
        &self,
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction {
        let fault_pc = registers[Reg::INSTRUCTION_POINTER];
        let _ = write!(call.transcript, "fault {fault} at {fault_pc:#x}");
        let handler = std::mem::take(&mut call.personality_words[HANDLER_WORD]);
        if handler == 0 {
            return NextAction::EndProgram(u64::MAX);
        }
        registers[Reg::INSTRUCTION_POINTER] = handler;
        registers[ALIEN.results[0]] = fault_pc;
        registers[ALIEN.results[1]] = fault.address();
        NextAction::Continue
    }
}
