// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms of a verdict with every outcome, and of one with hostile text of the guest.

mod common;

use common::{CONSOLE, case, every_outcome, rendered};
use quick_xml::events::Event;
use sudbox_report::{Judgement, Outcome, Report as _, Screen, Verdict};

const TABLE: &str = r#"Linux 6.12.117, x86_64, default. v6.12 is not to be had here, 6.12.117 stands in for it.
  date      2026-11-29T19:43:58Z
  options   --append 'loglevel=8' --memory 512
  source    linux-source-6.12 6.12.117-1, sha256 0123456789abcdef
  machine   qemu microvm on tcg: /dev/kvm cannot be opened
  guest     AuthenticAMD EPYC, 2 CPUs, dispatch
  recorded  68 cases compared with 6.12.117; known changes: a longer area (7.0)

CRASH  registers/all-kept
  promise   a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
  expected  the kernel goes on
  got       BUG: kernel NULL pointer dereference
  kernel    syscall_user_dispatch()
  console   | [    0.512345] BUG: kernel NULL pointer dereference, address: 0000000000000010
            | [    0.512400] #PF: supervisor read access in kernel mode
            | [    0.512500] #PF: error_code(0x0000) - not-present page
            | [    0.512900] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
            | [    0.513000] CPU: 0 UID: 0 PID: 77 Comm: case Not tainted 6.12.0 #1
            | [    0.513100] RIP: 0010:syscall_user_dispatch+0x3a/0x120
            | [    0.513200] Call Trace:
            | [    0.513300]  <TASK>
            | [    0.513400]  do_syscall_64+0x9e/0x1a0
            | [    0.513410]  entry_SYSCALL_64_after_hwframe+0x77/0x7f
            | [    0.513500]  </TASK>
            | [    0.513800] Kernel panic - not syncing: Fatal exception
            (5 lines left out)
  again     sudbox run --kernel v6.12 registers/all-kept

HANG   signals/nested
  promise   a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
  expected  an end
  got       no end within 2 s
  kernel    syscall_user_dispatch()
  again     sudbox run --kernel v6.12 signals/nested

FAIL   selector/invalid-value-kills
  promise   a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
  expected  death by SIGSYS
  got       it exited with 0
  kernel    syscall_user_dispatch()
  log       | selector = 0x2
  again     sudbox run --kernel v6.12 selector/invalid-value-kills

CHANGED compare/trap
  promise   a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
  expected  as recorded of 6.12.117: frame.si_errno = 0x0
  got       frame.si_errno = 0x26
  kernel    syscall_user_dispatch()
  again     sudbox run --kernel v6.12 compare/trap

fixed       a recorded kernel bug no longer shows
  range/fixed-bug: 0123456789ab ("fix the range")

unmet       not tried: the machine lacks what it needs
  registers/avx: needs the CPU feature avx
  registers/avx512: needs the CPU feature avx512f

known       fails as a recorded kernel bug says
  ptrace/known-bug: fedcba987654 ("ptrace: forget it")

absent      the kernel does not offer it, as expected
  inclusive: range/inclusive-on range/inclusive-wraps

pass        promises kept, by group
  arguments 2      selector 1 of 2

13 cases: 1 crash, 1 hang, 1 fail, 1 changed, 1 fixed, 2 unmet, 1 known, 2 absent, 3 pass; 3 VMs,
2345 ms
BROKEN: 4 of 13
"#;

