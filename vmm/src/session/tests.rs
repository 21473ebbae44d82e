// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of sessions, in which the test acts as the guest and the backend.

use super::*;
use crate::console;
use crate::vsock::device::Device;
use crate::vsock::packet::{GUEST_CID, HOST_CID, Header, SHUTDOWN_BOTH, TYPE_STREAM, op};
use crate::vsock::shared_device::SharedDevice;
use crate::vsock::stream::VsockStream;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const PORT: u32 = 1024;

/// A VM whose end the test sets, which also closes the console.
struct FakeBackend {
    end: Arc<Mutex<Option<VmEnd>>>,
    alive: io::PipeReader,
}

impl Vm for FakeBackend {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.alive.as_fd()]
    }
    fn handle_events(&mut self) -> Option<VmEnd> {
        self.end.lock().unwrap().clone()
    }
    fn vcpu_states(&mut self) -> Vec<String> {
        vec!["CPU 0 halted".to_owned()]
    }
}

/// The guest's and the backend's side of a session.
struct Guest {
    shared_device: Arc<SharedDevice>,
    console: Option<io::PipeWriter>,
    end: Arc<Mutex<Option<VmEnd>>>,
    alive: Option<io::PipeWriter>,
}

impl Guest {
    fn packet(&self, op: u16, payload: &[u8]) {
        let header = Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: 1,
            dst_port: PORT,
            len: u32::try_from(payload.len()).unwrap(),
            kind: TYPE_STREAM,
            op,
            flags: if op == op::SHUTDOWN { SHUTDOWN_BOTH } else { 0 },
            buf_alloc: 1000,
            ..Header::default()
        };
        self.shared_device.with(|device| device.receive(&header, payload));
    }

    fn print(&mut self, text: &str) {
        self.console.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn end(&mut self, end: VmEnd) {
        *self.end.lock().unwrap() = Some(end);
        self.console = None;
        self.alive = None;
    }
}

