// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch in 32-bit programs and of 32-bit calls.

use super::compat::{self, Program, RESTORER, SIGINFO};
use crate::arch;
use crate::arch::compat as program;
use crate::arch::compat::number as compat_number;
use crate::arch::compat::{Registers as CompatRegisters, Request};
use crate::case::Check;
use crate::cases::ptrace::{ALL_BITS_CONFIG, armed_config};
use crate::cases::siginfo::expect_siginfo;
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace::PEEK_SIGINFO;
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{CONFIG_SIZE, Config, Tracee, pause_for_tracer};

const CONT: u32 = libc::PTRACE_CONT;
pub(crate) fn range_across_compat_limit() -> Check {
    const UMASK: u32 = program::number::UMASK;
    let child = Program::start()?;
    child.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    // With 32-bit arithmetic the second range would contain the whole program.
    let ranges = [(0xffff_f000, 0x2000), (0xf000_0000, 0x2000_0000), (1, u32::MAX)];
    let mut requests = vec![compat::sigsys_handler_request(&child, SIGINFO | RESTORER)];
    for (start, length) in ranges {
        let call = program::Registers::for_call(UMASK, &[0o22]);
        requests.push(compat::arm_range_request(start, length));
        requests.push(program::Request::new(program::outside_gate(), BLOCK, call));
    }
    // The length does not wrap to 32 bits either.
    requests.push(compat::arm_range_request(0xffff_f000, 0));
    let done = child.run(&requests)?;
    for (pair, (start, length)) in done[1..].chunks(2).zip(ranges) {
        let place = format!("range {start:#x}+{length:#x}");
        expect_equal(&format!("prctl with {place}"), pair[0].registers_after.ax, 0)?;
        let dispatched = pair[1].registers_after.ax == UMASK;
        expect_equal(&format!("{place} dispatches a call"), dispatched, start != 1)?;
    }
    expect_equal("prctl with no range", done[7].registers_after.ax.cast_signed(), -libc::EINVAL)?;
    expect_equal("SIGSYS handled", child.sigsys_count(), 2)
}

pub(crate) fn siginfo_arch() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    expect_siginfo(&arch::compat_gate(), arch::COMPAT_GETPID, arch::AUDIT_ARCH_COMPAT)
}

pub(crate) fn siginfo_layout() -> Check {
    let child = Program::start()?;
    child.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let numbers = [program::number::GETPID, 0, 0x7fff_ffff, 0xffff_ffff];
    let mut requests = vec![
        compat::sigsys_handler_request(&child, SIGINFO | RESTORER),
        compat::arm_inside_request(),
    ];
    requests.extend(numbers.map(|number| {
        program::Request::new(
            program::outside_gate(),
            BLOCK,
            program::Registers::for_call(number, &[]),
        )
    }));
    child.run(&requests)?;
    expect_equal("SIGSYS handled", child.sigsys_count(), 4)?;
    for (index, number) in numbers.into_iter().enumerate() {
        compat::expect_siginfo(
            &child.sigsys_record(index)?,
            program::outside_gate_compared_address(),
            number,
        )?;
    }
    Ok(())
}

