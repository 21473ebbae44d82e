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

/// A stream that fails as after an error of the host.
struct FailingStream;

impl HostStream for FailingStream {
    fn accept(&mut self) -> io::Result<bool> {
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("the guest has not connected")
    }
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        unreachable!("the guest has not connected")
    }
    fn read_event(&self) -> PollFd<'_> {
        unreachable!("the stream has failed")
    }
    fn write_event(&self) -> PollFd<'_> {
        unreachable!("the stream has failed")
    }
}

/// A VM whose end the test sets by [`Guest::end`].
struct FakeVm {
    end: Arc<Mutex<Option<VmEnd>>>,
    /// Becomes readable when the write end, [`Guest::running`], is closed.
    ended: io::PipeReader,
}

impl Vm for FakeVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ended.as_fd()]
    }
    fn handle_events(&mut self) -> Option<VmEnd> {
        self.end.lock().unwrap().clone()
    }
    fn describe_vcpus_before_end(&mut self) -> Vec<String> {
        vec!["CPU 0 halted".to_owned()]
    }
}

/// The guest of a session. The test calls its methods in place of a kernel.
struct Guest {
    shared_device: Arc<SharedDevice>,
    /// Write end of the console; `None` after the end.
    console: Option<io::PipeWriter>,
    end: Arc<Mutex<Option<VmEnd>>>,
    /// Open as long as the VM runs.
    running: Option<io::PipeWriter>,
}

impl Guest {
    /// Sends a packet with operation `op`.
    fn send(&self, op: u16, payload: &[u8]) {
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

    /// Ends the VM and closes its console.
    fn end(&mut self, end: VmEnd) {
        *self.end.lock().unwrap() = Some(end);
        self.console = None;
        self.running = None;
    }
}

fn session_and_guest() -> (Session, Guest) {
    let mut device = Device::new();
    device.listen(PORT);
    let shared_device = Arc::new(SharedDevice::new(device).unwrap());
    let (console, writer) = console::pipe().unwrap();
    let (ended, running) = io::pipe().unwrap();
    let end = Arc::new(Mutex::new(None));
    let vm = FakeVm { end: end.clone(), ended };
    let stream = Box::new(VsockStream::new(shared_device.clone(), PORT));
    let session = Session::new(RunningVm { vm: Box::new(vm), stream, console });
    (session, Guest { shared_device, console: Some(writer), end, running: Some(running) })
}

fn in_20_seconds() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Waits for the next event.
fn next_event(session: &mut Session) -> Event {
    session.next(in_20_seconds(), None).unwrap()
}

/// Returns the event that is ready now.
fn ready_event(session: &mut Session) -> Event {
    session.next(Instant::now(), None).unwrap()
}

#[test]
fn a_session_reports_connection_bytes_disconnection_and_end() {
    let (mut session, mut guest) = session_and_guest();
    assert_eq!(ready_event(&mut session), Event::DeadlinePassed);
    assert_eq!(session.send(b"x", in_20_seconds()).unwrap_err().kind(), ErrorKind::NotConnected);
    guest.send(op::REQUEST, &[]);
    guest.send(op::RW, b"hello");
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"hello".to_vec()));
    session.send(b"answer", in_20_seconds()).unwrap();
    let packets = guest
        .shared_device
        .with(|device| std::iter::from_fn(|| device.next_packet(99)).collect::<Vec<_>>());
    assert_eq!(packets.last().unwrap().payload, b"answer");
    guest.send(op::RW, b"bye");
    guest.send(op::SHUTDOWN, &[]);
    assert_eq!(next_event(&mut session), Event::Bytes(b"bye".to_vec()));
    assert_eq!(next_event(&mut session), Event::Disconnected);
    assert_eq!(ready_event(&mut session), Event::DeadlinePassed);
    assert_eq!(session.send(b"x", in_20_seconds()).unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.end(VmEnd::Restart);
    assert_eq!(next_event(&mut session), Event::Ended);
    assert_eq!(next_event(&mut session), Event::Ended);
    assert_eq!(session.finish(Duration::ZERO), VmEnd::Restart);
}

