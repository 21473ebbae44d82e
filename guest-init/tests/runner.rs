// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests of the runner with cases that misbehave and with hosts that break the protocol. The runner forks,
//! so the process must have one thread: this file has a `main` instead of Rust's test harness.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use sudbox_guest_init::case::{Case, Check, Failure, Need, Run};
use sudbox_guest_init::probe::Environment;
use sudbox_guest_init::shared::KernelChange;
use sudbox_guest_init::{runner, sys};
use sudbox_protocol::{
    CaseResult, Feature, FrameReader, GuestMessage, HostMessage, Plan, PlannedCase, ResultKind,
};

const fn case(id: &'static str, run: fn() -> Check) -> Case {
    Case {
        id,
        promise: "",
        kernel_function: "",
        features: &[],
        needs: &[],
        known_bugs: &[],
        only: None,
        checks_absence: false,
        is_in_core: false,
        run: Run::Check(run),
    }
}

const TABLE: &[&[Case]] = &[&[
    case("test/pass", || Ok(())),
    case("test/fail", || {
        Err(Failure::Mismatch { expected: "a".repeat(20_000), got: "b".repeat(20_000) })
    }),
    case("test/hang", hang),
    case("test/segv", || {
        sys::kill(sys::getpid(), libc::SIGSEGV).expect("kill");
        Ok(())
    }),
    case("test/exit", || sys::exit(0)),
    case("test/panic", || panic!("on purpose")),
    case("test/stray", stray),
    case("test/stopped", || {
        sys::kill(sys::getpid(), libc::SIGSTOP).expect("kill");
        Ok(())
    }),
    case("test/clean", clean),
    Case { features: &[Feature::Swap, Feature::Audit], ..case("test/absent", hang) },
    Case { needs: &[Need::CpuFeature("no-such")], ..case("test/unmet", hang) },
    case("test/change-left", || {
        let _change = KernelChange::begin();
        hang()
    }),
    case("test/change-undone", || {
        KernelChange::begin().end();
        Ok(())
    }),
]];