fn pair() -> (Session, Guest) {
    let mut device = Device::new();
    device.listen(PORT);
    let shared_device = Arc::new(SharedDevice::new(device).unwrap());
    let (console, writer) = console::pipe().unwrap();
    let (alive, keep) = io::pipe().unwrap();
    let end = Arc::new(Mutex::new(None));
    let vm = FakeBackend { end: end.clone(), alive };
    let stream = Box::new(VsockStream::new(shared_device.clone(), PORT));
    let session = Session::new(RunningVm { vm: Box::new(vm), stream, console });
    (session, Guest { shared_device, console: Some(writer), end, alive: Some(keep) })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn next(session: &mut Session) -> Event {
    session.next(soon(), None).unwrap()
}

/// The event that is ready now.
fn now(session: &mut Session) -> Event {
    session.next(Instant::now(), None).unwrap()
}

#[test]
fn events_of_a_whole_session() {
    let (mut session, mut guest) = pair();
    assert_eq!(now(&mut session), Event::DeadlinePassed);
    assert_eq!(session.send(b"x", soon()).unwrap_err().kind(), ErrorKind::NotConnected);
    guest.packet(op::REQUEST, &[]);
    guest.packet(op::RW, b"hello");
    assert_eq!(next(&mut session), Event::Connected);
    assert_eq!(next(&mut session), Event::Bytes(b"hello".to_vec()));
    session.send(b"answer", soon()).unwrap();
    let packets =
        guest.shared_device.with(|d| std::iter::from_fn(|| d.next_packet(99)).collect::<Vec<_>>());
    assert_eq!(packets.last().unwrap().payload, b"answer");
    guest.packet(op::RW, b"bye");
    guest.packet(op::SHUTDOWN, &[]);
    assert_eq!(next(&mut session), Event::Bytes(b"bye".to_vec()));
    assert_eq!(next(&mut session), Event::Disconnected);
    assert_eq!(now(&mut session), Event::DeadlinePassed);
    assert_eq!(session.send(b"x", soon()).unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.end(VmEnd::Restart);
    assert_eq!(next(&mut session), Event::Ended);
    assert_eq!(next(&mut session), Event::Ended);
    assert_eq!(session.finish(Duration::ZERO), VmEnd::Restart);
}

#[test]
fn only_the_first_connection_is_the_sessions() {
    let (mut session, guest) = pair();
    guest.packet(op::REQUEST, &[]);
    assert_eq!(next(&mut session), Event::Connected);
    let other = Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 2,
        dst_port: PORT,
        kind: TYPE_STREAM,
        op: op::REQUEST,
        ..Header::default()
    };
    let answer = guest.shared_device.with(|d| {
        while d.next_packet(0).is_some() {}
        d.receive(&other, &[]);
        d.next_packet(0).unwrap().header
    });
    assert_eq!((answer.op, answer.dst_port), (op::RST, 2));
    assert_eq!(now(&mut session), Event::DeadlinePassed);
}

#[test]
fn bytes_sent_before_the_end_are_reported_before_it() {
    let (mut session, mut guest) = pair();
    guest.packet(op::REQUEST, &[]);
    guest.packet(op::RW, b"last words");
    guest.print("last line\n");
    guest.end(VmEnd::TripleFault("RIP".into()));
    assert_eq!(next(&mut session), Event::Connected);
    assert_eq!(next(&mut session), Event::Bytes(b"last words".to_vec()));
    assert_eq!(next(&mut session), Event::Ended);
    assert_eq!(session.console().text_since(0), "last line\n");
    assert_eq!(session.finish(soon() - Instant::now()), VmEnd::TripleFault("RIP".into()));
}

#[test]
fn the_console_written_before_bytes_is_read_with_them() {
    let (mut session, mut guest) = pair();
    guest.packet(op::REQUEST, &[]);
    assert_eq!(next(&mut session), Event::Connected);
    let player = thread::spawn(move || {
        for i in 0..500 {
            guest.print(&format!("line {i}\n"));
            guest.packet(op::RW, &[1]);
        }
        guest
    });
    let mut count = 0;
    while count < 500 {
        if let Event::Bytes(bytes) = next(&mut session) {
            count += bytes.len();
            let console = session.console().text_since(0);
            assert!(console.contains(&format!("line {}\n", count - 1)), "{count} bytes");
        }
    }
    player.join().unwrap();
}

#[test]
fn endless_console_output_does_not_hide_other_events() {
    let (mut session, mut guest) = pair();
    let mut writer = guest.console.take().unwrap();
    let flood = thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
    let deadline = Instant::now() + Duration::from_millis(200);
    while session.next(deadline, None).unwrap() != Event::DeadlinePassed {}
    guest.packet(op::REQUEST, &[]);
    guest.packet(op::RW, b"heard");
    assert_eq!(next(&mut session), Event::Connected);
    assert_eq!(next(&mut session), Event::Bytes(b"heard".to_vec()));
    let (interrupt, mut caller) = io::pipe().unwrap();
    caller.write_all(&[1]).unwrap();
    assert_eq!(session.next(soon(), Some(interrupt.as_fd())).unwrap(), Event::Interrupted);
    assert!(session.console().total_bytes() > 4096);
    assert!(session.console().text_since(0).len() <= 520 * 1024);
    assert_eq!(session.finish(Duration::from_millis(100)), VmEnd::Stopped);
    flood.join().unwrap();
}

#[test]
fn new_console_output_is_reported_once() {
    let (mut session, mut guest) = pair();
    guest.print("one");
    assert_eq!(next(&mut session), Event::ConsoleOutput);
    assert_eq!(now(&mut session), Event::DeadlinePassed);
    guest.print("two");
    assert_eq!(session.console().text_since(3), "two");
    assert_eq!(now(&mut session), Event::DeadlinePassed);
}

#[test]
fn waiting_ends_when_something_happens() {
    let (mut session, mut guest) = pair();
    let player = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        guest.packet(op::REQUEST, &[]);
        thread::sleep(Duration::from_millis(30));
        guest.packet(op::RW, b"x");
        thread::sleep(Duration::from_millis(30));
        guest.end(VmEnd::Killed(9));
        guest
    });
    let start = Instant::now();
    assert_eq!(next(&mut session), Event::Connected);
    assert_eq!(next(&mut session), Event::Bytes(b"x".to_vec()));
    assert_eq!(next(&mut session), Event::Ended);
    assert!(start.elapsed() < Duration::from_secs(10));
    player.join().unwrap();
    assert_eq!(session.finish(Duration::ZERO), VmEnd::Killed(9));
}

