// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Turns SIGINT, SIGTERM and SIGHUP into a descriptor that becomes readable.

use crate::failure::Code;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A flag that the first signal sets, and a pipe that is readable after the first signal.
static SIGNALS: OnceLock<(Arc<AtomicBool>, PipeReader)> = OnceLock::new();

/// Installs the signal handlers. The first signal makes the descriptor readable; a second signal
/// ends the process at once, and the parent-death signal then kills its child processes.
///
/// # Errors
/// If the pipe or a handler cannot be made.
pub(crate) fn install_handlers() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let has_signal = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Handlers run in the order in which they are registered, so the shutdown handler finds the
        // flag unset at the first signal.
        flag::register_conditional_shutdown(signal, Code::Interrupted as i32, has_signal.clone())?;
        flag::register(signal, has_signal.clone())?;
        low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    // This function is called once, so the cell is empty.
    let _ = SIGNALS.set((has_signal, reader));
    Ok(())
}

/// The descriptor that is readable after the first signal.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    SIGNALS.get().map(|(_, reader)| reader.as_fd())
}

/// Whether a signal was received.
pub(crate) fn is_pending() -> bool {
    SIGNALS.get().is_some_and(|(has_signal, _)| has_signal.load(Ordering::SeqCst))
}
