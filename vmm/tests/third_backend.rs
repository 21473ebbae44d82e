// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of a session with a third backend, which has no KVM, no QEMU and no vsock device. The tests
//! show the behaviour of a session with any [`HostStream`](sudbox_vmm::machine::HostStream).

mod fake_backend;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fake_backend::{FakeBackend, Guest};
use sudbox_vmm::machine::{BootError, DeviceDiscovery, Machine, VmEnd, VmSpec};
use sudbox_vmm::session::{Event, Session};

fn spec() -> VmSpec {
    VmSpec {
        cmdline: "who=you".to_owned(),
        memory_mib: 1,
        take_snapshot: true,
        ..VmSpec::new("no kernel", "no initramfs", 1024)
    }
}

fn boot(guest: fn(Guest) -> VmEnd) -> Session {
    Session::boot(&FakeBackend::new(guest), &spec()).expect("the VM starts")
}

fn in_20_seconds() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Waits for the next event other than [`Event::ConsoleOutput`].
fn next_event(session: &mut Session) -> Event {
    loop {
        match session.next(in_20_seconds(), None).unwrap() {
            Event::ConsoleOutput => {}
            event => return event,
        }
    }
}

/// Echoes `count` lines.
fn echo(stream: &mut UnixStream, count: usize) -> io::Result<()> {
    for _ in 0..count {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        stream.write_all(&line)?;
    }
    Ok(())
}

#[test]
fn a_guest_boots_communicates_and_restarts() {
    let mut session = boot(|mut guest| {
        writeln!(guest.console, "Linux version 0, {}", guest.spec.cmdline).unwrap();
        guest.stream.write_all(b"ready\n").unwrap();
        echo(&mut guest.stream, 2).unwrap();
        writeln!(guest.console, "reboot: Restarting system").unwrap();
        VmEnd::Restart
    });
    assert_eq!(session.send(b"x", in_20_seconds()).unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"ready\n".to_vec()));
    assert_eq!(session.console().text_since(0), "Linux version 0, who=you\n");
    for line in [b"one\n", b"two\n"] {
        session.send(line, in_20_seconds()).unwrap();
        assert_eq!(next_event(&mut session), Event::Bytes(line.to_vec()));
    }
    assert!(session.snapshot().is_none() && session.gdb_target().is_none());
    assert!(session.diagnose().is_empty());
    // The VM's end closes the stream. The session may report either event first.
    if next_event(&mut session) == Event::Disconnected {
        assert_eq!(next_event(&mut session), Event::Ended);
    }
    assert!(session.console().text_since(0).ends_with("reboot: Restarting system\n"));
    assert_eq!(session.finish(Duration::ZERO), VmEnd::Restart);
}

#[test]
fn a_panic_is_reported_as_the_vms_end() {
    let session = boot(|mut guest| {
        writeln!(guest.console, "[    1.0] Kernel panic - not syncing: test").unwrap();
        VmEnd::Restart
    });
    let panic = "Kernel panic - not syncing: test".to_owned();
    assert_eq!(session.finish(Duration::from_secs(20)), VmEnd::Panic(panic));
}

#[test]
fn a_long_message_waits_for_a_guest_that_reads_slowly() {
    const SIZE: usize = 4 << 20;
    let mut session = boot(|mut guest| {
        guest.stream.write_all(b"x").unwrap();
        let mut bytes = vec![0; SIZE];
        for piece in bytes.chunks_mut(SIZE / 16) {
            std::thread::sleep(Duration::from_millis(2));
            guest.stream.read_exact(piece).unwrap();
        }
        assert!(bytes.iter().zip(0u32..).all(|(&byte, i)| byte == i.to_le_bytes()[0]));
        guest.stream.write_all(&bytes).unwrap();
        VmEnd::Restart
    });
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"x".to_vec()));
    let bytes: Vec<u8> = (0u32..).take(SIZE).map(|i| i.to_le_bytes()[0]).collect();
    session.send(&bytes, in_20_seconds()).unwrap();
    let mut echoed = Vec::new();
    while let Event::Bytes(more) = next_event(&mut session) {
        echoed.extend(more);
    }
    assert!(echoed == bytes, "{} echoed bytes", echoed.len());
}

#[test]
fn sending_to_a_guest_that_does_not_read_ends_at_the_deadline() {
    let mut session = boot(|mut guest| {
        guest.stream.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        VmEnd::Stopped
    });
    assert_eq!(next_event(&mut session), Event::Connected);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = session.send(&vec![0; 16 << 20], deadline).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// A closed socket stays readable, so a session that polled a closed stream would not sleep.
#[test]
fn waiting_after_the_end_of_the_stream_takes_no_cpu_time() {
    let mut session = boot(|mut guest| {
        guest.stream.write_all(b"x").unwrap();
        guest.stream.shutdown(std::net::Shutdown::Both).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        VmEnd::Restart
    });
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"x".to_vec()));
    assert_eq!(next_event(&mut session), Event::Disconnected);
    let start_cpu_time = thread_cpu_time();
    let deadline = Instant::now() + Duration::from_millis(400);
    assert_eq!(session.next(deadline, None).unwrap(), Event::DeadlinePassed);
    let used_cpu_time = thread_cpu_time() - start_cpu_time;
    assert!(used_cpu_time < Duration::from_millis(100), "the session does not sleep");
    assert_eq!(session.send(b"x", in_20_seconds()).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

/// Returns the CPU time of this thread.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn dropping_a_session_ends_its_guest() {
    let start = Instant::now();
    let mut session = boot(|mut guest| {
        guest.stream.write_all(b"x").unwrap();
        let mut rest = Vec::new();
        let _ = guest.stream.read_to_end(&mut rest);
        VmEnd::Stopped
    });
    assert_eq!(next_event(&mut session), Event::Connected);
    drop(session);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_interrupt_has_precedence_over_other_events() {
    let mut session = boot(|mut guest| {
        guest.stream.write_all(b"x").unwrap();
        VmEnd::Restart
    });
    let (interrupt, mut interrupt_writer) = io::pipe().unwrap();
    interrupt_writer.write_all(&[1]).unwrap();
    assert_eq!(session.next(in_20_seconds(), Some(interrupt.as_fd())).unwrap(), Event::Interrupted);
    assert_eq!(next_event(&mut session), Event::Connected);
}

#[test]
fn boot_returns_the_error_of_the_backend() {
    let machine = FakeBackend::new(|_| VmEnd::Restart);
    assert_eq!(machine.describe(DeviceDiscovery::Acpi), "thread of the test");
    let error =
        Session::boot(&machine, &VmSpec { wait_for_gdb: true, ..spec() }).err().expect("an error");
    assert!(matches!(error, BootError::Refused { .. }));
    assert_eq!(error.to_string(), "the test's backend did not start: it has no gdb stub");
}