#[test]
fn sending_to_a_guest_that_does_not_read_ends_at_the_deadline() {
    let (mut session, guest) = pair();
    guest.packet(op::REQUEST, &[]);
    assert_eq!(next(&mut session), Event::Connected);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = session.send(&vec![0; 10 * crate::vsock::BUFFER_SIZE], deadline).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline);
}

#[test]
fn sending_continues_when_the_guest_reads_and_ends_with_the_guest() {
    for dies in [false, true] {
        let (mut session, mut guest) = pair();
        guest.packet(op::REQUEST, &[]);
        assert_eq!(next(&mut session), Event::Connected);
        let total = 2 * crate::vsock::BUFFER_SIZE;
        let player = thread::spawn(move || {
            let mut taken = 0;
            while taken < total {
                let packet = guest.shared_device.with(|d| d.next_packet(4096));
                taken += packet.map_or(0, |p| p.payload.len());
                // Credit as if the guest had read everything.
                let credit = Header {
                    buf_alloc: u32::MAX,
                    ..Header {
                        src_cid: GUEST_CID,
                        dst_cid: HOST_CID,
                        src_port: 1,
                        dst_port: PORT,
                        kind: TYPE_STREAM,
                        op: op::CREDIT_UPDATE,
                        ..Header::default()
                    }
                };
                guest.shared_device.with(|d| d.receive(&credit, &[]));
                if dies && taken > 10_000 {
                    guest.end(VmEnd::Killed(9));
                    return guest;
                }
            }
            guest
        });
        let sent = session.send(&vec![0; total], soon());
        assert_eq!(
            sent.map_err(|e| e.kind()),
            if dies { Err(ErrorKind::BrokenPipe) } else { Ok(()) }
        );
        player.join().unwrap();
    }
}

#[test]
fn a_panic_is_reported_whatever_ended_the_vm_afterwards() {
    let panic = "Kernel panic - not syncing: why";
    for (end, said) in [
        (Some(VmEnd::Restart), VmEnd::Panic(panic.into())),
        (Some(VmEnd::TripleFault(String::new())), VmEnd::Panic(panic.into())),
        (None, VmEnd::Panic(panic.into())),
        (Some(VmEnd::Killed(9)), VmEnd::Killed(9)),
        (Some(VmEnd::Failed("broken".into())), VmEnd::Failed("broken".into())),
    ] {
        let (session, mut guest) = pair();
        guest.print(&format!("[1.0] {panic}\r\n"));
        if let Some(end) = end {
            guest.end(end);
        }
        assert_eq!(session.finish(Duration::from_millis(20)), said);
    }
}

#[test]
fn a_guest_that_sends_without_end_is_stopped() {
    let (mut session, guest) = pair();
    guest.packet(op::REQUEST, &[]);
    assert_eq!(next(&mut session), Event::Connected);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            // Less than the credit, so that the connection is not reset.
            guest.packet(op::RW, &[0; 64]);
            while guest.shared_device.with(|d| d.next_packet(0)).is_some() {}
        }
    });
    let start = Instant::now();
    assert_eq!(session.finish(Duration::from_millis(50)), VmEnd::Stopped);
    assert!(start.elapsed() < Duration::from_secs(10));
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
}

#[test]
fn finishing_takes_no_longer_than_its_limit() {
    let (session, guest) = pair();
    guest.packet(op::REQUEST, &[]);
    let start = Instant::now();
    assert_eq!(session.finish(Duration::from_millis(50)), VmEnd::Stopped);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_secs(5));
}
