// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Helpers for the tests: a verdict with every outcome, and rendering in a form given by name.

use sudbox_report::{
    Bug, CaseReport, Kernel, Outcome, RecordingComparison, Report, Screen, Verdict,
};

/// Renders a report for a file, in the form with this name.
pub(crate) fn rendered<T: Report>(subject: &T, form: &str) -> String {
    let form = T::form(form).unwrap_or_else(|| panic!("there is no form {form}"));
    (form.render)(subject, Screen::FILE).to_string()
}

pub(crate) fn case(id: &str, outcome: Outcome, got: &str) -> CaseReport {
    CaseReport {
        id: id.into(),
        promise: "a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS".into(),
        kernel_function: "syscall_user_dispatch()".into(),
        outcome,
        expected: String::new(),
        detail: got.into(),
        bug: None,
        log: vec![],
        console: None,
        rerun: format!("sudbox run --kernel v6.12 {id}"),
        duration_micros: 1500,
    }
}

/// A verdict with at least one case of every outcome.
pub(crate) fn every_outcome() -> Verdict {
    let mut fail = case("selector/invalid-value-kills", Outcome::Fail, "it exited with 0");
    fail.expected = "death by SIGSYS".into();
    fail.log = vec!["selector = 0x2".into()];
    let mut crash =
        case("registers/all-kept", Outcome::Crash, "BUG: kernel NULL pointer dereference");
    crash.expected = "the kernel goes on".into();
    crash.console = Some(CONSOLE.into());
    crash.duration_micros = 0;
    let mut hang = case("signals/nested", Outcome::Hang, "no end within 2 s");
    hang.expected = "an end".into();
    let mut known =
        case("ptrace/known-bug", Outcome::Known, "fedcba987654 (\"ptrace: forget it\")");
    known.bug = Some(Bug { id: "forgetful".into(), citation: "ptrace: forget it".into() });
    let mut changed = case("compare/trap", Outcome::Changed, "frame.si_errno = 0x26");
    changed.expected = "as recorded of 6.12.117: frame.si_errno = 0x0".into();
    Verdict {
        sudbox_version: "0.1.0".into(),
        start_time: "2026-11-29T19:43:58Z".into(),
        kernel: Kernel {
            reference: "v6.12".into(),
            release: "6.12.117".into(),
            arch: "x86_64".into(),
            flavour: "default".into(),
            source: "linux-source-6.12 6.12.117-1, sha256 0123456789abcdef".into(),
            substitution_note: Some(
                "v6.12 is not to be had here, 6.12.117 stands in for it.".into(),
            ),
        },
        machine: "qemu microvm on tcg: /dev/kvm cannot be opened".into(),
        image_id: "images/0123".into(),
        options: "--append 'loglevel=8' --memory 512".into(),
        guest_facts: vec!["AuthenticAMD EPYC, 2 CPUs, dispatch".into()],
        strict: false,
        boot_selected: true,
        not_selected: 7,
        unjudged_reason: None,
        cases: vec![
            case("arguments/zero-offset", Outcome::Pass, ""),
            case("arguments/wrapping-range", Outcome::Pass, ""),
            fail,
            case("selector/allow-passes", Outcome::Pass, ""),
            crash,
            hang,
            changed,
            case("range/fixed-bug", Outcome::Fixed, "0123456789ab (\"fix the range\")"),
            case("registers/avx", Outcome::Unmet, "needs the CPU feature avx"),
            case("registers/avx512", Outcome::Unmet, "needs the CPU feature avx512f"),
            known,
            case("range/inclusive-on", Outcome::Absent, "inclusive"),
            case("range/inclusive-wraps", Outcome::Absent, "inclusive"),
        ],
        measurements: Vec::new(),
        comparison: Some(RecordingComparison {
            releases: vec!["6.12.117".into()],
            compared: 68,
            known_changes: vec!["a longer area (7.0)".into()],
            reason: None,
        }),
        boots: 3,
        restored: 0,
        duration_millis: 2345,
    }
}

pub(crate) const CONSOLE: &str = "\
[    0.512345] BUG: kernel NULL pointer dereference, address: 0000000000000010
[    0.512400] #PF: supervisor read access in kernel mode
[    0.512500] #PF: error_code(0x0000) - not-present page
[    0.512900] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
[    0.513000] CPU: 0 UID: 0 PID: 77 Comm: case Not tainted 6.12.0 #1
[    0.513100] RIP: 0010:syscall_user_dispatch+0x3a/0x120
[    0.513110] Code: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 <48>
[    0.513120] RAX: 0000000000000000 RBX: ffffc90000013f58 RCX: 0000000000000000
[    0.513130] RDX: 0000000000000000 RSI: 0000000000000000 RDI: 0000000000000000
[    0.513200] Call Trace:
[    0.513300]  <TASK>
[    0.513310]  ? __die+0x1f/0x70
[    0.513400]  do_syscall_64+0x9e/0x1a0
[    0.513410]  entry_SYSCALL_64_after_hwframe+0x77/0x7f
[    0.513500]  </TASK>
[    0.513600] ---[ end trace 0000000000000000 ]---
[    0.513800] Kernel panic - not syncing: Fatal exception
";
