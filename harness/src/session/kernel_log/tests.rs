// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// CPU time in seconds that this thread has used. Unlike the time of day, it does not depend on
/// other load of the machine.
pub(crate) fn cpu_seconds() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the kernel to write for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0);
    time.tv_sec
}

/// Maximum CPU time in seconds for a scan of 1 MiB of each hostile pattern. Without optimisation, a
/// linear scan takes about one second and a quadratic scan takes minutes.
pub(crate) const MAX_SCAN_SECONDS: i64 = 15;

fn kind(text: &str) -> Option<FaultKind> {
    scan(text).map(|report| report.kind)
}

const OOPS: &str = "\
[    0.412345] sudbox: before
[    0.512345] BUG: kernel NULL pointer dereference, address: 0000000000000010
[    0.512400] #PF: supervisor read access in kernel mode
[    0.512900] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
[    0.513000] CPU: 0 UID: 0 PID: 77 Comm: case Not tainted 6.12.0 #1
[    0.513100] RIP: 0010:syscall_user_dispatch+0x3a/0x120
[    0.513200] Call Trace:
[    0.513300]  <TASK>
[    0.513400]  do_syscall_64+0x9e/0x1a0
[    0.513500]  </TASK>
[    0.513600] ---[ end trace 0000000000000000 ]---
[    0.513700] RIP: 0010:syscall_user_dispatch+0x3a/0x120
";

const PANIC: &str = "\
[    0.513800] Kernel panic - not syncing: Fatal exception
[    0.513900] ---[ end Kernel panic - not syncing: Fatal exception ]---
[    0.600000] after
";

#[test]
fn the_excerpt_of_an_oops_ends_with_its_trace() {
    let report = scan(OOPS).unwrap();
    assert_eq!(report.kind, FaultKind::Bug);
    assert_eq!(report.headline, "BUG: kernel NULL pointer dereference, address: 0000000000000010");
    assert!(report.excerpt.starts_with("[    0.512345] BUG: kernel NULL"));
    assert!(report.excerpt.ends_with("---[ end trace 0000000000000000 ]---"));
    assert!(report.invalidates_later_cases());
}

#[test]
fn the_excerpt_of_an_oops_that_leads_to_a_panic_ends_with_the_panic() {
    let report = scan(&format!("{OOPS}{PANIC}")).unwrap();
    assert_eq!(report.kind, FaultKind::Bug);
    assert!(report.excerpt.ends_with("---[ end Kernel panic - not syncing: Fatal exception ]---"));
}

#[test]
fn each_report_of_the_kernel_has_its_kind() {
    for (line, expected) in [
        (
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009",
            FaultKind::Panic,
        ),
        ("VFS: Unable to mount root fs on unknown-block(0,0)", FaultKind::Panic),
        ("PANIC: early exception 0x0d IP 10:ffffffff81000123 error 0 cr2 0x0", FaultKind::Panic),
        (
            "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
            FaultKind::Oops,
        ),
        ("general protection fault: 0000 [#1] SMP", FaultKind::Oops),
        ("invalid opcode: 0000 [#12] SMP", FaultKind::Oops),
        ("Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP", FaultKind::Bug),
        (
            "Unable to handle kernel NULL pointer dereference at virtual address 0010",
            FaultKind::Oops,
        ),
        ("BUG: unable to handle page fault for address: ffffc90000014000", FaultKind::Bug),
        ("BUG: scheduling while atomic: case/77/0x00000002", FaultKind::Bug),
        ("kernel BUG at kernel/entry/syscall_user_dispatch.c:42!", FaultKind::Bug),
        ("list_del corruption. prev->next should be 0, but was 1. (prev=2)", FaultKind::Bug),
        ("refcount_t: underflow; use-after-free.", FaultKind::Bug),
        ("WARNING: CPU: 0 PID: 1 at kernel/signal.c:12 send_signal+0x1/0x2", FaultKind::Warning),
        ("WARNING: kernel/signal.c:12 at send_signal+0x1/0x2, CPU#0: case/77", FaultKind::Warning),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [case:77]", FaultKind::Lockup),
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", FaultKind::Lockup),
        ("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", FaultKind::Lockup),
        ("BUG: workqueue lockup - pool cpus=0 node=0", FaultKind::Lockup),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", FaultKind::RcuStall),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", FaultKind::RcuStall),
        ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {", FaultKind::RcuStall),
        ("INFO: task case:77 blocked for more than 122 seconds.", FaultKind::HungTask),
        ("BUG: KASAN: slab-use-after-free in foo+0x1/0x2", FaultKind::MemoryAccess),
        ("BUG: KFENCE: out-of-bounds read in foo+0x1/0x2", FaultKind::MemoryAccess),
        ("BUG: KMSAN: uninit-value in foo+0x1/0x2", FaultKind::MemoryAccess),
        ("BUG: KCSAN: data-race in foo / bar", FaultKind::DataRace),
        ("UBSAN: array-index-out-of-bounds in kernel/signal.c:1:2", FaultKind::UndefinedBehaviour),
        ("WARNING: possible circular locking dependency detected", FaultKind::LockMisuse),
        ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected", FaultKind::LockMisuse),
        ("WARNING: case/77 still has locks held!", FaultKind::LockMisuse),
        ("WARNING: suspicious RCU usage", FaultKind::LockMisuse),
        ("[ BUG: Invalid wait context ]", FaultKind::LockMisuse),
        ("DEBUG_LOCKS_WARN_ON(lock->magic != lock)", FaultKind::LockMisuse),
        ("sudbox-guest: no host: connect: ENODEV", FaultKind::InitGaveUp),
        ("sudbox-guest: problem: cannot mount /proc", FaultKind::InitGaveUp),
    ] {
        for prefix in ["", "[    0.123456] ", "<4>[   10.5][   T77] ", "[1234.567890][    C0] "] {
            let report = scan(&format!("before\n{prefix}{line}\r\nafter\n"))
                .unwrap_or_else(|| panic!("{prefix}{line}"));
            assert_eq!(report.kind, expected, "{prefix}{line}");
            assert!(line.ends_with(&report.headline), "{line}: {}", report.headline);
            assert!(report.excerpt.ends_with("after"), "{line}: {}", report.excerpt);
        }
    }
}

