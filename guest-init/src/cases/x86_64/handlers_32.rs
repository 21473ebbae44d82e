// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Handlers of 32-bit programs: the segments, registers, stack and return address with which they start, and what
//! their return leaves behind. Also sleeps of such programs that restart without a handler.

use super::compat::{
    self as program_32, Program, RESTORER, SIGINFO, arm_inside_request, inside_request,
};
use crate::arch::compat::{self, Registers, Request, UNCHANGED_SELECTOR, context_index, number};
use crate::arch::{USER_CS, USER_DS, USER32_CS};
use crate::case::{Check, Failure};
use crate::cases::restart::is_asleep;
use crate::support::*;
use crate::sys::{self, WaitStatus};

/// The first segment of a thread's own (`GDT_ENTRY_TLS_MIN`), and its selector.
const OWN_ENTRY: u16 = 12;
const OWN_DS: u16 = OWN_ENTRY << 3 | 3;
/// The flags of a `struct user_desc`: `seg_32bit`, `limit_in_pages` and `useable`.
const FLAT_DATA: u32 = 0x51;

/// The length of the alternate stack.
const ALTERNATE_LENGTH: u32 = 0x2000;
/// The address after the alternate stack.
const ALTERNATE_END: u32 = compat::SHARED_END;
/// More than a 32-bit frame with its floating point state needs.
const FRAME_LENGTH: u32 = 0x4000;

/// A request that makes [`OWN_DS`] a flat segment of data.
pub(super) fn own_segment_request(program: &Program) -> Request {
    let segment = program.write_slot(1, [OWN_ENTRY.into(), 0, 0xf_ffff, FLAT_DATA]);
    inside_request(number::SET_THREAD_AREA, &[segment])
}

/// Requests that make [`OWN_DS`] a flat segment of data, and set the alternate stack.
fn prepare_requests(program: &Program) -> [Request; 2] {
    let stack = program.write_slot(2, [ALTERNATE_END - ALTERNATE_LENGTH, 0, ALTERNATE_LENGTH]);
    [own_segment_request(program), inside_request(number::SIGALTSTACK, &[stack, 0])]
}

/// The address to which a handler returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restorer {
    /// The program's own, by `SA_RESTORER`.
    Own,
    /// The vDSO's, as there is neither a restorer nor `SA_RESTORER`.
    Vdso,
    /// The vDSO's: `sa_restorer` is this stack's end, without `SA_RESTORER`.
    Stack(u32),
}

/// A call whose handler starts.
#[derive(Clone, Copy, Debug)]
struct Entered {
    restorer: Restorer,
    /// DS, ES and SS at the call.
    segments: [u16; 3],
    /// Whether 64-bit code makes the call.
    is_long: bool,
    /// Whether the handler's stack is the alternate one.
    is_on_alternate_stack: bool,
}

const ENTERED: [Entered; 5] = [
    Entered {
        restorer: Restorer::Own,
        segments: [0, 0, OWN_DS],
        is_long: false,
        is_on_alternate_stack: false,
    },
    Entered {
        restorer: Restorer::Vdso,
        segments: [OWN_DS, OWN_DS, OWN_DS],
        is_long: false,
        is_on_alternate_stack: false,
    },
    // The restorer is a stack only if the program has another stack segment than most.
    Entered {
        restorer: Restorer::Stack(ALTERNATE_END),
        segments: [0, OWN_DS, USER_DS],
        is_long: false,
        is_on_alternate_stack: false,
    },
    Entered {
        restorer: Restorer::Stack(ALTERNATE_END),
        segments: [OWN_DS, 0, OWN_DS],
        is_long: false,
        is_on_alternate_stack: true,
    },
    Entered {
        restorer: Restorer::Own,
        segments: [0, OWN_DS, USER_DS],
        is_long: true,
        is_on_alternate_stack: false,
    },
];

/// A request that installs `compat::start_handler` for a signal, with this return address.
fn handler_request(
    program: &Program,
    slot: usize,
    signal: i32,
    siginfo: u32,
    restorer: Restorer,
) -> Request {
    let (flags, address) = match restorer {
        Restorer::Own if siginfo != 0 => (siginfo | RESTORER, compat::restorer()),
        Restorer::Own => (RESTORER, compat::plain_restorer()),
        Restorer::Vdso => (siginfo, 0),
        Restorer::Stack(end) => (siginfo, end),
    };
    let handler = compat::start_handler();
    program_32::sigaction_with_restorer_request(program, slot, signal, handler, flags, address)
}

/// A request for a call that is dispatched, with these segments.
fn call_request(segments: [u16; 3], is_long: bool) -> Request {
    let [si, di, bp] = segments.map(u32::from);
    let (gate, getpid) = match is_long {
        false => (compat::segments_gate(), number::GETPID),
        true => (compat::long_segments_gate(), u32::try_from(libc::SYS_getpid).unwrap_or(0)),
    };
    Request::new(gate, BLOCK, Registers { ax: getpid, si, di, bp, ..Registers::default() })
}