const KTAP: &str = r#"KTAP version 1
# sudbox: 0.1.0
# kernel: 6.12.117
# reference: v6.12
# stands in: v6.12 is not to be had here, 6.12.117 stands in for it.
# arch: x86_64
# flavour: default
# source: linux-source-6.12 6.12.117-1, sha256 0123456789abcdef
# machine: qemu microvm on tcg: /dev/kvm cannot be opened
# guest: AuthenticAMD EPYC, 2 CPUs, dispatch
# recorded: 68 cases compared with 6.12.117; known changes: a longer area (7.0)
1..13
ok 1 arguments/zero-offset
ok 2 arguments/wrapping-range
# promise: a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
# expected: death by SIGSYS
# got: it exited with 0
# kernel function: syscall_user_dispatch()
# log: selector = 0x2
# again: sudbox run --kernel v6.12 selector/invalid-value-kills
not ok 3 selector/invalid-value-kills # fail: it exited with 0
ok 4 selector/allow-passes
# promise: a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
# expected: the kernel goes on
# got: BUG: kernel NULL pointer dereference
# kernel function: syscall_user_dispatch()
# console: [    0.512345] BUG: kernel NULL pointer dereference, address: 0000000000000010
# console: [    0.512400] #PF: supervisor read access in kernel mode
# console: [    0.512500] #PF: error_code(0x0000) - not-present page
# console: [    0.512900] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
# console: [    0.513000] CPU: 0 UID: 0 PID: 77 Comm: case Not tainted 6.12.0 #1
# console: [    0.513100] RIP: 0010:syscall_user_dispatch+0x3a/0x120
# console: [    0.513110] Code: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 <48>
# console: [    0.513120] RAX: 0000000000000000 RBX: ffffc90000013f58 RCX: 0000000000000000
# console: [    0.513130] RDX: 0000000000000000 RSI: 0000000000000000 RDI: 0000000000000000
# console: [    0.513200] Call Trace:
# console: [    0.513300]  <TASK>
# console: [    0.513310]  ? __die+0x1f/0x70
# console: [    0.513400]  do_syscall_64+0x9e/0x1a0
# console: [    0.513410]  entry_SYSCALL_64_after_hwframe+0x77/0x7f
# console: [    0.513500]  </TASK>
# console: [    0.513600] ---[ end trace 0000000000000000 ]---
# console: [    0.513800] Kernel panic - not syncing: Fatal exception
# again: sudbox run --kernel v6.12 registers/all-kept
not ok 5 registers/all-kept # crash: BUG: kernel NULL pointer dereference
# promise: a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
# expected: an end
# got: no end within 2 s
# kernel function: syscall_user_dispatch()
# again: sudbox run --kernel v6.12 signals/nested
not ok 6 signals/nested # TIMEOUT hang: no end within 2 s
# promise: a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS
# expected: as recorded of 6.12.117: frame.si_errno = 0x0
# got: frame.si_errno = 0x26
# kernel function: syscall_user_dispatch()
# again: sudbox run --kernel v6.12 compare/trap
not ok 7 compare/trap # changed: frame.si_errno = 0x26
ok 8 range/fixed-bug # fixed, a recorded bug no longer shows: 0123456789ab ("fix the range")
ok 9 registers/avx # SKIP unmet: needs the CPU feature avx
ok 10 registers/avx512 # SKIP unmet: needs the CPU feature avx512f
ok 11 ptrace/known-bug # XFAIL known: fedcba987654 ("ptrace: forget it")
ok 12 range/inclusive-on # SKIP absent: inclusive
ok 13 range/inclusive-wraps # SKIP absent: inclusive
"#;

#[test]
fn the_table_of_every_outcome() {
    assert_eq!(rendered(&every_outcome(), "table"), TABLE);
}

#[test]
fn ktap_of_every_outcome() {
    assert_eq!(rendered(&every_outcome(), "ktap"), KTAP);
}

#[test]
fn the_table_ends_with_the_conclusion() {
    let last = |verdict: &Verdict| {
        rendered(verdict, "table").lines().last().unwrap_or_default().to_owned()
    };
    let mut verdict = every_outcome();
    verdict.cases.retain(|c| !c.outcome.is_failure());
    let kept = "VERDICT: kept where tested: 4 tested, 1 known, 2 absent, 2 unmet, 7 not selected";
    assert_eq!(last(&verdict), kept);
    verdict.strict = true;
    assert_eq!(last(&verdict), "NOT AS EXPECTED: 3 of 9 fixed or unmet (--strict)");
    verdict.cases.retain(|c| c.outcome == Outcome::Pass);
    verdict.not_selected = 0;
    let kept = "3 cases: 3 pass; 3 VMs, 2345 ms  VERDICT: every promise kept: 3 tested";
    assert_eq!(last(&verdict), kept);
    verdict.cases.clear();
    verdict.unjudged_reason = Some("it does not build: kernel/fork.c:1: error: x".into());
    assert_eq!(
        last(&verdict),
        "0 cases: 3 VMs, 2345 ms  NOT JUDGED: it does not build: kernel/fork.c:1: error: x"
    );
}

