// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs every case on the kernel of this machine: starts guest-init and speaks the host's side of the
//! protocol.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use sudbox_guest_init::case::Case;
use sudbox_guest_init::cases::TABLE;
use sudbox_guest_init::{bench, grid, walk};
use sudbox_protocol::Arch;
use sudbox_protocol::{
    CaseResult, FrameReader, GuestMessage, Hello, HostMessage, Measurement, Plan, PlannedCase,
    ResultKind,
};

/// The host's side of the protocol, with a guest-init process as its peer.
struct Host {
    stream: UnixStream,
    frames: FrameReader,
    guest: Child,
}

impl Host {
    fn start() -> (Host, Hello) {
        let (stream, theirs) = UnixStream::pair().expect("socketpair");
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest-init"));
        command.args(["--fd", "3"]);
        let fd = theirs.as_raw_fd();
        // SAFETY: dup2 between fork and exec is allowed.
        let guest = unsafe {
            command
                .pre_exec(move || match libc::dup2(fd, 3) {
                    3 => {
                        // dup2 onto itself leaves the close-on-exec flag.
                        libc::fcntl(3, libc::F_SETFD, 0);
                        Ok(())
                    }
                    _ => Err(std::io::Error::last_os_error()),
                })
                .spawn()
                .expect("guest-init")
        };
        drop(theirs);
        let mut host = Host { stream, frames: FrameReader::default(), guest };
        match host.receive() {
            GuestMessage::Hello(hello) => (host, hello),
            other => panic!("{other:?} instead of a greeting"),
        }
    }

    fn receive(&mut self) -> GuestMessage {
        loop {
            if let Some(body) = self.frames.next_body().expect("a frame") {
                return GuestMessage::decode(&body).expect("a message");
            }
            let mut piece = [0; 4096];
            let length = self.stream.read(&mut piece).expect("a readable stream");
            assert!(length > 0, "the guest closed the stream");
            self.frames.push(&piece[..length]);
        }
    }

    fn send(&mut self, message: &HostMessage) {
        self.stream.write_all(&message.to_frame()).expect("the guest listens");
    }
}

/// Runs these cases. Returns the result of each, with its measurement if it made one.
fn run(cases: &[&Case]) -> Vec<(CaseResult, Option<Measurement>)> {
    let (mut host, hello) = Host::start();
    assert_eq!(hello.version, sudbox_protocol::VERSION);
    assert!(hello.cpus > 0 && !hello.release.is_empty());
    println!("{} {:?} on {}", hello.release, hello.features, hello.cpu_model);
    let planned = |case: &&Case| PlannedCase { id: case.id.into(), deadline_ms: 20_000 };
    host.send(&HostMessage::Plan(Plan { cases: cases.iter().map(planned).collect() }));
    let mut results = Vec::new();
    for (index, case) in (0u32..).zip(cases) {
        assert_eq!(host.receive(), GuestMessage::Start { case: index });
        host.send(&HostMessage::Go { case: index });
        let mut measured = None;
        let (result, micros) = loop {
            match host.receive() {
                GuestMessage::Log { case: of, text } if of == index => println!("  {text}"),
                GuestMessage::Measured { case: of, measurement } if of == index => {
                    measured = Some(measurement);
                }
                GuestMessage::ObservationDigest { case: of, .. } if of == index => {}
                GuestMessage::End { case: of, result, micros } if of == index => {
                    break (result, micros);
                }
                other => panic!("{other:?} during {}", case.id),
            }
        };
        println!("{micros:6} us  {}  {result:?}", case.id);
        results.push((result, measured));
    }
    let kinds: Vec<ResultKind> = results.iter().map(|(result, _)| result.kind()).collect();
    assert_eq!(host.receive(), GuestMessage::AllResults(kinds.clone()));
    host.send(&HostMessage::Acknowledge);
    assert!(host.guest.wait().expect("its end").success());
    let passed = kinds.iter().filter(|kind| **kind == ResultKind::Pass).count();
    println!("{passed} of {} pass", kinds.len());
    results
}

#[test]
fn this_kernel_keeps_its_promises() {
    let here = Arch::host().expect("cases for this machine");
    let all = TABLE.iter().copied().flatten();
    let cases: Vec<&Case> =
        all.filter(|case| case.exclusion_reason(here).is_none() && !case.checks_absence).collect();
    let wrong: Vec<_> = cases
        .iter()
        .zip(run(&cases))
        .filter(|(case, (result, _))| match result {
            CaseResult::Pass | CaseResult::Absent(_) | CaseResult::Unmet(_) => false,
            CaseResult::Fail { .. } => case.known_bugs.is_empty(),
            _ => true,
        })
        .map(|(case, (result, _))| (case.id, result))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A kernel without dispatch passes too: the walks are absent there.
#[test]
fn this_kernel_agrees_with_the_model_of_walks() {
    let walks: Vec<&Case> = (0..200).map(walk::case).collect();
    let wrong: Vec<_> = walks
        .iter()
        .zip(run(&walks))
        .filter(|(_, (result, _))| !matches!(result, CaseResult::Pass | CaseResult::Absent(_)))
        .map(|(case, (result, _))| (case.id, result))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs ten thousand points of the grid.
#[test]
fn this_kernel_agrees_with_the_model_of_the_grid() {
    let random = grid::by_id("grid/random-0").expect("a random product");
    let wrong: Vec<_> = run(&[random])
        .into_iter()
        .filter(|(result, _)| !matches!(result, CaseResult::Pass | CaseResult::Absent(_)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_passing_benchmark_measures_and_a_round_trip_costs_more_than_a_call() {
    let all: Vec<&Case> = bench::TABLE.iter().collect();
    let mut fastest = Vec::new();
    for (case, (result, measured)) in all.iter().zip(run(&all)) {
        assert_eq!(result == CaseResult::Pass, measured.is_some(), "{}: {result:?}", case.id);
        let not_run = matches!(result, CaseResult::Absent(_) | CaseResult::Unmet(_));
        assert!(not_run || measured.is_some(), "{}: {result:?}", case.id);
        let Some(Measurement {
            operations, batches, empty_batches: empty, ticks, nanoseconds, ..
        }) = measured
        else {
            continue;
        };
        assert!(batches.len() >= 100 && batches.len() == empty.len(), "{}", case.id);
        assert!(ticks > batches.iter().sum() && nanoseconds > 0, "{}", case.id);
        let ticks_per_operation =
            batches.iter().min().copied().unwrap_or(0) / u64::from(operations);
        fastest.push((case.id, ticks_per_operation));
    }
    let fastest_of = |id| fastest.iter().find(|(of, _)| *of == id).map(|(_, ticks)| *ticks);
    let native = fastest_of(bench::NATIVE).expect("every kernel has getpid()");
    if let Some(round_trip) = fastest_of("bench/round-trip") {
        assert!(round_trip > 2 * native, "{round_trip} ticks, {native} of a native call");
    }
}