/// `ia32_setup_frame()`, `ia32_setup_rt_frame()` and `get_sigframe()`.
pub(crate) fn entered() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let formats = [(SIGINFO, vdso.rt_sigreturn), (0, vdso.sigreturn)];
    let mut requests = prepare_requests(&program).to_vec();
    requests.push(arm_inside_request());
    let prepared = requests.len();
    for (format, (siginfo, _)) in formats.into_iter().enumerate() {
        for (index, entered) in ENTERED.iter().enumerate() {
            let slot = 4 + format * ENTERED.len() + index;
            let signal = libc::SIGSYS;
            requests.push(handler_request(&program, slot, signal, siginfo, entered.restorer));
            requests.push(call_request(entered.segments, entered.is_long));
        }
    }
    let (status, completed) = program.run_until_end(&requests)?;
    let starts = program.read(|shared| shared.state.handler_starts);
    let stack = program.read(|shared| shared.state.stack);
    for request in &completed[..prepared] {
        expect_equal("result of preparing", request.registers_after.ax, 0)?;
    }
    let mut pairs = completed[prepared..].chunks(2).zip(starts);
    for (siginfo, vdso_restorer) in formats {
        let own = if siginfo == 0 { compat::plain_restorer() } else { compat::restorer() };
        for entered in &ENTERED {
            let Some((pair, start)) = pairs.next() else {
                return Err(Failure::Broken("too few records".into()));
            };
            let what = format!("SA_SIGINFO {}, {entered:x?}", siginfo != 0);
            let end = if entered.is_on_alternate_stack { ALTERNATE_END } else { stack };
            let is_on_stack = (end - FRAME_LENGTH..end).contains(&start.stack);
            let got = format!("{start:x?}, whose program has the stack {stack:#x}");
            ensure(is_on_stack, &format!("handler on its stack, {what}"), || got)?;
            let return_address =
                if entered.restorer == Restorer::Own { own } else { vdso_restorer };
            expect_equal(
                &format!("DS, ES, SS, CS and return address of the handler, {what}"),
                [start.ds, start.es, start.ss, start.cs, start.return_address],
                [USER_DS.into(), USER_DS.into(), USER_DS.into(), USER32_CS.into(), return_address],
            )?;
            // The arguments of a handler that takes them in registers (`-mregparm=3`). A frame with a siginfo
            // begins with four words, and has a context after the siginfo.
            let [info, context] = match siginfo {
                0 => [0, 0],
                _ => [start.stack + 16, start.stack + 144],
            };
            expect_equal(
                &format!("EAX, EDX and ECX of the handler, {what}"),
                [start.ax, start.dx, start.cx],
                [libc::SIGSYS.cast_unsigned(), info, context],
            )?;
            let after = pair[1].registers_after;
            let [ds, es, ss] = entered.segments;
            let cs = if entered.is_long { USER_CS } else { USER32_CS };
            expect_equal(
                &format!("DS, ES, SS, CS after the handler, {what}"),
                [after.ax, after.bx, after.cx, after.dx],
                [ds, es, ss, cs].map(u32::from),
            )?;
            expect_equal(&format!("change of the stack, {what}"), pair[1].stack_change, 0)?;
        }
    }
    expect_equal("SIGSYS handled", program.sigsys_count() as usize, 2 * ENTERED.len())?;
    let expected = i32::try_from(requests.len()).unwrap_or(-1);
    expect_equal("the 32-bit program", status, WaitStatus::Exited(expected))
}

/// The legacy switch of stacks in `get_sigframe()`: any memory below `sa_restorer` is a stack.
pub(crate) fn legacy_stack() -> Check {
    for siginfo in [SIGINFO, 0] {
        let program = Program::start()?;
        program.vdso()?;
        let [segment, _] = prepare_requests(&program);
        let restorer = Restorer::Stack(ALTERNATE_END);
        let (status, completed) = program.run_until_end(&[
            segment,
            handler_request(&program, 4, libc::SIGSYS, siginfo, restorer),
            arm_inside_request(),
            call_request([USER_DS, USER_DS, OWN_DS], false),
        ])?;
        for request in &completed[..3] {
            expect_equal("result of preparing", request.registers_after.ax, 0)?;
        }
        let expected = WaitStatus::Exited(4).to_string();
        expect_equal("the 32-bit program", status.to_string(), expected)?;
        let start = program.read(|shared| shared.state.handler_starts[0]);
        let is_on_stack = (ALTERNATE_END - FRAME_LENGTH..ALTERNATE_END).contains(&start.stack);
        ensure(is_on_stack, "a handler below its sa_restorer", || format!("{start:x?}"))?;
    }
    Ok(())
}