#[test]
fn keeping_every_promise_is_claimed_only_if_all_were_tested() {
    let ends_with = |cases: &[(&str, Outcome, &str)], not_selected, end: &str| {
        let cases = cases.iter().map(|(id, outcome, got)| case(id, *outcome, got)).collect();
        let table = rendered(&Verdict { cases, not_selected, ..Verdict::default() }, "table");
        let text = table.replace('\n', " ");
        assert!(text.trim_end().ends_with(end), "{table}");
    };
    let pass = ("range/empty", Outcome::Pass, "");
    let known = ("range/bug", Outcome::Known, "it fails (bug)");
    let absent = ("sysctl/on-at-boot", Outcome::Absent, "sysctl");
    let unmet = ("registers/avx", Outcome::Unmet, "avx");
    ends_with(&[pass, absent], 0, "VERDICT: every promise kept: 1 tested, 1 absent");
    ends_with(&[pass, absent], 3, "VERDICT: kept where tested: 1 tested, 1 absent, 3 not selected");
    ends_with(&[pass, unmet], 0, "VERDICT: kept where tested: 1 tested, 1 unmet");
    ends_with(&[pass, known], 0, "every promise kept but for 1 known bug: 1 tested, 1 known");
    ends_with(&[known], 9, "VERDICT: kept where tested: 0 tested, 1 known, 9 not selected");
    ends_with(
        &[absent, unmet],
        0,
        "NOT JUDGED: no case could be tested: 0 tested, 1 absent, 1 unmet",
    );
    let without = ("siginfo/arch", Outcome::Absent, "dispatch");
    let refuses = ("absence/modes-refused", Outcome::Pass, "");
    ends_with(&[absent, without], 0, "NOT JUDGED: no case could be tested: 0 tested, 2 absent");
    let as_expected = "no dispatch in this kernel, as expected: 1 tested, 2 absent";
    ends_with(&[absent, without, refuses], 0, as_expected);
}

#[test]
fn the_table_fits_from_40_to_200_columns() {
    let mut verdict = every_outcome();
    verdict.kernel.source = format!("{} \u{6f22}\u{5b57}", "long ".repeat(60));
    let table_at = |width| (Verdict::FORMS[0].render)(&verdict, Screen::terminal(width, false));
    let columns = |table: &str| {
        table.lines().map(sudbox_report::text::width_in_columns).max().unwrap_or_default()
    };
    for width in [0, 40, 61, 80, 100, 137, 200, 500] {
        let table = table_at(width);
        assert!(columns(&table) <= width.clamp(40, 200), "{width}\n{table}");
        assert!(table.contains("registers/all-kept") && table.contains("BROKEN: 4 of 13"));
    }
    assert!(columns(&table_at(200)) > 150, "{}", table_at(200));
}

#[test]
fn colour_only_adds_colour_codes() {
    let coloured = (Verdict::FORMS[0].render)(&every_outcome(), Screen::terminal(100, true));
    assert!(coloured.contains("\x1b[31mCRASH \x1b[0m \x1b[1mregisters/all-kept\x1b[0m"));
    let mut plain = coloured.to_string();
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, TABLE);
}

/// The name and the result of each test case, and the counts of the root element: tests, failures,
/// errors, skipped. A result is `pass`, or the child element and its type.
fn read_junit(xml: &str) -> (Vec<(String, String)>, Vec<String>) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut cases: Vec<(String, String)> = vec![];
    let mut root = vec![];
    let attribute = |tag: &quick_xml::events::BytesStart<'_>, name: &str| {
        let found = tag.try_get_attribute(name).unwrap().unwrap_or_else(|| panic!("no {name}"));
        found.normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap().into_owned()
    };
    loop {
        let event = reader.read_event().unwrap();
        let (Event::Start(tag) | Event::Empty(tag)) = event else {
            match event {
                Event::Eof => return (cases, root),
                _ => continue,
            }
        };
        match tag.name().as_ref() {
            b"testsuites" => {
                root = ["tests", "failures", "errors", "skipped"]
                    .iter()
                    .map(|name| attribute(&tag, name))
                    .collect();
                attribute(&tag, "time").parse::<f64>().unwrap();
            }
            b"testsuite" => {
                attribute(&tag, "name");
                attribute(&tag, "time").parse::<f64>().unwrap();
            }
            b"testcase" => {
                attribute(&tag, "time").parse::<f64>().unwrap();
                attribute(&tag, "classname");
                cases.push((attribute(&tag, "name"), "pass".into()));
            }
            child @ (b"failure" | b"error" | b"skipped") => {
                attribute(&tag, "message");
                let child = String::from_utf8_lossy(child).into_owned();
                let ty = attribute(&tag, "type");
                cases.last_mut().expect("inside a case").1 = format!("{child} {ty}");
            }
            _ => {}
        }
    }
}