/// Ignores every signal that can be ignored, forks a child with the same dispositions, and sleeps in both.
fn hang() -> Check {
    let ignore = sys::SigAction { handler: 1, ..sys::SigAction::default() };
    for signal in (1..=64).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
        // SAFETY: ignoring needs no handler; there is one thread.
        unsafe { sys::sigaction(signal, &ignore) }.expect("sigaction");
    }
    // SAFETY: one thread.
    let _ = unsafe { sys::fork() };
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Leaves a grandchild behind, in a session of its own, whose parent has exited.
fn stray() -> Check {
    // SAFETY: one thread.
    if unsafe { sys::fork() }.expect("fork") == 0 {
        // SAFETY: touches no memory; one thread.
        let inner = unsafe {
            sys::call(libc::SYS_setsid, &[]).expect("setsid");
            sys::fork().expect("fork")
        };
        if inner > 0 {
            sys::exit(0);
        }
        loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
    sys::wait(-1, 0).map(drop).map_err(|e| Failure::Broken(e.to_string()))
}

/// Checks that signals, process name, alternate stack and rseq are as after execve(2), whatever case
/// ran before.
fn clean() -> Check {
    let mut problems = Vec::new();
    let mask = sys::sigmask(libc::SIG_BLOCK, 0);
    if mask != Ok(0) {
        problems.push(format!("mask {mask:?}"));
    }
    for signal in (1..=64).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
        let mut old = sys::SigAction { handler: 7, ..sys::SigAction::default() };
        let number = u64::try_from(signal).expect("small");
        // SAFETY: reads the disposition.
        unsafe { sys::call(libc::SYS_rt_sigaction, &[number, 0, &raw mut old as u64, 8]) }
            .expect("sigaction");
        if old.handler != 0 {
            problems.push(format!("signal {signal} has handler {:#x}", old.handler));
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let name = status.lines().next().unwrap_or_default();
    if name != "Name:\tcase-8" {
        problems.push(name.to_owned());
    }
    let mut stack = [0u64; 3];
    // SAFETY: reads the alternate stack.
    unsafe { sys::call(libc::SYS_sigaltstack, &[0, stack.as_mut_ptr() as u64]) }
        .expect("sigaltstack");
    if stack[1] & u64::from(libc::SS_DISABLE.cast_unsigned()) == 0 {
        problems.push(format!("alternate stack {stack:x?}"));
    }
    // A thread can register an rseq area only if none is registered.
    let mut area = vec![0u64; 16];
    let aligned = area.as_mut_ptr().align_offset(32);
    // SAFETY: the area outlives this process's use of it.
    let registered = unsafe {
        let address = area.as_mut_ptr().add(aligned) as u64;
        let registered = sys::call(libc::SYS_rseq, &[address, 32, 0, 0x5305_3053]);
        if registered.is_ok() {
            sys::call(libc::SYS_rseq, &[address, 32, 1, 0x5305_3053]).expect("rseq");
        }
        registered
    };
    if registered != Ok(0) && registered != Err(sys::Errno(libc::ENOSYS)) {
        problems.push(format!("rseq {registered:?}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Broken(problems.join(", "))) }
}

struct Host {
    stream: UnixStream,
    frames: FrameReader,
}

impl Host {
    fn receive(&mut self) -> GuestMessage {
        loop {
            if let Some(body) = self.frames.next_body().expect("a frame") {
                return GuestMessage::decode(&body).expect("a message");
            }
            let mut piece = [0; 4096];
            let length = self.stream.read(&mut piece).expect("a readable stream");
            assert!(length > 0, "the stream ended");
            self.frames.push(&piece[..length]);
        }
    }

    fn send(&mut self, message: &HostMessage) {
        self.stream.write_all(&message.to_frame()).expect("a listener");
    }
}

/// Runs the runner in a child process, with `host` as its peer, and checks whether the runner succeeds.
fn with_runner(host: impl FnOnce(&mut Host), succeeds: bool) {
    with_runner_in(Environment::default(), host, succeeds);
}

/// As [`with_runner`], in this environment.
fn with_runner_in(environment: Environment, host: impl FnOnce(&mut Host), succeeds: bool) {
    let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
    // SAFETY: one thread.
    let child = unsafe { sys::fork() }.expect("fork");
    if child == 0 {
        drop(ours);
        let me = sys::getpid();
        std::panic::set_hook(Box::new(move |info| {
            if sys::getpid() == me {
                eprintln!("{info}");
                sys::exit(3);
            }
            runner::exit_panicked_child(&info.to_string())
        }));
        let environment = Environment { features: vec![Feature::Swap], ..environment };
        let answer =
            runner::prepare().and_then(|()| runner::converse(&mut theirs, &environment, TABLE));
        sys::exit(i32::from(answer.is_err()));
    }
    drop(theirs);
    let mut peer = Host { stream: ours, frames: FrameReader::default() };
    host(&mut peer);
    drop(peer);
    let (_, change) = sys::wait(child, 0).expect("wait").expect("a wait status");
    assert_eq!(change, sys::WaitStatus::Exited(i32::from(!succeeds)));
}

fn misbehaving_cases() {
    let ids: Vec<&str> = TABLE[0].iter().map(|case| case.id).chain(["test/no-such"]).collect();
    let mut results = Vec::new();
    with_runner(
        |host| {
            assert!(matches!(host.receive(), GuestMessage::Hello(_)));
            let planned = |id: &&str| PlannedCase { id: (*id).into(), deadline_ms: 300 };
            host.send(&HostMessage::Plan(Plan { cases: ids.iter().map(planned).collect() }));
            for index in (0u32..).take(ids.len()) {
                assert_eq!(host.receive(), GuestMessage::Start { case: index });
                host.send(&HostMessage::Go { case: index });
                match host.receive() {
                    GuestMessage::End { case, result, micros } if case == index => {
                        results.push((result, micros));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let kinds: Vec<ResultKind> = results.iter().map(|(result, _)| result.kind()).collect();
            assert_eq!(host.receive(), GuestMessage::AllResults(kinds));
            host.send(&HostMessage::Acknowledge);
        },
        true,
    );
    for (id, (result, micros)) in ids.iter().zip(&results) {
        let got = |text: &str| matches!(result, CaseResult::Fail { got, .. } if got.contains(text));
        let right = match *id {
            "test/pass" | "test/clean" | "test/stray" | "test/change-undone" => {
                *result == CaseResult::Pass
            }
            "test/fail" => got("bbb"),
            "test/hang" | "test/stopped" | "test/change-left" => {
                *result == CaseResult::Hang && *micros >= 300_000
            }
            "test/segv" => got("SIGSEGV"),
            "test/exit" => got("exited with 0"),
            "test/panic" => matches!(result, CaseResult::Broken(w) if w.contains("on purpose")),
            "test/absent" => *result == CaseResult::Absent(Feature::Audit),
            "test/unmet" => *result == CaseResult::Unmet("cpu:no-such".into()),
            "test/no-such" => matches!(result, CaseResult::Broken(w) if w.contains("test/no-such")),
            other => panic!("{other} is not expected here"),
        };
        assert!(right, "{id}: {result:?} after {micros} us");
        assert!(*micros < 2_000_000, "{id} took {micros} us");
    }
}

/// Checks that a case which leaves a change of the kernel's state is the last case in its VM.
fn kernel_changes_end_the_vm() {
    let vm = || Environment { is_vm: true, ..Environment::default() };
    let ids = ["test/change-undone", "test/change-left", "test/pass"];
    with_runner_in(
        vm(),
        |host| {
            assert!(matches!(host.receive(), GuestMessage::Hello(_)));
            let cases = ids.map(|id| PlannedCase { id: id.into(), deadline_ms: 300 });
            host.send(&HostMessage::Plan(Plan { cases: cases.into() }));
            for index in [0, 1] {
                assert_eq!(host.receive(), GuestMessage::Start { case: index });
                host.send(&HostMessage::Go { case: index });
                assert!(matches!(host.receive(), GuestMessage::End { case, .. } if case == index));
            }
            assert_eq!(host.receive(), GuestMessage::VmSpent { case: 1 });
        },
        false,
    );
}

/// Checks that no descendant of a runner is left. This process is a child subreaper, so each would be its
/// child.
fn no_process_is_left() {
    assert_eq!(sys::wait(-1, libc::WNOHANG), Err(sys::Errno(libc::ECHILD)));
}

fn hosts_that_break_the_protocol() {
    let plan = || Plan { cases: vec![PlannedCase { id: "test/pass".into(), deadline_ms: 300 }] };
    with_runner(|host| host.send(&HostMessage::Acknowledge), false);
    with_runner(
        |host| {
            host.send(&HostMessage::Plan(plan()));
            host.send(&HostMessage::Go { case: 1 });
        },
        false,
    );
    with_runner(|host| host.stream.write_all(&[0xff; 8]).expect("a listener"), false);
    // The host closes the connection.
    with_runner(|_| {}, false);
    with_runner(|host| host.send(&HostMessage::Plan(plan())), false);
    // An empty plan is answered by an empty account.
    with_runner(
        |host| {
            assert!(matches!(host.receive(), GuestMessage::Hello(_)));
            host.send(&HostMessage::Plan(Plan::default()));
            assert_eq!(host.receive(), GuestMessage::AllResults(vec![]));
            host.send(&HostMessage::Acknowledge);
        },
        true,
    );
}

fn main() {
    // SAFETY: sets only a flag of this process.
    unsafe { sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.expect("prctl");
    misbehaving_cases();
    no_process_is_left();
    kernel_changes_end_the_vm();
    no_process_is_left();
    hosts_that_break_the_protocol();
    no_process_is_left();
    println!("runner: ok");
}
