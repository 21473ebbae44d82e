// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch in 32-bit programs, and dispatch of 32-bit calls.

use super::compat::{self, Program, RESTORER, SIGINFO};
use crate::arch::compat as program;
use crate::arch::compat::number as compat_number;
use crate::arch::compat::{Registers as CompatRegisters, Request};
use crate::arch::{self, Reg};
use crate::case::Check;
use crate::cases::ptrace::{ALL_BITS_CONFIG, armed_config};
use crate::cases::seccomp::filter_umask;
use crate::cases::siginfo::expect_siginfo;
use crate::probe::{self, PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace::{self, PEEK_SIGINFO};
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{CONFIG_SIZE, Config, Tracee, pause_for_tracer};
use sudbox_protocol::Feature;

const CONT: u32 = libc::PTRACE_CONT;

pub(crate) fn range_across_compat_limit() -> Check {
    const UMASK: u32 = program::number::UMASK;
    let child = Program::start()?;
    child.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    // If the kernel computed in 32 bits, the second range would contain the whole program.
    let ranges = [(0xffff_f000, 0x2000), (0xf000_0000, 0x2000_0000), (1, u32::MAX)];
    let mut requests = vec![compat::sigsys_handler_request(&child, SIGINFO | RESTORER)];
    for (start, length) in ranges {
        let call = program::Registers::for_call(UMASK, &[0o22]);
        requests.push(compat::arm_range_request(start, length));
        requests.push(program::Request::new(program::outside_gate(), BLOCK, call));
    }
    // An empty range is refused.
    requests.push(compat::arm_range_request(0xffff_f000, 0));
    let completed = child.run(&requests)?;
    for (pair, (start, length)) in completed[1..].chunks(2).zip(ranges) {
        let range = format!("range {start:#x}+{length:#x}");
        expect_equal(&format!("prctl with {range}"), pair[0].registers_after.ax, 0)?;
        let is_dispatched = pair[1].registers_after.ax == UMASK;
        expect_equal(&format!("{range} dispatches a call"), is_dispatched, start != 1)?;
    }
    let result = completed[7].registers_after.ax.cast_signed();
    expect_equal("prctl with no range", result, -libc::EINVAL)?;
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
                return SETUP_FAILED;
            }
            set_selector(BLOCK);
            pause_for_tracer();
            let after = arch::gate().issue(&regs);
            set_selector(ALLOW);
            exit_code(!take_umask_effect() && after.result() == libc::SYS_umask)
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
    let unmapped = 0x1000;
    // The tracer reads the configuration into the slots 8, 9 and 17, and sets it from the slots 10 to 13 and
    // 16.
    let [first, second] = [8, 9].map(|slot| program.write_slot(slot, [0u8; 32]));
    let unknown_mode = program.write_slot(10, Config { mode: 3, ..armed_config() });
    let kernel_selector =
        program.write_slot(11, Config { selector: arch::KERNEL_ADDRESS, ..armed_config() });
    let wrapping_range = program.write_slot(12, Config { offset: u64::MAX, ..armed_config() });
    let valid = program.write_slot(13, longer);
    let all_bits = program.write_slot(16, ALL_BITS_CONFIG);
    let third = program.write_slot(17, [0u8; 32]);
    // struct ptrace_peeksiginfo_args: offset 0, PTRACE_PEEKSIGINFO_SHARED, one signal.
    let peek_arguments = program.write_slot(20, [0u32, 0, 1, 1]);
    let queued_siginfo = program.write_slot(21, [0u8; 64]);
    program.write_slot(22, [0u8; 64]);
    let sigurg = libc::SIGURG.cast_unsigned();
    // The statuses of wait4(2).
    let [sigsys_status, exit_status, sigurg_status] =
        [14, 15, 23].map(|slot| program.write_slot(slot, 0i32));
    let wait = |status| compat::inside_request(compat_number::WAIT4, &[pid, status, 0, 0]);
    let sigsys = libc::SIGSYS.cast_unsigned();
    let (invalid, fault) = (-libc::EINVAL, -libc::EFAULT);
    let waited_pid = i32::try_from(pid).unwrap_or(0);
    // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG arms the tracee and not the tracer, whose own call is
    // executed.
    let tracer_call = Request::new(
        crate::arch::compat::outside_gate(),
        BLOCK,
        CompatRegisters::for_call(compat_number::GETPID, &[]),
    );
    let mut steps = vec![
        (get(CONFIG_SIZE, first), 0),
        (get(CONFIG_SIZE - 1, first), invalid),
        (set(CONFIG_SIZE + 1, valid), invalid),
        (get(CONFIG_SIZE, unmapped), fault),
        (set(CONFIG_SIZE, unmapped), fault),
        (set(CONFIG_SIZE, unknown_mode), invalid),
        (set(CONFIG_SIZE, wrapping_range), invalid),
        (set(CONFIG_SIZE, kernel_selector), fault),
        (set(CONFIG_SIZE, all_bits), 0),
        (get(CONFIG_SIZE, third), 0),
        (set(CONFIG_SIZE, valid), 0),
        (tracer_call, program.pid()),
        (get(CONFIG_SIZE, second), 0),
        (ptrace(CONT.into(), 0, 0), 0),
        (wait(sigsys_status), waited_pid),
    ];
    steps.extend(siginfo_steps(&program, pid));
    steps.extend([
        (compat::inside_request(compat_number::KILL, &[pid, sigurg]), 0),
        (ptrace(PEEK_SIGINFO.into(), peek_arguments.into(), queued_siginfo), 1),
        (ptrace(PEEK_SIGINFO.into(), peek_arguments.into(), unmapped), fault),
        (ptrace(PEEK_SIGINFO.into(), unmapped.into(), queued_siginfo), fault),
        (ptrace(CONT.into(), 0, sigsys), 0),
        (wait(sigurg_status), waited_pid),
    ]);
    // The entry and the exit of the handler's sigreturn, and the entry of the umask(2) after the dispatch.
    let call_status = program.write_slot(32, 0i32);
    for _ in 0..3 {
        steps.push((ptrace(libc::PTRACE_SYSCALL.into(), 0, 0), 0));
        steps.push((wait(call_status), waited_pid));
    }
    let call_info = program.write_slot(33, [0u64; 8]);
    program.write_slot(34, [0u64; 8]);
    let entry_length = i32::try_from(ENTRY_INFO_LENGTH).unwrap_or(0);
    steps.extend([
        (ptrace(GET_CALL_INFO, ENTRY_INFO_LENGTH as u64, call_info), entry_length),
        (ptrace(CONT.into(), 0, 0), 0),
        (wait(exit_status), waited_pid),
    ]);
    let (requests, expected): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let completed = program.run(&requests)?;
    let results: Vec<_> =
        completed.iter().map(|request| request.registers_after.ax.cast_signed()).collect();
    expect_equal("results of the tracer's calls", results, expected)?;
    expect_equal("configuration read", program.read_slot::<Config>(8), armed_config())?;
    expect_equal(
        "configuration read after setting",
        program.read_slot::<Config>(17),
        ALL_BITS_CONFIG,
    )?;
    expect_equal("configuration read after setting", program.read_slot::<Config>(9), longer)?;
    let child_change = |slot| WaitStatus::from_status(program.read_slot(slot)).to_string();
    expect_equal("the tracee", child_change(14), WaitStatus::Stopped(libc::SIGSYS).to_string())?;
    expect_equal("the tracee", child_change(23), WaitStatus::Stopped(libc::SIGURG).to_string())?;
    let sender = program.pid();
    let expected =
        [libc::SIGURG, 0, 0, sender, sys::getuid().cast_signed()].map(i32::cast_unsigned);
    let queued = program.read_slot::<[u32; 16]>(21);
    expect_equal("words of the siginfo in the queue", &queued[..5], &expected[..])?;
    expect_equal("words after them", &queued[5..], &[0; 11][..])?;
    expect_equal("the tracee", child_change(15), WaitStatus::Exited(0).to_string())?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_siginfo_by_tracer(&program)?;
    let mut info = program.read_slot::<[u64; 8]>(33).to_vec();
    info.extend(program.read_slot::<[u64; 8]>(34));
    let (entry, arch) = (u64::from(PTRACE_SYSCALL_INFO_ENTRY), u64::from(arch::AUDIT_ARCH));
    let call = [info[0], info[3], info[4]];
    let expected = [entry | arch << 32, call_number(libc::SYS_umask), RESET_UMASK];
    expect_equal("kind and architecture, number and argument of the tracee's call", call, expected)
}

