// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A dispatch while another signal is pending, and a dispatch whose signal frame cannot be written.

use super::check_on;
use super::userfault::Userfault;
use crate::arch::{self, Reg};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, case, case_not_in_core};
use crate::queued_signal::{Queue, queue_signal, queued_siginfo};
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, SigAction};
use std::sync::atomic::Ordering;
use sudbox_protocol::{Arch, Feature};

pub(super) const CASES: &[Case] = &[
    case(
        "signals/before-pending",
        "SIGSYS is delivered before a signal that was pending earlier, and the handler of that signal \
         interrupts the handler of SIGSYS",
        "dequeue_synchronous_signal()",
        before_pending,
    )
    .features(&[Feature::Dispatch, Feature::Userfaultfd])
    .needs(&[Need::Root]),
    case(
        "signals/pending-once",
        "a SIGSYS that is sent twice while it is blocked, as in the handler of a dispatch, is handled once, with \
         the first siginfo; the queues of the thread and of the process have one each",
        "legacy_queue()",
        pending_once,
    ),
    case(
        "signals/bad-stack-told",
        "if the frame cannot be written, SIGSEGV is sent and the call is not executed",
        "signal_setup_done()",
        bad_stack_reported,
    ),
    case_not_in_core(
        "signals/frame-unwritable-told",
        "if a part of the frame cannot be written, SIGSEGV is sent and the call is not executed",
        "get_sigframe(), x64_setup_rt_frame(), ia32_setup_rt_frame()",
        check_on!("x86_64", this_arch::refused_frames::unwritable),
    )
    .only(X86_FRAMES),
    case_not_in_core(
        "signals/keys-kept-without-frame",
        "if a part of the frame cannot be written, the program's rights to protection keys are as before",
        "x64_setup_rt_frame()",
        check_on!("x86_64", this_arch::refused_frames::keys_kept),
    )
    .features(&[Feature::Dispatch, Feature::Pkeys])
    .needs(&[Need::CpuFeature("pku")])
    .known_bugs(&["keys-opened-without-frame"])
    .only(OnlyArchs::PROTECTION_KEYS),
    case_not_in_core(
        "signals/frame-unreadable-told",
        "a return by a frame that cannot be read, or whose stack segment cannot be loaded, sends SIGSEGV, and \
         no result is taken for that of a call to restart",
        "rt_sigreturn(), restore_sigcontext(), ia32_restore_sigcontext()",
        check_on!("x86_64", this_arch::refused_frames::unreadable),
    )
    .only(X86_FRAMES),
    case_not_in_core(
        "signals/frame-fields-written",
        "the kernel writes each byte of a frame but padding, reserved words, and the siginfo of a handler without \
         SA_SIGINFO",
        "x64_setup_rt_frame(), ia32_setup_frame(), ia32_setup_rt_frame()",
        check_on!("x86_64", this_arch::written_frames::fields_written),
    )
    .only(X86_FRAMES),
    case_not_in_core(
        "signals/handler-32-entered",
        "a 32-bit handler starts with the kernel's segments, its arguments in registers, on its stack, and returns \
         by the vDSO without SA_RESTORER; then the program has its own segments again",
        "ia32_setup_frame(), ia32_setup_rt_frame(), get_sigframe()",
        check_on!("x86_64", this_arch::handlers_32::entered),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "signals/code-in-frame-32",
        "without a vDSO and SA_RESTORER, a 32-bit handler returns by code in its frame, whose call is dispatched \
         like any other",
        "ia32_setup_frame()",
        check_on!("x86_64", this_arch::handlers_32::code_in_frame),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .needs(&[Need::Root, Need::Vm])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "signals/legacy-stack-32",
        "a 32-bit handler without SA_RESTORER runs below sa_restorer if the program has another stack segment",
        "get_sigframe()",
        check_on!("x86_64", this_arch::handlers_32::legacy_stack),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .known_bugs(&["legacy-stack-refused"])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
];

/// The restriction of cases that know the offsets in a frame.
const X86_FRAMES: OnlyArchs =
    OnlyArchs { archs: &[Arch::X86_64], reason: "the frames are those of x86-64" };

/// The index of the shared word with the next instruction in the frame of the last [`record_interruption`].
const INTERRUPTED_ADDRESS: usize = 0;
/// The index of the shared word with the number of dispatches that were handled before
/// [`record_interruption`], plus 1. The handler of SIGSYS counts itself after it has been interrupted.
const DISPATCHES_BEFORE: usize = 1;

/// A handler that stores [`INTERRUPTED_ADDRESS`] and [`DISPATCHES_BEFORE`].
extern "C" fn record_interruption(_: i32, _: *const u8, frame: *mut arch::UserContext) {
    // SAFETY: the kernel passes the signal frame.
    let next = unsafe { &*frame }.registers[Reg::INSTRUCTION_POINTER];
    set_shared_word(INTERRUPTED_ADDRESS, next);
    set_shared_word(DISPATCHES_BEFORE, u64::from(dispatch_count()) + 1);
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
}

/// Installs [`record_interruption`] as the handler of a signal.
fn install_record_interruption(signal: i32) -> Check {
    let action = SigAction {
        handler: record_interruption as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: the address is that of a signal handler.
    unsafe { sys::sigaction(signal, &action) }.map_err(broken("rt_sigaction"))
}

fn before_pending() -> Check {
    handle_dispatches(do_nothing)?;
    install_record_interruption(libc::SIGUSR1)?;
    let filled_page = map_pages(1)?;
    // SAFETY: the page belongs to this case.
    unsafe { filled_page.write(BLOCK) };
    let page = map_pages(1)?;
    // SIGUSR1 arrives while the call waits for its selector, so both signals are pending at the end of
    // the call.
    Userfault::register(page, 1, filled_page, 0)?
        .before_first_fault(|| {
            let process = sys::getpid();
            let _ = sys::tgkill(process, process, libc::SIGUSR1);
        })
        .start_thread()?;
    let regs = fresh_umask_call();
    arm_with_selector(page as u64)?;
    let after = arch::gate().issue(&regs);
    disarm()?;
    expect_equal("SIGUSR1 handled", shared().other_signals.load(Ordering::SeqCst), 1)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_equal_hex(
        "instruction that SIGUSR1 interrupted",
        shared_word(INTERRUPTED_ADDRESS),
        arch::handler_entry_address(handler_address()),
    )?;
    expect_equal("SIGSYS handled before SIGUSR1", shared_word(DISPATCHES_BEFORE) - 1, 0)?;
    let record = first_sigsys_record()?;
    expect_equal_hex(
        "next instruction in SIGSYS's frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        arch::gate().compared_address(),
    )?;
    expect_equal_hex("mask in SIGSYS's frame", record.frame_mask, 0)?;
    expect_result_kept("after both", &after)?;
    expect_equal("effect", take_umask_effect(), false)
}

/// Handler body: queues a SIGSYS twice, if this is the first one.
fn queue_in_first_handler(dispatch: Dispatch<'_>) {
    let queue = |value| queue_signal(Queue::Task, libc::SIGSYS, value);
    if dispatch.index == 0 {
        set_shared_word(0, u64::from(queue(5).and_then(|()| queue(6)).is_ok()));
    }
}

fn pending_once() -> Check {
    handle_dispatches(do_nothing)?;
    use Queue::{Process, Task};
    let siginfo = |value| queued_siginfo(sys::getpid(), libc::SIGSYS, value);
    // The queue and the value of each SIGSYS, and the values handled, those of the task first.
    for (queued, handled) in [
        (&[(Task, 1), (Task, 2)][..], &[1][..]),
        (&[(Process, 1), (Process, 2)], &[1]),
        (&[(Process, 1), (Task, 2), (Process, 3), (Task, 4)], &[2, 1]),
    ] {
        reset_dispatch_count();
        let old_mask = sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(libc::SIGSYS))
            .map_err(broken("rt_sigprocmask"))?;
        let sent =
            queued.iter().try_for_each(|(queue, value)| queue_signal(*queue, libc::SIGSYS, *value));
        sys::sigmask(libc::SIG_SETMASK, old_mask).map_err(broken("rt_sigprocmask"))?;
        sent.map_err(broken("rt_tgsigqueueinfo"))?;
        let what = format!("queued {queued:?}");
        expect_equal(&format!("SIGSYS handled, {what}"), dispatch_count() as usize, handled.len())?;
        for (index, value) in handled.iter().enumerate() {
            let got = shared().sigsys_record(index).map_or([0; 128], |record| record.info);
            expect_equal(&format!("siginfo, {what}"), got, siginfo(*value))?;
        }
    }
    handle_dispatches(queue_in_first_handler)?;
    arm()?;
    reset_dispatch_count();
    let after = issue_blocked(&arch::gate(), &fresh_umask_call());
    disarm()?;
    expect_equal("a SIGSYS queued twice in the handler", shared_word(0), 1)?;
    expect_equal("SIGSYS handled", dispatch_count(), 2)?;
    let second = shared().sigsys_record(1).map_or([0; 128], |record| record.info);
    expect_equal("siginfo after that of the dispatch", second, siginfo(5))?;
    expect_result_kept("after both", &after)?;
    expect_equal("effect", take_umask_effect(), false)
}

fn bad_stack_reported() -> Check {
    let stack = map_pages(16)?;
    protect(stack, 16, libc::PROT_READ)?;
    install_record_interruption(libc::SIGSEGV)?;
    handle_dispatches_with(do_nothing, libc::SA_ONSTACK, 0)?;
    // SAFETY: no handler can run there, as the case checks.
    unsafe { sys::sigaltstack(stack as u64, 16 * PAGE_SIZE as u64, 0) }
        .map_err(broken("sigaltstack"))?;
    arm()?;
    let after = issue_blocked(&arch::gate(), &fresh_umask_call());
    disarm()?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    expect_equal("SIGSEGV handled", shared().other_signals.load(Ordering::SeqCst), 1)?;
    expect_equal_hex(
        "instruction that SIGSEGV interrupted",
        shared_word(INTERRUPTED_ADDRESS),
        arch::gate().compared_address(),
    )?;
    expect_result_kept("after SIGSEGV", &after)?;
    expect_equal("effect", take_umask_effect(), false)?;
    let mask = sys::sigmask(libc::SIG_BLOCK, 0).map_err(|e| Failure::Broken(e.to_string()))?;
    expect_equal_hex("mask after it", mask, 0)
}
