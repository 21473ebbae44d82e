// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection to QEMU's monitor (QMP). The monitor reports that QEMU is ready and that the guest
//! has reset the machine, and returns the contents of the registers.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// Maximum length of a line in bytes. The registers of 8 CPUs take about 20 KiB.
const LINE_LIMIT: usize = 1024 * 1024;

/// A message from QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The machine runs, or waits for a debugger.
    Ready,
    /// The guest has reset or shut down the machine. The vCPUs stop before QEMU answers a request.
    GuestShutdown,
    /// The requested registers, as text; empty if QEMU refused.
    Registers(String),
}

/// The connection to QEMU's monitor.
pub(super) struct Monitor {
    stream: UnixStream,
    /// The received part of the next line.
    partial_line: Vec<u8>,
}

impl Monitor {
    /// Opens the monitor on one end of a socket pair; QEMU has the other end. Requests
    /// [`Message::Ready`].
    pub(super) fn new(mut stream: UnixStream) -> std::io::Result<Monitor> {
        stream.write_all(request("qmp_capabilities", &json!({}), "ready").as_bytes())?;
        // QEMU reports events only after `qmp_capabilities`, so ask whether the guest has shut down
        // already.
        stream.write_all(request("query-status", &json!({}), "status").as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Monitor { stream, partial_line: Vec::new() })
    }

    /// Requests the registers of all CPUs.
    pub(super) fn request_registers(&mut self) {
        let arguments = json!({ "command-line": "info registers -a" });
        // The write fails only if QEMU has ended: the 100 bytes fit into the socket's buffer.
        let _ = self
            .stream
            .write_all(request("human-monitor-command", &arguments, "registers").as_bytes());
    }

    /// Stops the vCPUs, so that their registers are consistent. [`Monitor::read`] ignores QEMU's
    /// event `STOP`.
    pub(super) fn pause_vcpus(&mut self) {
        let _ = self.stream.write_all(request("stop", &json!({}), "paused").as_bytes());
    }

    /// Returns the received messages, without waiting.
    pub(super) fn read(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 => {
                    for &byte in &chunk[..count] {
                        if byte == b'\n' {
                            messages.extend(parse(&std::mem::take(&mut self.partial_line)));
                        } else if self.partial_line.len() < LINE_LIMIT {
                            self.partial_line.push(byte);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return messages,
            }
        }
    }

    /// Returns a descriptor that is readable when a message has arrived.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Returns the line that requests a command. QEMU's answer has the same id.
fn request(command: &str, arguments: &Value, id: &str) -> String {
    format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }))
}

/// Describes each CPU in one line, from the registers as QEMU prints them. `describe_cpu` is
/// [`super::board::Board::describe_cpu`].
pub(super) fn vcpu_states(
    registers: &str,
    describe_cpu: fn(usize, &str) -> Option<String>,
) -> Vec<String> {
    registers
        .split("CPU#")
        .skip(1)
        .enumerate()
        .filter_map(|(cpu_index, cpu_registers)| describe_cpu(cpu_index, cpu_registers))
        .collect()
}

/// Parses a line. Returns `None` if the line is not a [`Message`].
fn parse(line: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(line).ok()?;
    match (value["event"].as_str(), value["id"].as_str()) {
        (Some("SHUTDOWN"), _) => {
            // After a signal from outside, QEMU ends by itself and names the signal on stderr.
            (value["data"]["guest"] == true).then_some(Message::GuestShutdown)
        }
        (None, Some("ready")) => Some(Message::Ready),
        (None, Some("status")) => {
            (value["return"]["status"] == "shutdown").then_some(Message::GuestShutdown)
        }
        (None, Some("registers")) => {
            Some(Message::Registers(value["return"].as_str().unwrap_or_default().to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_other_lines_ignored() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 22}}, "capabilities": ["oob"]}}"#;
        assert_eq!(parse(greeting), None);
        assert_eq!(parse(br#"{"return": {}, "id": "ready"}"#), Some(Message::Ready));
        let status = br#"{"return": {"status": "running", "running": true}, "id": "status"}"#;
        assert_eq!(parse(status), None);
        let status = br#"{"return": {"status": "shutdown", "running": false}, "id": "status"}"#;
        assert_eq!(parse(status), Some(Message::GuestShutdown));
        let reset = br#"{"timestamp": {}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(parse(reset), Some(Message::GuestShutdown));
        let signal = br#"{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}"#;
        assert_eq!(parse(signal), None);
        // The event and the answer after `pause_vcpus`.
        assert_eq!(parse(br#"{"timestamp": {}, "event": "STOP"}"#), None);
        assert_eq!(parse(br#"{"return": {}, "id": "paused"}"#), None);
        let answer = br#"{"return": "RAX=1\r\nRBX=2\r\n", "id": "registers"}"#;
        assert_eq!(parse(answer), Some(Message::Registers("RAX=1\r\nRBX=2\r\n".into())));
        let refusal = br#"{"error": {"class": "GenericError", "desc": "no"}, "id": "registers"}"#;
        assert_eq!(parse(refusal), Some(Message::Registers(String::new())));
        assert_eq!(parse(b"not json"), None);
    }

    #[test]
    fn an_answer_may_arrive_in_pieces() {
        let (monitor_end, mut qemu_end) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(monitor_end).unwrap();
        qemu_end.write_all(br#"{"return": {}, "id""#).unwrap();
        assert_eq!(monitor.read(), []);
        qemu_end
            .write_all(b": \"ready\"}\r\n{\"return\": \"\", \"id\": \"registers\"}\r\n")
            .unwrap();
        assert_eq!(monitor.read(), [Message::Ready, Message::Registers(String::new())]);
        monitor.request_registers();
        drop(monitor);
        let mut text = String::new();
        qemu_end.read_to_string(&mut text).unwrap();
        let requests: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(requests[0]["execute"], "qmp_capabilities");
        assert_eq!(requests[1]["execute"], "query-status");
        assert_eq!(requests[2]["arguments"]["command-line"], "info registers -a");
    }
}