#[test]
fn faults_of_user_processes_are_no_kernel_faults() {
    for line in [
        "traps: case[77] general protection fault ip:401000 sp:7ffd error:0 in case[401000+1000]",
        "traps: case[77] trap invalid opcode ip:401000 sp:7ffd error:0",
        "case[77]: segfault at 0 ip 0000000000401000 sp 00007ffd error 4",
        "potentially unexpected fatal signal 31.",
        "DEBUG: nothing",
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
        "WARNING: kernel stack regs at (____ptrval____) in case:77 has bad 'bp' value",
        "Kernel command line: panic=-1 oops=panic",
        "Linux version 6.12.0 (x) #1 SMP PREEMPT_DYNAMIC",
        "[Firmware Bug]: TSC ADJUST differs",
        "rcu: Hierarchical RCU implementation.",
    ] {
        assert_eq!(kind(&format!("[    0.1] {line}\n")), None, "{line}");
    }
    assert_eq!(kind(""), None);
}

#[test]
fn a_fault_that_invalidates_later_cases_replaces_an_earlier_warning() {
    let warning = "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n---[ end trace 0 ]---\n";
    let first = scan(&format!("{warning}x\n")).unwrap();
    assert_eq!((first.kind, first.invalidates_later_cases()), (FaultKind::Warning, false));
    assert_eq!(first.excerpt, warning.trim_end());
    assert_eq!(kind(&format!("{warning}{OOPS}")), Some(FaultKind::Bug));
}

#[test]
fn the_message_of_a_warning_belongs_to_the_excerpt() {
    let text = "\
------------[ cut here ]------------
Unpatched return thunk in use. This should not happen!
WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2
";
    let report = scan(text).unwrap();
    assert!(report.headline.starts_with("WARNING: CPU: 0"));
    assert!(report.excerpt.starts_with("Unpatched return thunk"));
}

#[test]
fn a_headline_is_found_after_other_output_on_its_line() {
    let text = "some process says[    0.5] Kernel panic - not syncing: x";
    let report = scan(text).unwrap();
    assert_eq!(report.headline, "Kernel panic - not syncing: x");
    let far = format!("{}{}", "y".repeat(100_000), "Kernel panic - not syncing: far\nnext");
    let report = scan(&far).unwrap();
    assert_eq!(report.headline, "Kernel panic - not syncing: far");
    assert!(report.excerpt.starts_with("Kernel panic - not syncing: far\nyyy"));
    assert!(report.excerpt.ends_with("\nnext"));
}

#[test]
fn hostile_text_is_scanned_in_linear_time() {
    let started = cpu_seconds();
    let unit =
        ["BUG", "[#1", "[", "<", " [#", "[ ]", "WARNING: ", "INFO: rcu", "\u{fffd}", "DEBUG: "];
    for unit in unit {
        let text = unit.repeat((1 << 20) / unit.len());
        if let Some(report) = scan(&text) {
            assert!(report.headline.chars().count() <= MAX_HEADLINE_CHARS + 3);
            assert!(report.excerpt.len() < 4 * MAX_EXCERPT_LINES * (MAX_LINE_CHARS + 4));
        }
    }
    let text = "Kernel panic - not syncing: x\n".repeat(30_000);
    let report = scan(&text).unwrap();
    assert_eq!(report.excerpt.lines().count(), MAX_EXCERPT_LINES);
    assert!(cpu_seconds() - started < MAX_SCAN_SECONDS);
}