/// The length of what `PTRACE_GET_SYSCALL_INFO` tells of the entry of a call: three words, the number and six
/// arguments.
const ENTRY_INFO_LENGTH: usize = 80;
const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;
const PTRACE_SYSCALL_INFO_SECCOMP: u8 = 3;
const GET_CALL_INFO: u64 = libc::PTRACE_GET_SYSCALL_INFO as u64;

/// The words of a `struct compat_siginfo`.
const SIGINFO_WORDS: usize = 32;
/// The slots into which a 32-bit tracer reads siginfos, which are two slots long each: the first one, the same
/// after requests that failed, and the one that the tracer set.
const SIGINFOS_READ: [usize; 3] = [18, 24, 26];
/// The value of `si_errno` that the tracer sets.
const ERRNO_SET: u32 = 77;

/// The words of the siginfo of a dispatch of [`arch::gate`], as a 32-bit tracer reads them. The address has 32
/// bits.
fn compat_siginfo(errno: u32) -> [u32; SIGINFO_WORDS] {
    let low_half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    let mut words = [0; SIGINFO_WORDS];
    words[..6].copy_from_slice(&[
        libc::SIGSYS.cast_unsigned(),
        errno,
        SYS_USER_DISPATCH.cast_unsigned(),
        low_half(arch::gate().compared_address()),
        low_half(call_number(libc::SYS_umask)),
        arch::AUDIT_ARCH,
    ]);
    words
}

