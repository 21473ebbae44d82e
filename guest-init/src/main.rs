// SPDX-License-Identifier: Apache-2.0 OR MIT

//! PID 1 of the guest, or the runner on a descriptor that its caller hands down:
//! `guest-init --fd N`. `guest-init --sandbox ENGINE FILE` runs a foreign program.
//!
//! There is no Rust `main`: the runtime would install signal handlers and an alternate stack
//! before it, only for the runner to take them away again.
#![no_main]

use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::os::fd::FromRawFd;
use sudbox_guest_init::{cases, conversation, pid1, probe, runner, sys};

/// Exit codes as the whole project uses them.
const DONE: c_int = 0;
const TROUBLE: c_int = 128;
const USAGE: c_int = 129;

/// Entered by the C library. PID 1 heeds no arguments: the kernel hands it what it does not
/// understand of its own.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    if sys::getpid() == 1 {
        pid1::run();
    }
    let words: Vec<String> = (1..usize::try_from(count).unwrap_or(0))
        // SAFETY: the C library hands over `count` terminated strings.
        .map(|i| unsafe { CStr::from_ptr(*words.add(i)) }.to_string_lossy().into_owned())
        .collect();
    let descriptor = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        #[cfg(windows_programs)]
        ["--sandbox", engine, file] => return sudbox_guest_init::sandbox::command(engine, file),
        ["--fd", number] => number.parse().ok().filter(|fd| *fd >= 0),
        _ => None,
    };
    let Some(descriptor) = descriptor else {
        eprintln!("guest-init: runs as PID 1 of a guest, or as `guest-init --fd N`");
        return USAGE;
    };
    match serve(descriptor) {
        Ok(()) => DONE,
        Err(problem) => {
            eprintln!("guest-init: {problem}");
            TROUBLE
        }
    }
}

fn serve(descriptor: c_int) -> Result<(), conversation::ConversationError> {
    let runner = sys::getpid();
    std::panic::set_hook(Box::new(move |info| {
        if sys::getpid() == runner {
            eprintln!("guest-init: {info}");
            return;
        }
        runner::end_of_panicked_child(&info.to_string())
    }));
    // Programs that cases execute do not get the conversation.
    // SAFETY: the caller hands the descriptor over for this.
    let mut stream = unsafe {
        libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        File::from_raw_fd(descriptor)
    };
    runner::prepare()?;
    runner::converse(&mut stream, probe::find(false), cases::TABLE)
}
