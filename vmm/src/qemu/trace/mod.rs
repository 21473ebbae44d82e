// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces the operations that the guest marks: QEMU logs each instruction between the marks.
//!
//! A thread controls QEMU by its gdb stub. Breakpoints at the marks stop the VM, so that QEMU's log
//! is switched on and off exactly at the marks. The guest's clock does not advance meanwhile.

mod gdb;
mod kinds;
mod log;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::machine::MarkedOperationTrace;
use gdb::Gdb;
use log::TranslatedCode;
use sudbox_protocol::marks;

/// Time limit for QEMU to open the socket of its gdb stub, which takes about 20 ms.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(60);
/// Time between two attempts to connect.
const CONNECT_INTERVAL: Duration = Duration::from_millis(10);

/// Old and new name of the command of QEMU's monitor that puts every instruction into a translation
/// block of its own (renamed in QEMU 8.1). QEMU prints an error for the name that it does not know,
/// and continues.
const ONE_INSTRUCTION_PER_BLOCK: [&str; 2] = ["singlestep", "one-insn-per-tb"];

/// A thread that traces the marked operations of a VM.
pub(super) struct Tracer {
    results: Arc<Mutex<Results>>,
    /// `None` after the thread was joined.
    thread: Option<JoinHandle<()>>,
}

/// Results of the thread so far.
#[derive(Default)]
struct Results {
    /// The shortest trace of each operation, because interrupts lengthen a trace.
    traces: Vec<MarkedOperationTrace>,
    failure: Option<String>,
}

impl Tracer {
    /// Starts the thread. `socket` is the path of the gdb stub's socket, `log` the path of QEMU's
    /// log.
    pub(super) fn start(socket: String, log: PathBuf) -> Tracer {
        let results = Arc::new(Mutex::new(Results::default()));
        let shared = results.clone();
        let thread = thread::spawn(move || {
            if let Err(error) = trace(&socket, &log, &shared) {
                lock(&shared).failure = Some(error.to_string());
            }
        });
        Tracer { results, thread: Some(thread) }
    }

    /// Returns the traces so far.
    ///
    /// # Errors
    /// The reason why operations are not traced.
    pub(super) fn traces(&self) -> Result<Vec<MarkedOperationTrace>, String> {
        let results = lock(&self.results);
        results.failure.clone().map_or_else(|| Ok(results.traces.clone()), Err)
    }
}

impl Drop for Tracer {
    /// Waits for the thread, which ends when QEMU has ended.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(results: &Mutex<Results>) -> std::sync::MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to QEMU, and traces until QEMU ends. After an error the VM continues without traces.
fn trace(socket: &str, log: &Path, results: &Mutex<Results>) -> io::Result<()> {
    let Some(mut gdb) = connect(socket)? else { return Ok(()) };
    let result = trace_marked_operations(&mut gdb, log, results);
    if result.is_err() {
        gdb.detach()?;
    }
    result
}

/// Traces operations until QEMU ends the connection.
fn trace_marked_operations(
    gdb: &mut Gdb<UnixStream>,
    log: &Path,
    results: &Mutex<Results>,
) -> io::Result<()> {
    for mark in [marks::BEGIN, marks::END] {
        gdb.set_breakpoint(mark)?;
    }
    let mut code = TranslatedCode::default();
    let mut log_position = 0;
    let mut operation = 0;
    loop {
        if gdb.resume().is_err() {
            return Ok(());
        }
        let registers = gdb.registers()?;
        match registers.rip {
            marks::BEGIN => {
                // The guest passes the number of the operation in RDI.
                operation = registers.rdi;
                // Step over the breakpoint, which would stop the VM again at the same instruction.
                gdb.step()?;
                for command in ONE_INSTRUCTION_PER_BLOCK {
                    let _ = gdb.monitor(&format!("{command} on"))?;
                }
                let _ = gdb.monitor("log in_asm,exec,nochain")?;
            }
            marks::END => {
                let _ = gdb.monitor("log none")?;
                for command in ONE_INSTRUCTION_PER_BLOCK {
                    let _ = gdb.monitor(&format!("{command} off"))?;
                }
                let text = read_new_text(log, &mut log_position)?;
                let operations = code.executed(&text);
                if code.is_empty() {
                    return Err(io::Error::other("QEMU does not log the bytes of instructions"));
                }
                let mut results = lock(results);
                for instructions in operations {
                    keep_shortest(
                        &mut results.traces,
                        MarkedOperationTrace { operation, instructions },
                    );
                }
                drop(results);
                gdb.step()?;
            }
            other => {
                let message = format!("the VM stopped at {other:#x} instead of a mark");
                return Err(io::Error::other(message));
            }
        }
    }
}

/// Stores a trace, unless a shorter trace of the operation is stored already.
fn keep_shortest(traces: &mut Vec<MarkedOperationTrace>, new: MarkedOperationTrace) {
    match traces.iter_mut().find(|trace| trace.operation == new.operation) {
        Some(old) if old.total() <= new.total() => {}
        Some(old) => *old = new,
        None => traces.push(new),
    }
}

/// Connects to the stub. Returns `None` if QEMU ends before the stub listens.
fn connect(socket: &str) -> io::Result<Option<Gdb<UnixStream>>> {
    let deadline = Instant::now() + CONNECT_TIME_LIMIT;
    loop {
        match Gdb::connect(socket) {
            Ok(gdb) => return Ok(Some(gdb)),
            // The socket's directory is removed when the VM is dropped.
            Err(_) if !Path::new(socket).parent().is_some_and(Path::exists) => return Ok(None),
            Err(error)
                if Instant::now() < deadline
                    && matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) =>
            {
                thread::sleep(CONNECT_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads a file from `position` to the end, and sets `position` to the end.
fn read_new_text(path: &Path, position: &mut u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let _ = file.seek(SeekFrom::Start(*position))?;
    let mut bytes = Vec::new();
    *position += file.read_to_end(&mut bytes)? as u64;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::ExecutedInstruction;

    #[test]
    fn the_shortest_trace_of_an_operation_is_kept() {
        let trace = |operation, count| MarkedOperationTrace {
            operation,
            instructions: vec![ExecutedInstruction { address: 0, kind: None, count }],
        };
        let mut traces = Vec::new();
        for (operation, count) in [(1, 9), (1, 7), (2, 3), (1, 8)] {
            keep_shortest(&mut traces, trace(operation, count));
        }
        assert_eq!(traces, [trace(1, 7), trace(2, 3)]);
    }

    #[test]
    fn only_new_text_of_the_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut position = 0;
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(read_new_text(&path, &mut position).unwrap(), "one\n");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(read_new_text(&path, &mut position).unwrap(), "two\n");
    }

    #[test]
    fn the_thread_ends_without_traces_when_the_vm_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("gdb").to_string_lossy().into_owned();
        drop(dir);
        let tracer = Tracer::start(socket, "log".into());
        while !tracer.thread.as_ref().unwrap().is_finished() {
            thread::sleep(CONNECT_INTERVAL);
        }
        assert_eq!(tracer.traces(), Ok(Vec::new()));
    }
}