/// The requests by which a 32-bit tracer reads the siginfo of a dispatch, fails to read and to set it, and sets
/// it, and their results.
fn siginfo_steps(program: &Program, pid: u32) -> Vec<(Request, i32)> {
    // The first address is in no mapping. At the second one, half of a siginfo is.
    let bad_addresses = [0x1000, program::SHARED_END - 64];
    let [first, again, changed] = SIGINFOS_READ.map(|slot| {
        program.write_slot(slot + 1, [0u8; 64]);
        program.write_slot(slot, [0u8; 64])
    });
    let words = compat_siginfo(ERRNO_SET);
    let (start, end) = words.split_at(SIGINFO_WORDS / 2);
    let new = program.write_slot(28, <[u32; 16]>::try_from(start).unwrap_or_default());
    program.write_slot(29, <[u32; 16]>::try_from(end).unwrap_or_default());
    let step = |request, address, result| {
        let arguments = [request, pid, 0, address];
        (compat::inside_request(compat_number::PTRACE, &arguments), result)
    };
    let (get, set) = (libc::PTRACE_GETSIGINFO, libc::PTRACE_SETSIGINFO);
    let mut steps = vec![step(get, first, 0)];
    for address in bad_addresses {
        steps.push(step(set, address, -libc::EFAULT));
        steps.push(step(get, address, -libc::EFAULT));
    }
    // The program can read its code, but not write it.
    steps.push(step(get, program::inside_gate(), -libc::EFAULT));
    steps.extend([step(get, again, 0), step(set, new, 0), step(get, changed, 0)]);
    steps
}

/// Checks the siginfos that a 32-bit tracer read by [`siginfo_steps`], and the one in the tracee's handler.
fn expect_siginfo_by_tracer(program: &Program) -> Check {
    for (slot, errno) in SIGINFOS_READ.into_iter().zip([0, 0, ERRNO_SET]) {
        let mut read = program.read_slot::<[u32; 16]>(slot).to_vec();
        read.extend(program.read_slot::<[u32; 16]>(slot + 1));
        let expected = compat_siginfo(errno).to_vec();
        expect_equal("words of the siginfo that a 32-bit tracer reads", read, expected)?;
    }
    let in_handler = shared().sigsys_record(0).map_or([0; 128], |record| record.info);
    let written: Vec<_> =
        in_handler.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    let [signal, errno, code, address, number, arch, ..] = compat_siginfo(ERRNO_SET);
    let mut expected = vec![signal, errno, code, 0, address, 0, number, arch];
    expected.resize(SIGINFO_WORDS, 0);
    expect_equal("words of the siginfo that a 32-bit tracer wrote", written, expected)
}

/// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG` writes 64-bit values for a 32-bit tracee too, and
/// `syscall_user_dispatch()` compares 64 bits.
pub(crate) fn tracee() -> Check {
    const UMASK: u32 = program::number::UMASK;
    let inside = program::inside();
    for high_bits in [0, 1 << 32] {
        let child = Program::start()?;
        child.write(|shared| shared.state.selector_in_handler = ALLOW.into());
        let tracee = Tracee::seize(child.pid())?;
        let config = Config {
            mode: MODE_EXCLUSIVE,
            selector: program::SHARED_ADDRESS.into(),
            offset: high_bits + u64::from(inside.start),
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
        let completed = child.run(&[
            compat::sigsys_handler_request(&child, SIGINFO | RESTORER),
            call(program::inside_gate(), BLOCK),
            call(program::outside_gate(), BLOCK),
            call(program::outside_gate(), ALLOW),
        ])?;
        // With bit 32 set in its offset the range contains no address of a 32-bit program.
        let is_inside_dispatched = high_bits != 0;
        let dispatched = [1, 2, 3].map(|index| completed[index].registers_after.ax == UMASK);
        expect_equal("calls dispatched", dispatched, [is_inside_dispatched, true, false])?;
        let expected = 1 + u32::from(is_inside_dispatched);
        expect_equal("SIGSYS handled", child.sigsys_count(), expected)?;
    }
    call_of_tracee()
}

/// `ptrace_get_syscall_info()`: the arguments of a 32-bit tracee's call are in other registers than those of its
/// 64-bit tracer.
fn call_of_tracee() -> Check {
    const MAX_STOPS: usize = 16;
    const SYSCALL: u32 = libc::PTRACE_SYSCALL;
    let arguments = [0o22, 0x101, 0x202, 0x303, 0x404, 0x505];
    let registers = CompatRegisters::for_call(program::number::UMASK, &arguments);
    let child = Program::start()?;
    let tracee = Tracee::seize(child.pid())?;
    let requests = [Request::new(program::outside_gate(), ALLOW, registers)];
    child.start_requests(&requests);
    let word = |info: &[u8; 128], index: usize| {
        u64::from_ne_bytes(std::array::from_fn(|i| info[8 * index + i]))
    };
    let info = || ptrace::call_info(tracee.pid).map_err(refused_request("PTRACE_GET_SYSCALL_INFO"));
    // The program waits by calls of sched_yield(2).
    let mut entry = info()?;
    for _ in 0..MAX_STOPS {
        tracee.expect_call_stop(SYSCALL, 0)?;
        entry = info()?;
        if entry[0] == PTRACE_SYSCALL_INFO_ENTRY && word(&entry, 3) == registers.ax.into() {
            break;
        }
    }
    let arch = u64::from(arch::AUDIT_ARCH_COMPAT);
    let mut expected = vec![u64::from(PTRACE_SYSCALL_INFO_ENTRY) | arch << 32];
    expected.push(program::outside_gate_compared_address().into());
    expected.push(child.read(|shared| shared.state.stack).into());
    expected.push(registers.ax.into());
    expected.extend(arguments.map(u64::from));
    let got: Vec<_> = (0..expected.len()).map(|index| word(&entry, index)).collect();
    expect_equal("what is told of a 32-bit tracee's call", got, expected)?;
    expect_equal("detaching", tracee.request(libc::PTRACE_DETACH, 0, 0), Ok(0))?;
    let completed = child.await_exit(&requests)?;
    let registers_after = completed[0].registers_after;
    expect_equal(
        "registers but the result",
        CompatRegisters { ax: registers.ax, ..registers_after },
        registers,
    )?;
    if probe::environment().features.contains(&Feature::SeccompFilter) {
        return filtered_call_of_tracee();
    }
    Ok(())
}

/// `ptrace_get_syscall_info_seccomp()`: the same for a 32-bit call of 64-bit code, at the stop for a filter.
fn filtered_call_of_tracee() -> Check {
    const DATA: u32 = 0x1234;
    let number = call_number(libc::SYS_umask);
    let arguments = [
        (Reg::Bx, u64::from(u32::MAX)),
        (Reg::Cx, 0x101),
        (Reg::Dx, 0x202),
        (Reg::Si, 0x303),
        (Reg::Di, 0x404),
        (Reg::Bp, 0x505),
    ];
    // The filter looks at the number only, which is another call in 32 bits. No descriptor is `u32::MAX`.
    let mut call = arch::Registers::for_call(number, [1, 2, 3, 4, 5, 6]);
    for (reg, value) in arguments {
        call[reg] = value;
    }
    let tracee = Tracee::start(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        if filter_umask(libc::SECCOMP_RET_TRACE | DATA).is_err() {
            return SETUP_FAILED;
        }
        let _ = arch::compat_gate().issue(&call);
        0
    })?;
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESECCOMP;
    tracee
        .request(libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned()))
        .map_err(refused_request("PTRACE_SETOPTIONS"))?;
    let filter_stop = WaitStatus::Stopped(libc::SIGTRAP | libc::PTRACE_EVENT_SECCOMP << 8);
    expect_equal("the tracee", tracee.resume(CONT, 0)?, filter_stop)?;
    let info = ptrace::call_info(tracee.pid).map_err(refused_request("PTRACE_GET_SYSCALL_INFO"))?;
    let word = |index: usize| u64::from_ne_bytes(std::array::from_fn(|i| info[8 * index + i]));
    let arch = u64::from(arch::AUDIT_ARCH_COMPAT);
    let mut expected = vec![u64::from(PTRACE_SYSCALL_INFO_SECCOMP) | arch << 32];
    expected.extend([arch::compat_gate().compared_address(), number]);
    expected.extend(arguments.map(|(_, value)| value));
    expected.push(DATA.into());
    // All words but the stack pointer.
    let got: Vec<_> = [0, 1].into_iter().chain(3..=expected.len()).map(word).collect();
    expect_equal("what is told of a filtered 32-bit call", got, expected)?;
    expect_success(tracee.resume(CONT, 0)?)
}
