// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The bytes of a signal frame that the kernel writes. What it leaves out keeps the bytes of the stack, so each
//! frame is looked at twice: over a stack full of ones, and over one full of zeros.

use super::compat::{
    self as program_32, ONSTACK, Program, RESTORER, SIGINFO, arm_inside_request, inside_request,
};
use super::fast::map_low;
use crate::arch::compat::{self, Registers, Request, number};
use crate::arch::{self, UserContext};
use crate::case::Check;
use crate::probe;
use crate::support::*;
use crate::sys::{self, SigAction};
use std::ops::Range;
use sudbox_protocol::Feature;

/// The bytes that fill the stack before the first and the second frame.
const FILLS: [u8; 2] = [0xff, 0];
/// A part of a frame that the kernel does not write.
type Unwritten = (Range<usize>, &'static str);

/// Checks that all bytes of a frame are written but these. `frames` are the same frame over each of [`FILLS`].
fn expect_written(what: &str, frames: &[Vec<u8>; 2], unwritten: &[Unwritten]) -> Check {
    let [over_ones, over_zeros] = frames;
    let is_expected = |byte: usize| !unwritten.iter().any(|(bytes, _)| bytes.contains(&byte));
    let is_written = |byte: usize| over_ones[byte] != FILLS[0] || over_zeros[byte] != FILLS[1];
    let (missing, excess): (Vec<usize>, Vec<usize>) = (0..over_ones.len())
        .filter(|byte| is_written(*byte) != is_expected(*byte))
        .partition(|byte| is_expected(*byte));
    ensure(
        missing.is_empty() && excess.is_empty(),
        &format!("frame {what}: all bytes written but {unwritten:?}"),
        || format!("bytes {missing:?} not written, bytes {excess:?} written"),
    )
}

/// Handler body: stores the address of the frame in shared word 0.
fn store_frame_address(dispatch: Dispatch<'_>) {
    // The context follows the address of the restorer.
    set_shared_word(0, std::ptr::from_ref::<UserContext>(dispatch.frame) as u64 - 8);
}

/// `x64_setup_rt_frame()`, `ia32_setup_frame()` and `ia32_setup_rt_frame()`.
pub(crate) fn fields_written() -> Check {
    if probe::environment().features.contains(&Feature::Ia32) {
        compat_fields_written()?;
    }
    // The length of `struct rt_sigframe` (arch/x86/include/asm/sigframe.h), and what is never written of it.
    const FRAME_LENGTH: usize = 440;
    let unwritten =
        [(36..40, "padding of uc_stack"), (240..304, "reserved words"), (312..440, "siginfo")];
    let stack_length = 4 * PAGE_SIZE;
    let stack = map_low(stack_length)?;
    // SAFETY: nothing else uses the stack.
    unsafe { sys::sigaltstack(stack as u64, stack_length as u64, 0) }
        .map_err(broken("sigaltstack"))?;
    handle_dispatches(store_frame_address)?;
    arm()?;
    for (siginfo, unwritten) in [(libc::SA_SIGINFO, &unwritten[..2]), (0, &unwritten[..])] {
        let flags = siginfo | libc::SA_ONSTACK;
        let action = SigAction {
            handler: handler_address(),
            flags: u64::from(flags.cast_unsigned()) | sys::SA_RESTORER,
            restorer: arch::restorer(),
            mask: 0,
        };
        // SAFETY: the address is that of a handler. The kernel passes it the addresses of a siginfo, of which
        // any bytes are valid, and of a context, whatever its flags are.
        unsafe { sys::sigaction(libc::SIGSYS, &action) }.map_err(broken("rt_sigaction"))?;
        let mut frames = [const { Vec::new() }; 2];
        for (frame, fill) in frames.iter_mut().zip(FILLS) {
            // SAFETY: the stack is mapped, and nothing uses it now.
            unsafe { stack.write_bytes(fill, stack_length) };
            issue_dispatched(&arch::gate(), &fresh_umask_call())?;
            let start = shared_word(0);
            let is_on_stack = start >= stack as u64
                && start + FRAME_LENGTH as u64 <= stack as u64 + stack_length as u64;
            ensure(is_on_stack, "a frame on the alternate stack", || format!("{start:#x}"))?;
            // SAFETY: the frame is on the stack.
            *frame =
                unsafe { std::slice::from_raw_parts(start as *const u8, FRAME_LENGTH) }.to_vec();
        }
        expect_written(&format!("of 64 bits, SA_SIGINFO {}", siginfo != 0), &frames, unwritten)?;
    }
    Ok(())
}

/// The length of an alternate stack of the 32-bit program.
const COMPAT_STACK_LENGTH: usize = 0x1000;
/// The alternate stacks, one for each of [`FILLS`], as offsets in the program's shared memory.
const COMPAT_STACKS: [usize; 2] = [
    compat::SIGNAL_STACK_END - 2 * COMPAT_STACK_LENGTH,
    compat::SIGNAL_STACK_END - COMPAT_STACK_LENGTH,
];

fn compat_fields_written() -> Check {
    let to_u32 = |value: usize| u32::try_from(value).unwrap_or(0);
    // `struct rt_sigframe_ia32` and `struct sigframe_ia32` (arch/x86/include/asm/sigframe.h).
    let formats: [(u32, usize, &[Unwritten]); 2] =
        [(SIGINFO, 268, &[]), (0, 732, &[(96..720, "unused floating point state")])];
    for (siginfo, length, unwritten) in formats {
        let program = Program::start()?;
        let flags = siginfo | RESTORER | ONSTACK;
        let restorer = if siginfo == 0 { compat::plain_restorer() } else { compat::restorer() };
        let (handler, signal) = (compat::start_handler(), libc::SIGSYS);
        let mut requests = vec![
            program_32::sigaction_with_restorer_request(
                &program, 0, signal, handler, flags, restorer,
            ),
            arm_inside_request(),
        ];
        for (slot, (offset, fill)) in (1..).zip(COMPAT_STACKS.into_iter().zip(FILLS)) {
            program.fill(offset, COMPAT_STACK_LENGTH, fill);
            let start = compat::SHARED_ADDRESS + to_u32(offset);
            let stack = program.write_slot(slot, [start, 0, to_u32(COMPAT_STACK_LENGTH)]);
            requests.push(inside_request(number::SIGALTSTACK, &[stack, 0]));
            let call = Registers::for_call(number::GETPID, &[]);
            requests.push(Request::new(compat::outside_gate(), BLOCK, call));
        }
        program.run(&requests)?;
        expect_equal("SIGSYS handled", program.sigsys_count(), 2)?;
        let starts = program.read(|shared| shared.state.handler_starts);
        let mut frames = [const { Vec::new() }; 2];
        for ((frame, start), offset) in frames.iter_mut().zip(starts).zip(COMPAT_STACKS) {
            let position = start.stack.wrapping_sub(compat::SHARED_ADDRESS) as usize;
            let is_on_stack = (offset..offset + COMPAT_STACK_LENGTH - length).contains(&position);
            ensure(is_on_stack, "a frame on the alternate stack", || format!("{start:x?}"))?;
            *frame = program.bytes(position, length);
        }
        expect_written(&format!("of 32 bits, SA_SIGINFO {}", siginfo != 0), &frames, unwritten)?;
    }
    Ok(())
}