pub(crate) fn tracer() -> Check {
    handle_dispatches(do_nothing)?;
    let longer = Config { length: inside_length() + 16, ..armed_config() };
    // The tracee is a child of the process that executes the 32-bit program.
    let program = Program::start_in_child_after(|| {
        let tracee = Tracee::start(|| {
            let regs = fresh_umask_call();
            if arm().is_err() {
                return 99;
            }
            set_selector(BLOCK);
            pause_for_tracer();
            let got = arch::gate().issue(&regs);
            set_selector(ALLOW);
            exit_code(!take_umask_effect() && got.result() == libc::SYS_umask)
        })?;
        set_shared_word(0, u64::from(tracee.pid.cast_unsigned()));
        Ok(())
    })?;
    let pid = u32::try_from(shared_word(0)).unwrap_or(0);
    let ptrace = |request: u64, address: u64, data: u32| {
        let word = |value: u64| u32::try_from(value).unwrap_or(0);
        compat::inside_request(compat_number::PTRACE, &[word(request), pid, word(address), data])
    };
    let get = |size, address| ptrace(PTRACE_GET_DISPATCH, size, address);
    let set = |size, address| ptrace(PTRACE_SET_DISPATCH, size, address);
    let nowhere = 0x1000;
    let [first, second] = [8, 9].map(|slot| program.put(slot, [0u8; 32]));
    let unknown = program.put(10, Config { mode: 3, ..armed_config() });
    let kernel = program.put(11, Config { selector: arch::KERNEL_ADDRESS, ..armed_config() });
    let wraps = program.put(12, Config { offset: u64::MAX, ..armed_config() });
    let good = program.put(13, longer);
    let wide = program.put(16, ALL_BITS_CONFIG);
    let third = program.put(17, [0u8; 32]);
    // Two slots: a `struct compat_siginfo`.
    let info = program.put(18, [0u8; 64]);
    program.put(19, [0u8; 64]);
    let signal_info = |request: u32| ptrace(request.into(), 0, info);
    // struct ptrace_peeksiginfo_args: one signal of the queue of the process.
    let peeked = program.put(20, [0u32, 0, 1, 1]);
    let queued = program.put(21, [0u8; 64]);
    program.put(22, [0u8; 64]);
    let urgent = libc::SIGURG.cast_unsigned();
    let [stop, end, urgent_stop] = [14, 15, 23].map(|slot| program.put(slot, 0i32));
    let wait = |status| compat::inside_request(compat_number::WAIT4, &[pid, status, 0, 0]);
    let sigsys = libc::SIGSYS.cast_unsigned();
    let (invalid, fault) = (-libc::EINVAL, -libc::EFAULT);
    let stops = i32::try_from(pid).unwrap_or(0);
    // The request arms the tracee and not the tracer, whose own call is executed.
    let tracer_call = Request::new(
        crate::arch::compat::outside_gate(),
        BLOCK,
        CompatRegisters::for_call(compat_number::GETPID, &[]),
    );
    let (requests, expected): (Vec<_>, Vec<_>) = [
        (get(CONFIG_SIZE, first), 0),
        (get(CONFIG_SIZE - 1, first), invalid),
        (set(CONFIG_SIZE + 1, good), invalid),
        (get(CONFIG_SIZE, nowhere), fault),
        (set(CONFIG_SIZE, nowhere), fault),
        (set(CONFIG_SIZE, unknown), invalid),
        (set(CONFIG_SIZE, wraps), invalid),
        (set(CONFIG_SIZE, kernel), fault),
        (set(CONFIG_SIZE, wide), 0),
        (get(CONFIG_SIZE, third), 0),
        (set(CONFIG_SIZE, good), 0),
        (tracer_call, program.pid()),
        (get(CONFIG_SIZE, second), 0),
        (ptrace(CONT.into(), 0, 0), 0),
        (wait(stop), stops),
        (signal_info(libc::PTRACE_GETSIGINFO), 0),
        (signal_info(libc::PTRACE_SETSIGINFO), 0),
        (compat::inside_request(compat_number::KILL, &[pid, urgent]), 0),
        (ptrace(PEEK_SIGINFO.into(), peeked.into(), queued), 1),
        (ptrace(PEEK_SIGINFO.into(), peeked.into(), nowhere), fault),
        (ptrace(CONT.into(), 0, sigsys), 0),
        (wait(urgent_stop), stops),
        (ptrace(CONT.into(), 0, 0), 0),
        (wait(end), stops),
    ]
    .into_iter()
    .unzip();
    let done = program.run(&requests)?;
    let got: Vec<_> = done.iter().map(|request| request.registers_after.ax.cast_signed()).collect();
    expect_equal("results of the tracer's calls", got, expected)?;
    expect_equal("configuration read", program.get::<Config>(8), armed_config())?;
    expect_equal("configuration read after setting", program.get::<Config>(17), ALL_BITS_CONFIG)?;
    expect_equal("configuration read after setting", program.get::<Config>(9), longer)?;
    let child_change = |slot| WaitStatus::from_status(program.get(slot)).to_string();
    expect_equal("the tracee", child_change(14), WaitStatus::Stopped(libc::SIGSYS).to_string())?;
    expect_equal("the tracee", child_change(23), WaitStatus::Stopped(libc::SIGURG).to_string())?;
    let sender = program.pid();
    let due = [libc::SIGURG, 0, 0, sender, sys::getuid().cast_signed()].map(i32::cast_unsigned);
    let queued = program.get::<[u32; 16]>(21);
    expect_equal("words of the siginfo in the queue", &queued[..5], &due[..])?;
    expect_equal("words after them", &queued[5..], &[0; 11][..])?;
    expect_equal("the tracee", child_change(15), WaitStatus::Exited(0).to_string())?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_siginfo_by_tracer(&program)
}

