// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures in level 1 the time until the first case of a VM, booted and restored from a snapshot.
//!
//! ```text
//! level1-restore KERNEL INITRAMFS ROUNDS
//! ```
//!
//! INITRAMFS is an initramfs of sudbox. For each round, prints two times in seconds, of the booted and of
//! the restored VM: from the call of the library to the guest's message `Start`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sudbox_protocol::{FrameReader, GuestMessage, HostMessage, Plan, PlannedCase};
use sudbox_vmm::kvm::MicroVm;
use sudbox_vmm::machine::VmSpec;
use sudbox_vmm::session::{Event, Session};

/// Time limit until the first case.
const LIMIT: Duration = Duration::from_secs(60);

/// The case in the plan. The choice does not matter, because the case is not run.
const CASE: &str = "selector/invalid-value-kills";

fn main() -> anyhow::Result<()> {
    let [kernel, initramfs, rounds] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().ok().context("three arguments")?;
    let spec = VmSpec {
        cmdline: "loglevel=5 panic=-1 oops=panic nokaslr".to_owned(),
        take_snapshot: true,
        ..VmSpec::new(kernel, initramfs, sudbox_protocol::PORT)
    };
    let machine = MicroVm::new("measured".to_owned());
    let session = Session::boot(&machine, &spec)?;
    let snapshot = run_to_first_case(session)?.snapshot().context("no snapshot was taken")?;
    let snapshot = snapshot.map_err(anyhow::Error::msg)?;
    let spec = VmSpec { take_snapshot: false, ..spec };
    for _ in 0..rounds.parse()? {
        let started = Instant::now();
        let booted = run_to_first_case(Session::boot(&machine, &spec)?)?;
        let boot = started.elapsed();
        drop(booted);
        let started = Instant::now();
        let restored = run_to_first_case(Session::resume(&snapshot)?)?;
        let restore = started.elapsed();
        drop(restored);
        println!("{} {}", boot.as_secs_f64(), restore.as_secs_f64());
    }
    Ok(())
}

/// Conducts the protocol until the guest announces the first case with `Start`.
fn run_to_first_case(mut session: Session) -> anyhow::Result<Session> {
    let deadline = Instant::now() + LIMIT;
    let mut frames = FrameReader::default();
    loop {
        match session.next(deadline, None)? {
            Event::Bytes(bytes) => frames.push(&bytes),
            Event::Connected | Event::ConsoleOutput => {}
            event => bail!("{event:?}: {}", session.console().text_since(0)),
        }
        while let Some(body) = frames.next_body()? {
            match GuestMessage::decode(&body)? {
                GuestMessage::Hello(_) => {
                    let case = PlannedCase { id: CASE.to_owned(), deadline_ms: 10_000 };
                    let plan = HostMessage::Plan(Plan { cases: vec![case] });
                    session.send(&plan.to_frame(), deadline)?;
                }
                GuestMessage::Start { case } => {
                    ensure!(case == 0, "the guest starts with case {case}");
                    return Ok(session);
                }
                other => bail!("{other:?} before the first case"),
            }
        }
    }
}