#[test]
fn junit_has_the_result_of_each_case() {
    let (cases, root) = read_junit(&rendered(&every_outcome(), "junit"));
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        cases,
        [
            ("arguments/zero-offset", "pass"),
            ("arguments/wrapping-range", "pass"),
            ("selector/invalid-value-kills", "failure fail"),
            ("selector/allow-passes", "pass"),
            ("registers/all-kept", "failure crash"),
            ("registers/avx", "skipped unmet"),
            ("registers/avx512", "skipped unmet"),
            ("signals/nested", "failure hang"),
            ("compare/trap", "failure changed"),
            ("range/fixed-bug", "pass"),
            ("range/inclusive-on", "skipped absent"),
            ("range/inclusive-wraps", "skipped absent"),
            ("ptrace/known-bug", "skipped known"),
        ]
    );
    assert_eq!(root, ["13", "4", "0", "5"]);
}

#[test]
fn json_is_read_back_as_the_same_verdict() {
    let verdict = every_outcome();
    let text = rendered(&verdict, "json");
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["judgement"], "broken");
    assert_eq!(value["exit_code"], 1);
    assert_eq!(value["totals"]["unmet"], 2);
    assert_eq!(value["cases"][2]["outcome"], "fail");
    assert_eq!(value["cases"][2]["kcidb"], "FAIL");
}

#[test]
fn a_kernel_that_is_not_judged_is_an_error_not_a_failure() {
    let unbuilt =
        Verdict { unjudged_reason: Some("it does not build".into()), ..Verdict::default() };
    let text = rendered(&unbuilt, "ktap");
    assert!(text.ends_with("1..1\nnot ok 1 kernel-can-be-judged # ERROR it does not build\n"));
    let (cases, root) = read_junit(&rendered(&unbuilt, "junit"));
    assert_eq!(cases, [("kernel-can-be-judged".into(), "error not judged".into())]);
    assert_eq!(root, ["1", "0", "1", "0"]);
    let value: serde_json::Value = serde_json::from_str(&rendered(&unbuilt, "json")).unwrap();
    assert_eq!((&value["judgement"], &value["exit_code"]), (&"not-judged".into(), &125.into()));
    assert_eq!(value["reason"], "it does not build");
}

#[test]
fn a_failed_boot_that_was_not_selected_is_no_failure() {
    let mut selected = every_outcome();
    selected.cases = vec![case("boot/reaches-init", Outcome::Crash, "it panics")];
    let unselected = Verdict { boot_selected: false, ..selected.clone() };
    assert_eq!(read_junit(&rendered(&selected, "junit")).1, ["1", "1", "0", "0"]);
    assert_eq!(read_junit(&rendered(&unselected, "junit")).1, ["2", "0", "2", "0"]);
    let ktap = rendered(&selected, "ktap");
    assert!(ktap.contains("\nnot ok 1 boot/reaches-init # crash: it panics"), "{ktap}");
    let text = rendered(&unselected, "ktap");
    assert!(text.contains("\nnot ok 1 boot/reaches-init # ERROR crash: it panics\n"), "{text}");
    assert!(
        rendered(&unselected, "table")
            .ends_with("NOT JUDGED: this kernel does not boot: it panics\n")
    );
    assert!(rendered(&selected, "table").ends_with("BROKEN: 1 of 1\n"));
}

