// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::virtio::driver::event;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// An output that keeps the written bytes. Clones share the bytes.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    pub(crate) fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output on which every write fails.
struct FailingOutput;

impl Write for FailingOutput {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Registers, by their names in the data sheet.
const THR: u16 = 0;
const IER: u16 = 1;
const IIR: u16 = 2;
const MCR: u16 = 4;
/// IER and IIR: the transmitter holding register is empty.
const THR_EMPTY: u8 = 2;
/// Default size of a pipe in bytes.
const PIPE_SIZE: u64 = 0x10000;

#[test]
fn an_empty_transmitter_interrupts_if_enabled() {
    let interrupt = event();
    let mut serial = Serial::new(interrupt.try_clone().unwrap(), Box::new(Screen::default()));
    serial.write(THR, b'a');
    assert!(interrupt.read().is_err());
    serial.write(IER, THR_EMPTY);
    assert_eq!(interrupt.read().unwrap(), 1, "the transmitter is empty");
    assert_eq!(serial.read(IIR) & 0xf, THR_EMPTY);
    serial.write(THR, b'b');
    assert_eq!(interrupt.read().unwrap(), 1);
}

#[test]
fn a_uart_with_a_failing_output_continues_to_interrupt() {
    let interrupt = event();
    let mut serial = Serial::new(interrupt.try_clone().unwrap(), Box::new(FailingOutput));
    serial.write(IER, THR_EMPTY);
    serial.read(IIR);
    interrupt.read().unwrap();
    serial.write(THR, b'a');
    assert_eq!(interrupt.read().unwrap(), 1, "the driver would wait for the interrupt");
}

#[test]
fn a_restored_uart_equals_the_saved_one() {
    let screen = Screen::default();
    let mut serial = Serial::new(event(), Box::new(screen.clone()));
    // Loopback mode.
    serial.write(MCR, 0x10);
    serial.write(IER, 3);
    serial.write(THR, b'l');
    for offset in 2..8 {
        serial.write(offset, 0x10 + u8::try_from(offset).unwrap());
    }
    let state = serial.save();
    assert_eq!(state.received, b"l");
    let text = serde_json::to_string(&state).unwrap();
    let parsed: SerialState = serde_json::from_str(&text).unwrap();
    let interrupt = event();
    let restored =
        Serial::restore(&parsed, interrupt.try_clone().unwrap(), Box::new(screen.clone())).unwrap();
    assert_eq!(restored.save(), state);
    assert!(interrupt.read().is_ok(), "an interrupt was pending");

    let overlong = SerialState { received: vec![0; 65], ..state };
    assert!(Serial::restore(&overlong, event(), Box::new(screen)).is_err());
}

#[test]
fn output_to_a_full_pipe_waits_for_the_reader() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut output = ConsoleOutput::new(writer, event()).unwrap();
    let text: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let expected = text.clone();
    let printer = thread::spawn(move || output.write_all(&text));
    let mut read_bytes = Vec::new();
    reader.read_to_end(&mut read_bytes).unwrap();
    printer.join().unwrap().unwrap();
    assert!(read_bytes == expected);
}

#[test]
fn after_an_abort_output_to_a_full_pipe_is_dropped() {
    let (reader, writer) = io::pipe().unwrap();
    let abort_evt = event();
    let output = ConsoleOutput::new(writer, abort_evt.try_clone().unwrap()).unwrap();
    let mut serial = Serial::new(event(), Box::new(output));
    let printer = thread::spawn(move || {
        // More bytes than a pipe has room for.
        for _ in 0..200_000 {
            serial.write(THR, b'x');
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while rustix::io::ioctl_fionread(&reader).unwrap() < PIPE_SIZE && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!printer.is_finished());
    abort_evt.write(1).unwrap();
    printer.join().unwrap();
    assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), PIPE_SIZE, "the pipe is still full");
}

#[test]
fn output_that_waits_fails_when_the_reader_closes_the_pipe() {
    let (reader, writer) = io::pipe().unwrap();
    let mut output = ConsoleOutput::new(writer, event()).unwrap();
    let printer = thread::spawn(move || output.write_all(&vec![0; 1 << 20]));
    thread::sleep(Duration::from_millis(20));
    drop(reader);
    assert_eq!(printer.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
