// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs that know that they run on Linux, and escape from the sandbox.

use crate::arch::{self, ALIEN as REGISTERS, Registers};
use crate::case::Check;
use crate::cases::foreign::{expect_transcript, set_umask};
use crate::sandbox::{
    Alien, CallContext, Engine, Fault, Image, NextAction, Personality, program_memory,
};
use crate::support::*;

/// The personality [`Alien`] for [`arch::escape_program`]. It passes the program the addresses that the
/// program needs to escape, and the number of a method: 0 for no escape, 1 for a jump into the allowed
/// range, 2 for a store to the selector.
struct Escaping(u64);

static NO_ESCAPE: Escaping = Escaping(0);
static BY_JUMP: Escaping = Escaping(1);
static BY_SELECTOR: Escaping = Escaping(2);

impl Personality for Escaping {
    fn name(&self) -> &'static str {
        "alien"
    }

    fn notification_limit(&self) -> Option<&'static str> {
        Alien.notification_limit()
    }

    fn prepare_first_thread(&self, call: &mut CallContext<'_>, image: &Image) -> Option<()> {
        let selector = program_memory::block(0).start;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        call.memory.map(selector, program_memory::BLOCK_LENGTH, protection).then_some(())?;
        call.map_stack(0)?;
        // `arch::issue_inside` reads an argument above its return address, so the stack pointer must be
        // below the end of the stack.
        let mut registers = Registers::at_start(image.entry, program_memory::stack(0).end - 64);
        let arguments = [arch::issue_inside_address(), selector, self.0];
        for (reg, value) in REGISTERS.arguments.into_iter().zip(arguments) {
            registers[reg] = value;
        }
        call.set_first_registers(0, registers, 0, selector);
        Some(())
    }

    fn call(&self, call: &mut CallContext<'_>, registers: &mut Registers) -> NextAction {
        Alien.call(call, registers)
    }

    fn fault(
        &self,
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction {
        Alien.fault(call, registers, fault)
    }
}

/// The argument of the program's umask(2).
const ESCAPE_MASK: u64 = 0o123;

pub(crate) fn escapes() -> Check {
    const INITIAL_UMASK: u64 = 0o22;
    let image = Image::of_code(arch::escape_program());
    for (personality, escapes) in
        [(&NO_ESCAPE, false), (&BY_JUMP, true), (&BY_SELECTOR, true), (&NO_ESCAPE, false)]
    {
        // If the program escapes, Linux executes its umask(2), and the transcript does not contain it.
        let emulated = if escapes {
            String::new()
        } else {
            format!("  unknown({:#x}) fails\n", libc::SYS_umask)
        };
        let expected = format!("thread 0\n{emulated}  stop(0)\nend 0x0\n");
        set_umask(INITIAL_UMASK).map_err(broken("umask"))?;
        expect_transcript(&image, personality, &[Engine::Exclusive], &expected)?;
        // The tasks share the umask with this process.
        let expected = if escapes { ESCAPE_MASK } else { INITIAL_UMASK };
        expect_equal("umask after the program", set_umask(INITIAL_UMASK), Ok(expected))?;
    }
    Ok(())
}