/// A verdict in which every text of the guest contains control characters and markup.
fn hostile() -> Verdict {
    let nasty = format!(
        "::error::x\n ##[error]x\n{} x # SKIP\n# Subtest: y\nok 1 z\nnot ok 2 z\n1..99\nKTAP version 1\n\u{1b}[2J\u{9b}31m\u{202e}\0\u{ffff}\
         \r\nreboot: System halted\nKernel panic - not syncing: VFS: x\n]]></failure><!-- & \" '\n{}",
        "::error::wrapped ".repeat(20),
        "w".repeat(10_000)
    );
    let mut verdict = every_outcome();
    verdict.kernel.release.clone_from(&nasty);
    verdict.guest_facts = vec![nasty.clone()];
    for case in &mut verdict.cases {
        case.detail.clone_from(&nasty);
        case.expected.clone_from(&nasty);
        case.log = vec![nasty.clone(); 20];
        case.console = Some(format!("{nasty}\n{CONSOLE}"));
    }
    verdict
}

#[test]
fn no_form_contains_control_characters() {
    let verdict = hostile();
    let unjudged = Verdict { unjudged_reason: verdict.cases[0].detail.clone().into(), ..hostile() };
    for verdict in [verdict, unjudged] {
        for form in Verdict::FORMS {
            let text = rendered(&verdict, form.name);
            let bad = text.chars().find(|c| *c != '\n' && !(' '..='~').contains(c));
            assert_eq!(bad, None, "{}", form.name);
            let command = text
                .lines()
                .find(|line| line.trim_start().starts_with("::") || line.contains("##["));
            assert_eq!(command, None, "{}: no commands of a CI service", form.name);
        }
    }
}

#[test]
fn a_hostile_guest_cannot_forge_a_line_of_ktap() {
    let text = rendered(&hostile(), "ktap");
    let results = |text: &str| -> Vec<String> {
        let results = text.lines().filter(|l| !l.starts_with("# "));
        results.map(|l| l.split(" # ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(results(&text), results(KTAP));
    for (line, known) in text
        .lines()
        .filter(|l| !l.starts_with("# "))
        .zip(KTAP.lines().filter(|l| !l.starts_with("# ")))
    {
        assert_eq!(line.contains(" # SKIP"), known.contains(" # SKIP"), "{line}");
        assert!(line.matches(" # ").count() <= 1, "{line}");
    }
    // The phrases at which kunit_parser.py stops reading.
    assert!(!text.contains("reboot: System halted"));
    assert!(!text.contains("not syncing: VFS:"));
}

#[test]
fn a_hostile_guest_does_not_change_junits_structure() {
    let (cases, root) = read_junit(&rendered(&hostile(), "junit"));
    let (expected, expected_root) = read_junit(&rendered(&every_outcome(), "junit"));
    assert_eq!((cases, root), (expected, expected_root));
}

#[test]
fn a_hostile_guests_table_is_bounded_and_its_json_complete() {
    let verdict = hostile();
    let text = rendered(&verdict, "table");
    assert!(text.lines().count() < 400, "{}", text.lines().count());
    assert_eq!(text.lines().find(|l| l.chars().count() > 100), None);
    assert_eq!(serde_json::from_str::<Verdict>(&rendered(&verdict, "json")).unwrap(), verdict);
    assert_eq!(Judgement::from_verdict(&verdict), Judgement::Broken(4));
}

#[test]
fn the_page_explains_bugs_and_shows_consoles() {
    let page = rendered(&every_outcome(), "html");
    for words in [
        "<title>Syscall User Dispatch on Linux 6.12.117</title>",
        "2026-11-29T19:43:58Z",
        "<h3>forgetful</h3>",
        "ptrace: forget it",
        "Kernel panic - not syncing: Fatal exception",
        "needs the CPU feature avx512f",
        "arguments/zero-offset",
        "4 broken",
    ] {
        assert!(page.contains(words), "`{words}` is not in {page}");
    }
    assert!(!page.contains("<script"));
    let hostile = rendered(&hostile(), "html");
    assert!(!hostile.contains("<!--") && !hostile.contains('\u{1b}'));
    assert_eq!(hostile.matches("<details").count(), page.matches("<details").count());
}