#[test]
fn only_the_guests_first_connection_belongs_to_the_session() {
    let (mut session, guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    assert_eq!(next_event(&mut session), Event::Connected);
    let second_request = Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 2,
        dst_port: PORT,
        kind: TYPE_STREAM,
        op: op::REQUEST,
        ..Header::default()
    };
    let answer = guest.shared_device.with(|device| {
        while device.next_packet(0).is_some() {}
        device.receive(&second_request, &[]);
        device.next_packet(0).unwrap().header
    });
    assert_eq!((answer.op, answer.dst_port), (op::RST, 2));
    assert_eq!(ready_event(&mut session), Event::DeadlinePassed);
}

#[test]
fn bytes_sent_before_the_end_are_reported_before_the_end() {
    let (mut session, mut guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    guest.send(op::RW, b"last words");
    guest.print("last line\n");
    guest.end(VmEnd::TripleFault("RIP".into()));
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"last words".to_vec()));
    assert_eq!(next_event(&mut session), Event::Ended);
    assert_eq!(session.console().text_since(0), "last line\n");
    assert_eq!(session.finish(in_20_seconds() - Instant::now()), VmEnd::TripleFault("RIP".into()));
}

#[test]
fn the_console_has_all_output_printed_before_the_reported_bytes() {
    let (mut session, mut guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    assert_eq!(next_event(&mut session), Event::Connected);
    let guest_thread = thread::spawn(move || {
        for i in 0..500 {
            guest.print(&format!("line {i}\n"));
            guest.send(op::RW, &[1]);
        }
        guest
    });
    let mut count = 0;
    while count < 500 {
        if let Event::Bytes(bytes) = next_event(&mut session) {
            count += bytes.len();
            let console = session.console().text_since(0);
            assert!(console.contains(&format!("line {}\n", count - 1)), "{count} bytes");
        }
    }
    guest_thread.join().unwrap();
}

#[test]
fn endless_console_output_does_not_hide_other_events() {
    let (mut session, mut guest) = session_and_guest();
    let mut writer = guest.console.take().unwrap();
    let printer = thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
    let deadline = Instant::now() + Duration::from_millis(200);
    while session.next(deadline, None).unwrap() != Event::DeadlinePassed {}
    guest.send(op::REQUEST, &[]);
    guest.send(op::RW, b"heard");
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"heard".to_vec()));
    let (interrupt, mut caller) = io::pipe().unwrap();
    caller.write_all(&[1]).unwrap();
    assert_eq!(session.next(in_20_seconds(), Some(interrupt.as_fd())).unwrap(), Event::Interrupted);
    assert!(session.console().total_bytes() > 4096);
    assert!(session.console().text_since(0).len() <= 520 * 1024);
    assert_eq!(session.finish(Duration::from_millis(100)), VmEnd::Stopped);
    printer.join().unwrap();
}

#[test]
fn new_console_output_is_reported_once() {
    let (mut session, mut guest) = session_and_guest();
    guest.print("one");
    assert_eq!(next_event(&mut session), Event::ConsoleOutput);
    assert_eq!(ready_event(&mut session), Event::DeadlinePassed);
    guest.print("two");
    assert_eq!(session.console().text_since(3), "two");
    assert_eq!(ready_event(&mut session), Event::DeadlinePassed);
}

#[test]
fn next_returns_as_soon_as_an_event_occurs() {
    let (mut session, mut guest) = session_and_guest();
    let guest_thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        guest.send(op::REQUEST, &[]);
        thread::sleep(Duration::from_millis(30));
        guest.send(op::RW, b"x");
        thread::sleep(Duration::from_millis(30));
        guest.end(VmEnd::Killed(9));
        guest
    });
    let start = Instant::now();
    assert_eq!(next_event(&mut session), Event::Connected);
    assert_eq!(next_event(&mut session), Event::Bytes(b"x".to_vec()));
    assert_eq!(next_event(&mut session), Event::Ended);
    assert!(start.elapsed() < Duration::from_secs(10));
    guest_thread.join().unwrap();
    assert_eq!(session.finish(Duration::ZERO), VmEnd::Killed(9));
}

