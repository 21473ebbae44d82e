//! What QEMU says on its monitor (QMP): that it runs, that the guest asked for a restart, and with
//! which registers.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// Most bytes of an answer. The registers of 8 CPUs are some 20 KiB.
const LINE_LIMIT: usize = 1024 * 1024;

/// Something QEMU said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The machine is set up and runs, or waits for a debugger.
    Ready,
    /// The CPUs are stopped, or will be before the next answer: the guest was reset or shut down.
    Stopped,
    /// The registers that were asked for, as text; empty if QEMU would not tell.
    Registers(String),
}

/// The connection to QEMU's monitor.
pub(super) struct Monitor {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Monitor {
    /// Speaks to a monitor over a connection whose other end QEMU gets, and asks it to say when it
    /// is ready.
    pub(super) fn new(mut stream: UnixStream) -> std::io::Result<Monitor> {
        stream.write_all(request("qmp_capabilities", &json!({}), "ready").as_bytes())?;
        // A guest may be at its end before QEMU tells of events.
        stream.write_all(request("query-status", &json!({}), "status").as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Monitor { stream, line: Vec::new() })
    }

    /// Asks for the registers of all CPUs.
    pub(super) fn ask_registers(&mut self) {
        let arguments = json!({ "command-line": "info registers -a" });
        // A monitor that takes no request of 100 bytes is that of a QEMU that is gone.
        let _ = self
            .stream
            .write_all(request("human-monitor-command", &arguments, "registers").as_bytes());
    }

    /// Stops the CPUs, so that their registers are those of one moment.
    pub(super) fn pause(&mut self) {
        let _ = self.stream.write_all(request("stop", &json!({}), "paused").as_bytes());
    }

    /// Takes what QEMU has said, without waiting.
    pub(super) fn read(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 => {
                    for &byte in &chunk[..count] {
                        if byte == b'\n' {
                            said.extend(understand(&std::mem::take(&mut self.line)));
                        } else if self.line.len() < LINE_LIMIT {
                            self.line.push(byte);
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => return said,
            }
        }
    }

    /// Readable when QEMU has said something.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn request(command: &str, arguments: &Value, id: &str) -> String {
    format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }))
}

/// One line for each CPU on what it does, from the registers as QEMU prints them, by what a board
/// knows of one CPU's.
pub(super) fn vcpu_states(
    registers: &str,
    place: fn(usize, &str) -> Option<String>,
) -> Vec<String> {
    registers.split("CPU#").skip(1).enumerate().filter_map(|(cpu, text)| place(cpu, text)).collect()
}

/// The meaning of one line, if it has any for us.
fn understand(line: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(line).ok()?;
    match (value["event"].as_str(), value["id"].as_str()) {
        (Some("SHUTDOWN"), _) => {
            // QEMU ends by itself after a signal from outside, and its words say which.
            (value["data"]["guest"] == true).then_some(Said::Stopped)
        }
        (None, Some("ready")) => Some(Said::Ready),
        (None, Some("status")) => {
            (value["return"]["status"] == "shutdown").then_some(Said::Stopped)
        }
        (None, Some("registers")) => {
            Some(Said::Registers(value["return"].as_str().unwrap_or_default().to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 22}}, "capabilities": ["oob"]}}"#;
        assert_eq!(understand(greeting), None);
        assert_eq!(understand(br#"{"return": {}, "id": "ready"}"#), Some(Said::Ready));
        let status = br#"{"return": {"status": "running", "running": true}, "id": "status"}"#;
        assert_eq!(understand(status), None);
        let status = br#"{"return": {"status": "shutdown", "running": false}, "id": "status"}"#;
        assert_eq!(understand(status), Some(Said::Stopped));
        let reset = br#"{"timestamp": {}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(understand(reset), Some(Said::Stopped));
        let signal = br#"{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}"#;
        assert_eq!(understand(signal), None);
        let answer = br#"{"return": "RAX=1\r\nRBX=2\r\n", "id": "registers"}"#;
        assert_eq!(understand(answer), Some(Said::Registers("RAX=1\r\nRBX=2\r\n".into())));
        let refusal = br#"{"error": {"class": "GenericError", "desc": "no"}, "id": "registers"}"#;
        assert_eq!(understand(refusal), Some(Said::Registers(String::new())));
        assert_eq!(understand(b"not json"), None);
    }

    #[test]
    fn requests_and_answers_pass_in_pieces() {
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        qemus.write_all(br#"{"return": {}, "id""#).unwrap();
        assert_eq!(monitor.read(), []);
        qemus.write_all(b": \"ready\"}\r\n{\"return\": \"\", \"id\": \"registers\"}\r\n").unwrap();
        assert_eq!(monitor.read(), [Said::Ready, Said::Registers(String::new())]);
        monitor.ask_registers();
        drop(monitor);
        let mut requests = String::new();
        qemus.read_to_string(&mut requests).unwrap();
        let ids: Vec<Value> = requests.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(ids[0]["execute"], "qmp_capabilities");
        assert_eq!(ids[1]["execute"], "query-status");
        assert_eq!(ids[2]["arguments"]["command-line"], "info registers -a");
    }
}
