//! Every case on the kernel of this machine, through the program as a caller uses it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use sudbox_guest_init::cases::{Case, TABLE};
use sudbox_protocol::{
    CaseResult, FrameReader, GuestMessage, Hello, HostMessage, Plan, PlannedCase, ResultKind,
};

/// The host's side of the conversation.
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
            let length = self.stream.read(&mut piece).expect("the guest's words");
            assert!(length > 0, "the guest went silent");
            self.frames.push(&piece[..length]);
        }
    }

    fn send(&mut self, message: &HostMessage) {
        self.stream.write_all(&message.to_frame()).expect("the guest listens");
    }
}

#[test]
fn this_kernel_keeps_its_promises() {
    let cases: Vec<&Case> = TABLE.iter().copied().flatten().collect();
    let (mut host, hello) = Host::start();
    assert_eq!(hello.version, sudbox_protocol::VERSION);
    assert!(hello.cpus > 0 && !hello.release.is_empty());
    println!("{} {:?} on {}", hello.release, hello.features, hello.cpu_model);
    let planned = |case: &&Case| PlannedCase { id: case.id.into(), deadline_ms: 20_000 };
    host.send(&HostMessage::Plan(Plan { cases: cases.iter().map(planned).collect() }));
    let mut kinds = Vec::new();
    let mut wrong = Vec::new();
    for (index, case) in (0u32..).zip(&cases) {
        assert_eq!(host.receive(), GuestMessage::Start { case: index });
        host.send(&HostMessage::Go { case: index });
        let (result, micros) = loop {
            match host.receive() {
                GuestMessage::Log { case: of, text } if of == index => println!("  {text}"),
                GuestMessage::End { case: of, result, micros } if of == index => {
                    break (result, micros);
                }
                other => panic!("{other:?} during {}", case.id),
            }
        };
        println!("{micros:6} us  {}  {result:?}", case.id);
        kinds.push(result.kind());
        match result {
            CaseResult::Pass | CaseResult::Absent(_) | CaseResult::Unmet(_) => {}
            CaseResult::Fail { .. } if case.known_bug.is_some() => {}
            result => wrong.push((case.id, result)),
        }
    }
    assert_eq!(host.receive(), GuestMessage::Account(kinds.clone()));
    host.send(&HostMessage::Acknowledge);
    assert!(host.guest.wait().expect("its end").success());
    let passed = kinds.iter().filter(|kind| **kind == ResultKind::Pass).count();
    println!("{passed} of {} pass", kinds.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