#[test]
fn sending_to_a_guest_that_does_not_read_ends_at_the_deadline() {
    let (mut session, guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    assert_eq!(next_event(&mut session), Event::Connected);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = session.send(&vec![0; 10 * crate::vsock::BUFFER_SIZE], deadline).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline);
}

#[test]
fn sending_continues_when_the_guest_reads_and_ends_with_the_guest() {
    for guest_dies in [false, true] {
        let (mut session, mut guest) = session_and_guest();
        guest.send(op::REQUEST, &[]);
        assert_eq!(next_event(&mut session), Event::Connected);
        let total = 2 * crate::vsock::BUFFER_SIZE;
        let guest_thread = thread::spawn(move || {
            let mut read_bytes = 0;
            while read_bytes < total {
                let packet = guest.shared_device.with(|device| device.next_packet(4096));
                read_bytes += packet.map_or(0, |packet| packet.payload.len());
                // The largest credit, so that the host may always send.
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
                guest.shared_device.with(|device| device.receive(&credit, &[]));
                if guest_dies && read_bytes > 10_000 {
                    guest.end(VmEnd::Killed(9));
                    return guest;
                }
            }
            guest
        });
        let result = session.send(&vec![0; total], in_20_seconds());
        assert_eq!(
            result.map_err(|error| error.kind()),
            if guest_dies { Err(ErrorKind::BrokenPipe) } else { Ok(()) }
        );
        guest_thread.join().unwrap();
    }
}

#[test]
fn a_panic_is_the_vms_end_unless_the_backend_was_killed_or_failed() {
    let panic = "Kernel panic - not syncing: why";
    for (vm_end, session_end) in [
        (Some(VmEnd::Restart), VmEnd::Panic(panic.into())),
        (Some(VmEnd::TripleFault(String::new())), VmEnd::Panic(panic.into())),
        (None, VmEnd::Panic(panic.into())),
        (Some(VmEnd::Killed(9)), VmEnd::Killed(9)),
        (Some(VmEnd::Failed("broken".into())), VmEnd::Failed("broken".into())),
    ] {
        let (session, mut guest) = session_and_guest();
        guest.print(&format!("[1.0] {panic}\r\n"));
        if let Some(end) = vm_end {
            guest.end(end);
        }
        assert_eq!(session.finish(Duration::from_millis(20)), session_end);
    }
}

#[test]
fn a_guest_that_sends_without_end_is_stopped() {
    let (mut session, guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    assert_eq!(next_event(&mut session), Event::Connected);
    let is_stopping = Arc::new(AtomicBool::new(false));
    let sender_is_stopping = is_stopping.clone();
    let sender = thread::spawn(move || {
        while !sender_is_stopping.load(Ordering::Relaxed) {
            // Fewer bytes than the credit, so that the host does not reset the connection.
            guest.send(op::RW, &[0; 64]);
            while guest.shared_device.with(|device| device.next_packet(0)).is_some() {}
        }
    });
    let start = Instant::now();
    assert_eq!(session.finish(Duration::from_millis(50)), VmEnd::Stopped);
    assert!(start.elapsed() < Duration::from_secs(10));
    is_stopping.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}

#[test]
fn finishing_takes_no_longer_than_its_limit() {
    let (session, guest) = session_and_guest();
    guest.send(op::REQUEST, &[]);
    let start = Instant::now();
    assert_eq!(session.finish(Duration::from_millis(50)), VmEnd::Stopped);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_error_of_the_host_is_not_an_end_by_the_guest() {
    let (mut session, guest) = session_and_guest();
    session.stream = Box::new(FailingStream);
    assert_eq!(session.next(in_20_seconds(), None).unwrap_err().kind(), ErrorKind::OutOfMemory);
    let VmEnd::Failed(message) = session.finish(Duration::ZERO) else { panic!("not a failure") };
    assert!(message.starts_with("the host cannot wait for the VM: "), "{message}");
    drop(guest);
}
