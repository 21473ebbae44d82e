// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of QEMU's gdb stub: breakpoints, resuming, stepping, registers, and commands of QEMU's
//! monitor, by gdb's remote serial protocol ("Debugging with GDB", appendix E).

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// Maximum length of a packet in bytes. The registers of x86-64 take 3 KiB.
const PACKET_LIMIT: usize = 1024 * 1024;

/// Index of RDI, the first argument of a function, among the registers of `org.gnu.gdb.i386.core`.
const RDI_INDEX: usize = 5;
/// Index of RIP among the registers of `org.gnu.gdb.i386.core`.
const RIP_INDEX: usize = 16;

/// The registers of a stopped vCPU that this crate uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) rdi: u64,
    pub(super) rip: u64,
}

/// A connection to the stub. QEMU stops the VM when the connection is opened, until
/// [`Gdb::resume`].
pub(super) struct Gdb<S> {
    stream: S,
    /// Received bytes that are not decoded yet.
    received: Vec<u8>,
}

impl Gdb<UnixStream> {
    /// Connects to the stub that listens at `path`.
    ///
    /// # Errors
    /// If the connection fails.
    pub(super) fn connect(path: &str) -> io::Result<Self> {
        Ok(Gdb::new(UnixStream::connect(path)?))
    }
}

impl<S: Read + Write> Gdb<S> {
    fn new(stream: S) -> Self {
        Gdb { stream, received: Vec::new() }
    }

    /// Sets a breakpoint at an instruction.
    ///
    /// # Errors
    /// If the connection fails or the stub refuses.
    pub(super) fn set_breakpoint(&mut self, address: u64) -> io::Result<()> {
        let answer = self.request(&format!("Z0,{address:x},1"))?;
        expect_ok(&answer)
    }

    /// Resumes the VM and waits until the VM stops again.
    ///
    /// # Errors
    /// If the connection fails or ends.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.send("c")?;
        self.receive().map(drop)
    }

    /// Executes one instruction of the stopped vCPU, even if it has a breakpoint.
    ///
    /// # Errors
    /// If the connection fails or ends.
    pub(super) fn step(&mut self) -> io::Result<()> {
        self.send("s")?;
        self.receive().map(drop)
    }

    /// Reads the registers of the stopped vCPU.
    ///
    /// # Errors
    /// If the connection fails, or the answer is not the registers of x86-64.
    pub(super) fn registers(&mut self) -> io::Result<Registers> {
        let answer = self.request("g")?;
        let register = |index: usize| {
            let bytes = decode_hex(answer.get(16 * index..16 * (index + 1))?)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        match (register(RDI_INDEX), register(RIP_INDEX)) {
            (Some(rdi), Some(rip)) => Ok(Registers { rdi, rip }),
            _ => Err(unexpected("registers", &answer)),
        }
    }

    /// Executes a command of QEMU's human monitor and returns its output.
    ///
    /// # Errors
    /// If the connection fails.
    pub(super) fn monitor(&mut self, command: &str) -> io::Result<String> {
        let digits: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut answer = self.request(&format!("qRcmd,{digits}"))?;
        let mut output = Vec::new();
        while answer != "OK" {
            let part = answer.strip_prefix('O').and_then(decode_hex);
            output.extend(part.ok_or_else(|| unexpected("output of the monitor", &answer))?);
            answer = self.receive()?;
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Removes the breakpoints and resumes the VM.
    ///
    /// # Errors
    /// If the connection fails.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        self.send("D")
    }

    /// Sends a packet and returns the answer.
    fn request(&mut self, content: &str) -> io::Result<String> {
        self.send(content)?;
        loop {
            let answer = self.receive()?;
            // Skip the stop reply (`T`) that the stub sends if it stopped a running VM when the
            // connection was opened.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    /// Sends a packet: `$`, content, `#` and checksum.
    fn send(&mut self, content: &str) -> io::Result<()> {
        let checksum = content.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${content}#{checksum:02x}").as_bytes())
    }

    /// Receives a packet, acknowledges the packet, and returns its content.
    fn receive(&mut self) -> io::Result<String> {
        loop {
            if let Some((content, length)) = first_packet(&self.received) {
                self.received.drain(..length);
                self.stream.write_all(b"+")?;
                return Ok(content);
            }
            if self.received.len() > PACKET_LIMIT {
                return Err(io::Error::other("the gdb stub sends no end of a packet"));
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the content of the first complete packet in `received`, and the number of bytes up to the
/// end of the packet.
fn first_packet(received: &[u8]) -> Option<(String, usize)> {
    let start = received.iter().position(|byte| *byte == b'$')?;
    let length = received[start..].iter().position(|byte| *byte == b'#')?;
    let end = start + length + 3;
    let content = &received[start + 1..start + length];
    (received.len() >= end).then(|| (String::from_utf8_lossy(content).into_owned(), end))
}

fn expect_ok(answer: &str) -> io::Result<()> {
    if answer == "OK" { Ok(()) } else { Err(unexpected("OK", answer)) }
}

fn unexpected(expected: &str, answer: &str) -> io::Error {
    let start: String = answer.chars().take(40).collect();
    io::Error::other(format!("the gdb stub answers `{start}` instead of {expected}"))
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stub with prepared answers. Records the requests.
    struct Stub {
        answers: io::Cursor<Vec<u8>>,
        requests: Vec<u8>,
    }

    impl Read for Stub {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // Return one byte at a time, so that packets arrive in pieces.
            self.answers.read(&mut buffer[..1])
        }
    }

    impl Write for Stub {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.requests.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gdb(answers: &str) -> Gdb<Stub> {
        let answers = io::Cursor::new(answers.as_bytes().to_vec());
        Gdb::new(Stub { answers, requests: Vec::new() })
    }

    #[test]
    fn packets_have_checksums_and_are_acknowledged() {
        let mut gdb = gdb("$T02thread:01;#04+$OK#9a+$T05thread:01;#07");
        gdb.set_breakpoint(0x5bd0).unwrap();
        gdb.resume().unwrap();
        assert_eq!(gdb.stream.requests, b"$Z0,5bd0,1#3e++$c#63+");
        assert_eq!(gdb.resume().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn registers_are_little_endian() {
        let mut text: String = (0..24).map(|index| format!("{index:02x}00000000000080")).collect();
        text = format!("${text}#00");
        let registers = gdb(&text).registers().unwrap();
        assert_eq!(registers, Registers { rdi: 5 | 1 << 63, rip: 16 | 1 << 63 });
        assert!(gdb("$E01#a6").registers().is_err());
    }

    #[test]
    fn the_monitors_output_ends_with_ok() {
        assert_eq!(gdb("$O6162#00$O63#00$OK#9a").monitor("log none").unwrap(), "abc");
        assert!(gdb("$E22#a9").monitor("log none").is_err());
        assert!(gdb("$#00").set_breakpoint(1).unwrap_err().to_string().contains("instead of OK"));
    }
}