/// `ia32_restore_sigcontext()`: the sleep that a handler interrupted cannot go on after the handler's return.
pub(crate) fn interrupted_sleep() -> Check {
    const SLEEP: u32 = 1;
    const INTERRUPTED: u32 = (-libc::EINTR).cast_unsigned();
    let signal = libc::SIGUSR1;
    for siginfo in [SIGINFO, 0] {
        let program = Program::start()?;
        // Longer than it takes to see that the program sleeps, and shorter than the time a case has.
        let duration = program.write_slot(1, [4u32, 0]);
        let requests = [
            handler_request(&program, 4, signal, siginfo, Restorer::Own),
            inside_request(number::NANOSLEEP, &[duration, 0]),
            inside_request(number::RESTART_SYSCALL, &[]),
        ];
        program.start_requests(&requests);
        await_sleep(&program, SLEEP)?;
        sys::kill(program.pid(), signal).map_err(broken("kill"))?;
        let completed = program.await_exit(&requests)?;
        let results: Vec<u32> =
            completed.iter().map(|request| request.registers_after.ax).collect();
        let what = format!("sigaction, nanosleep, restart_syscall, SA_SIGINFO {}", siginfo != 0);
        expect_equal(&what, results, vec![0, INTERRUPTED, INTERRUPTED])?;
        expect_equal("signals handled", program.sigsys_count(), 1)?;
    }
    Ok(())
}

/// Waits until the program sleeps in the request with this index.
fn await_sleep(program: &Program, request: u32) -> Check {
    while !is_asleep(program.pid())? || program.read(|shared| shared.state.requests_done) != request
    {
        sys::sched_yield();
    }
    Ok(())
}

/// `get_nr_restart_syscall()`: the number of `restart_syscall` is that of the width of the call.
pub(crate) fn stopped_sleep() -> Check {
    const SLEEP: u32 = 2;
    let program = Program::start()?;
    // Longer than any case waits.
    let duration = program.write_slot(8, [10u32, 0]);
    let call = Registers::for_call(number::NANOSLEEP, &[duration, 0]);
    let requests = [
        program_32::sigsys_handler_request(&program, SIGINFO | RESTORER),
        arm_inside_request(),
        Request::new(compat::outside_gate(), ALLOW, call),
    ];
    program.start_requests(&requests);
    await_sleep(&program, SLEEP)?;
    sys::kill(program.pid(), libc::SIGSTOP).map_err(broken("kill"))?;
    let stop = sys::wait(program.pid(), libc::WUNTRACED).map_err(broken("wait4"))?;
    expect_equal("the program", stop, Some((program.pid(), WaitStatus::Stopped(libc::SIGSTOP))))?;
    program.write(|shared| shared.state.selector = BLOCK.into());
    sys::kill(program.pid(), libc::SIGCONT).map_err(broken("kill"))?;
    let completed = program.await_exit(&requests)?;
    expect_equal("SIGSYS handled", program.sigsys_count(), 1)?;
    let record = program.sigsys_record(0)?;
    let next = compat::outside_gate_compared_address();
    program_32::expect_siginfo(&record, next, number::RESTART_SYSCALL)?;
    let [ax, ip] = [context_index::AX, context_index::IP].map(|word| record.user_context[word]);
    expect_equal("EAX and EIP in the frame", [ax, ip], [number::RESTART_SYSCALL, next])?;
    let after = completed[SLEEP as usize].registers_after;
    let expected = Registers { ax: number::RESTART_SYSCALL, ..call };
    expect_equal("registers after the call", after, expected)
}

/// Switches the vDSO of 32-bit programs on and off, for programs that start later.
const VDSO_SWITCH: &str = "/proc/sys/abi/vsyscall32";

/// `ia32_setup_frame()`: without a vDSO, the return address is that of code in the frame.
pub(crate) fn code_in_frame() -> Check {
    for selector_in_handler in [ALLOW.into(), UNCHANGED_SELECTOR] {
        std::fs::write(VDSO_SWITCH, "0").map_err(broken(VDSO_SWITCH))?;
        let program = Program::start();
        std::fs::write(VDSO_SWITCH, "1").map_err(broken(VDSO_SWITCH))?;
        let program = program?;
        expect_equal("vDSO of the program", program.read(|shared| shared.state.vdso), 0)?;
        program.write(|shared| shared.state.selector_in_handler = selector_in_handler);
        let handler = compat::plain_sigsys_handler();
        let signal = libc::SIGSYS;
        let call = Registers::for_call(number::GETPID, &[1, 2, 3]);
        let requests = [
            program_32::sigaction_with_restorer_request(&program, 0, signal, handler, 0, 0),
            arm_inside_request(),
            Request::new(compat::outside_gate(), BLOCK, call),
        ];
        let (status, completed) = program.run_until_end(&requests)?;
        expect_equal("SIGSYS handled", program.sigsys_count(), 1)?;
        if selector_in_handler == UNCHANGED_SELECTOR {
            // SIGSYS is blocked in its handler.
            expect_killed(status, signal, 0)?;
            continue;
        }
        let expected = WaitStatus::Exited(3).to_string();
        expect_equal("the 32-bit program", status.to_string(), expected)?;
        expect_equal("registers after the call", completed[2].registers_after, call)?;
    }
    Ok(())
}
