// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::virtio::driver::event;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The printed bytes.
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
struct Dead;

impl Write for Dead {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const THR: u16 = 0;
const IER: u16 = 1;
const IIR: u16 = 2;
const MCR: u16 = 4;

#[test]
fn the_transmitter_interrupts_if_enabled() {
    let interrupt = event();
    let mut serial = Serial::new(interrupt.try_clone().unwrap(), Box::new(Screen::default()));
    serial.write(THR, b'a');
    assert!(interrupt.read().is_err());
    serial.write(IER, 2);
    assert_eq!(interrupt.read().unwrap(), 1, "it is empty");
    assert_eq!(serial.read(IIR) & 0xf, 2);
    serial.write(THR, b'b');
    assert_eq!(interrupt.read().unwrap(), 1);
}

#[test]
fn a_failing_output_is_no_error() {
    let interrupt = event();
    let mut serial = Serial::new(interrupt.try_clone().unwrap(), Box::new(Dead));
    serial.write(IER, 2);
    serial.read(IIR);
    interrupt.read().unwrap();
    serial.write(THR, b'a');
    assert_eq!(interrupt.read().unwrap(), 1, "the driver is not to wait for it");
}

#[test]
fn a_restored_uart_equals_the_saved_one() {
    let screen = Screen::default();
    let mut serial = Serial::new(event(), Box::new(screen.clone()));
    serial.write(MCR, 0x10);
    serial.write(IER, 3);
    serial.write(THR, b'l');
    for offset in 2..8 {
        serial.write(offset, 0x10 + u8::try_from(offset).unwrap());
    }
    let state = serial.save();
    assert_eq!(state.received, b"l", "loopback");
    let text = serde_json::to_string(&state).unwrap();
    let read: SerialState = serde_json::from_str(&text).unwrap();
    let interrupt = event();
    let again =
        Serial::restore(&read, interrupt.try_clone().unwrap(), Box::new(screen.clone())).unwrap();
    assert_eq!(again.save(), state);
    assert!(interrupt.read().is_ok(), "one was pending");

    let too_much = SerialState { received: vec![0; 65], ..state };
    assert!(Serial::restore(&too_much, event(), Box::new(screen)).is_err());
}

#[test]
fn a_full_pipe_waits_for_its_reader() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut output = ConsoleOutput::new(writer, event()).unwrap();
    let text: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let expected = text.clone();
    let printing = thread::spawn(move || output.write_all(&text));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    printing.join().unwrap().unwrap();
    assert!(read == expected);
}

#[test]
fn after_an_abort_a_full_pipe_does_not_wait() {
    let (reader, writer) = io::pipe().unwrap();
    let stop = event();
    let output = ConsoleOutput::new(writer, stop.try_clone().unwrap()).unwrap();
    let mut serial = Serial::new(event(), Box::new(output));
    let printing = thread::spawn(move || {
        // More bytes than a pipe has room for.
        for _ in 0..200_000 {
            serial.write(THR, b'x');
        }
    });
    let until = Instant::now() + Duration::from_secs(20);
    while rustix::io::ioctl_fionread(&reader).unwrap() < 0x10000 && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!printing.is_finished());
    stop.write(1).unwrap();
    printing.join().unwrap();
    assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), 0x10000, "what fitted is there");
}

#[test]
fn a_closed_reader_ends_the_wait() {
    let (reader, writer) = io::pipe().unwrap();
    let mut output = ConsoleOutput::new(writer, event()).unwrap();
    let printing = thread::spawn(move || output.write_all(&vec![0; 1 << 20]));
    thread::sleep(Duration::from_millis(20));
    drop(reader);
    assert_eq!(printing.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
