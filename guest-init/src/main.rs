// SPDX-License-Identifier: Apache-2.0 OR MIT

//! guest-init: PID 1 of a guest. As an ordinary process, `guest-init --fd N` runs cases for the host
//! at the other end of an inherited descriptor, and `guest-init --sandbox ENGINE FILE` runs a foreign
//! program.
//!
//! There is no Rust `main`: the Rust runtime would install signal handlers and an alternate stack, which
//! the runner would have to remove again.
#![no_main]

use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::os::fd::FromRawFd;
use sudbox_guest_init::{cases, conversation, pid1, probe, runner, sys};

// Exit codes, with the same meaning as those of `sudbox`.
/// All planned cases were run.
const SUCCESS_EXIT_CODE: c_int = 0;
/// The connection to the host failed, or this process could not be set up.
const MACHINE_EXIT_CODE: c_int = 128;
/// The arguments are wrong.
const USAGE_EXIT_CODE: c_int = 129;

/// The entry of the program, which the C library calls. As PID 1 the program ignores its arguments, which
/// are the boot arguments that the kernel does not know.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, argv: *const *const c_char) -> c_int {
    if sys::getpid() == 1 {
        pid1::run();
    }
    let arguments: Vec<String> = (1..usize::try_from(count).unwrap_or(0))
        // SAFETY: the C library passes `count` terminated strings.
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy().into_owned())
        .collect();
    let descriptor = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        #[cfg(windows_programs)]
        ["--sandbox", engine, file] => return sudbox_guest_init::sandbox::command(engine, file),
        ["--fd", number] => number.parse().ok().filter(|fd| *fd >= 0),
        _ => None,
    };
    let Some(descriptor) = descriptor else {
        eprintln!("guest-init: runs as PID 1 of a guest, or as `guest-init --fd N`");
        return USAGE_EXIT_CODE;
    };
    match run_planned_cases(descriptor) {
        Ok(()) => SUCCESS_EXIT_CODE,
        Err(error) => {
            eprintln!("guest-init: {error}");
            MACHINE_EXIT_CODE
        }
    }
}

/// Runs the cases that the host at the other end of the descriptor plans.
fn run_planned_cases(descriptor: c_int) -> Result<(), conversation::ConversationError> {
    let runner_pid = sys::getpid();
    std::panic::set_hook(Box::new(move |info| {
        if sys::getpid() == runner_pid {
            eprintln!("guest-init: {info}");
            return;
        }
        runner::exit_panicked_child(&info.to_string())
    }));
    // Programs that cases execute must not inherit the connection.
    // SAFETY: the caller passes the descriptor for this process to own.
    let mut stream = unsafe {
        libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        File::from_raw_fd(descriptor)
    };
    runner::prepare()?;
    runner::converse(&mut stream, probe::probe_process(), cases::TABLE)
}