/// Checks the siginfo of a dispatch that a 32-bit tracer read into slots 18 and 19, and that the
/// handler got after the tracer wrote it back. In the siginfo of the tracer the address has 32
/// bits.
fn expect_siginfo_by_tracer(program: &Program) -> Check {
    let mut read_by_tracer = program.get::<[u8; 64]>(18).to_vec();
    read_by_tracer.extend(program.get::<[u8; 64]>(19));
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
    };
    let low_half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    let (code, arch) = (SYS_USER_DISPATCH.cast_unsigned(), arch::AUDIT_ARCH);
    let number = low_half(libc::SYS_umask.cast_unsigned());
    let address = low_half(arch::gate().compared_address());
    let mut due = vec![31, 0, code, address, number, arch];
    due.resize(32, 0);
    expect_equal("words of the siginfo that a 32-bit tracer reads", words(&read_by_tracer), due)?;
    let handled = shared().sigsys_record(0).map_or([0; 128], |record| record.info);
    let mut due = vec![31, 0, code, 0, address, 0, number, arch];
    due.resize(32, 0);
    expect_equal("words of the siginfo that a 32-bit tracer wrote", words(&handled), due)
}

/// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG` writes 64-bit values for a 32-bit tracee too, and
/// `syscall_user_dispatch()` compares 64 bits.
pub(crate) fn tracee() -> Check {
    const UMASK: u32 = program::number::UMASK;
    let inside = program::inside();
    for high in [0, 1 << 32] {
        let child = Program::start()?;
        child.write(|shared| shared.state.selector_in_handler = ALLOW.into());
        let tracee = Tracee::seize(child.pid())?;
        let config = Config {
            mode: MODE_EXCLUSIVE,
            selector: program::SHARED_ADDRESS.into(),
            offset: high + u64::from(inside.start),
            length: u64::from(inside.end - inside.start),
        };
        for config in [ALL_BITS_CONFIG, config] {
            expect_equal("setting", tracee.set_config(&config), Ok(()))?;
            expect_equal("configuration", tracee.config()?, config)?;
        }
        expect_equal("detaching", tracee.request(libc::PTRACE_DETACH, 0, 0), Ok(0))?;
        let call = |gate, selector| {
            Request::new(gate, selector, CompatRegisters::for_call(UMASK, &[0o22]))
        };
        let done = child.run(&[
            compat::sigsys_handler_request(&child, SIGINFO | RESTORER),
            call(program::inside_gate(), BLOCK),
            call(program::outside_gate(), BLOCK),
            call(program::outside_gate(), ALLOW),
        ])?;
        // With bit 32 set in its offset the range contains no address of a 32-bit program.
        let dispatched = [1, 2, 3].map(|index| done[index].registers_after.ax == UMASK);
        expect_equal("calls dispatched", dispatched, [high != 0, true, false])?;
        expect_equal("SIGSYS handled", child.sigsys_count(), 1 + u32::from(high != 0))?;
    }
    Ok(())
}
