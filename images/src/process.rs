// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs child processes in their own process group. The kernel terminates the child processes when this
//! process ends.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::containment::{Containment, KILL_DELAY};
use crate::error::Error;
use crate::lock::EntryLock;
use crate::monitor::Monitor;
use crate::poll;

/// Interval of [`Event::Tick`].
const TICK_INTERVAL: Duration = Duration::from_millis(200);

/// An event of running children.
pub(crate) enum Event<'a> {
    /// A child wrote this line to stdout or stderr.
    Line(&'a str),
    /// No line was read for [`TICK_INTERVAL`].
    Tick,
}

/// Runs a pipeline until all its commands have ended. Calls `on_event` for each line of the last
/// command's stdout and of every command's stderr.
///
/// The children inherit the descriptor of `lock`: if this process is killed, the entry of the cache
/// stays locked until the children have ended.
///
/// # Errors
/// [`Error::CannotRun`] if a command cannot be started; [`Error::Interrupted`], after all children
/// were killed.
pub(crate) fn run(
    commands: Vec<Command>,
    lock: &EntryLock,
    monitor: &mut dyn Monitor,
    on_event: &mut dyn FnMut(&mut dyn Monitor, Event<'_>),
) -> Result<Vec<ExitStatus>, Error> {
    run_contained(commands, &Containment::default(), lock, monitor, on_event)
}

/// Like [`run`], with a containment around each child.
pub(crate) fn run_contained(
    commands: Vec<Command>,
    containment: &Containment,
    lock: &EntryLock,
    monitor: &mut dyn Monitor,
    on_event: &mut dyn FnMut(&mut dyn Monitor, Event<'_>),
) -> Result<Vec<ExitStatus>, Error> {
    let (reader, mut group) = spawn_pipeline(commands, containment, lock)?;
    let result = read_lines(reader, monitor, on_event);
    if result.is_err() {
        group.stop();
    }
    let statuses = group.wait();
    result?;
    statuses.map_err(|reason| Error::Child { operation: "wait for a child", reason })
}

/// Runs one command until it ends. Returns its exit status, and the lines of its stdout and stderr.
///
/// # Errors
/// [`Error::CannotRun`] if the command cannot be started; [`Error::Interrupted`], after its process
/// group was killed.
pub fn status_and_lines(
    command: Command,
    lock: &EntryLock,
    monitor: &mut dyn Monitor,
) -> Result<(ExitStatus, Vec<String>), Error> {
    let mut lines = Vec::new();
    let statuses = run(vec![command], lock, monitor, &mut |_, event| {
        if let Event::Line(line) = event {
            lines.push(line.to_owned());
        }
    })?;
    let status = statuses.into_iter().next();
    Ok((status.expect("each command has one"), lines))
}

/// Runs one command until it ends. Returns its stdout and stderr as one text; `None` if the command
/// failed.
pub(crate) fn capture(
    command: Command,
    monitor: &mut dyn Monitor,
) -> Result<Option<String>, Error> {
    let (status, lines) = status_and_lines(command, &EntryLock::default(), monitor)?;
    Ok(status.success().then(|| lines.iter().flat_map(|line| [line, "\n"]).collect()))
}

/// Starts a pipeline. Returns the pipe from which to read its output, and its process group.
fn spawn_pipeline(
    commands: Vec<Command>,
    containment: &Containment,
    lock: &EntryLock,
) -> Result<(PipeReader, ProcessGroup), Error> {
    let make_pipe =
        || io::pipe().map_err(|reason| Error::Child { operation: "make a pipe", reason });
    let (reader, writer) = make_pipe()?;
    let lock = lock.file().map(|file| file.as_raw_fd());
    let parent = rustix::process::getpid();
    let mut group = ProcessGroup { children: Vec::new(), leader: None };
    let mut input: Option<PipeReader> = None;
    let mut commands = commands.into_iter().peekable();
    while let Some(mut command) = commands.next() {
        let name = command.get_program().to_string_lossy().into_owned();
        let clone_writer = |writer: &io::PipeWriter| {
            writer.try_clone().map_err(|reason| Error::Child { operation: "make a pipe", reason })
        };
        command
            .process_group(group.leader.map_or(0, Pid::as_raw_pid))
            .stderr(clone_writer(&writer)?);
        if let Some(input) = input.take() {
            command.stdin(input);
        }
        if commands.peek().is_some() {
            let (next_input, output) = make_pipe()?;
            command.stdout(output);
            input = Some(next_input);
        } else {
            command.stdout(clone_writer(&writer)?);
        }
        let prepare = move || -> io::Result<()> {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            if rustix::process::getppid() != Some(parent) {
                return Err(Errno::SRCH.into());
            }
            if let Some(lock) = lock {
                // SAFETY: the caller's `lock` keeps the descriptor open until after exec.
                let lock = unsafe { BorrowedFd::borrow_raw(lock) };
                // Without close-on-exec, the children keep the lock until the last child exits.
                rustix::io::fcntl_setfd(lock, FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes system calls (prctl, getppid,
        // fcntl), all of which are allowed there, and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        // The containment must be added last, because it forks once more.
        containment.add_to(&mut command);
        match command.spawn() {
            Ok(child) => {
                group.leader.get_or_insert(Pid::from_child(&child));
                group.children.push(child);
            }
            Err(reason) => {
                group.stop();
                let _ = group.wait();
                return Err(Error::CannotRun { program: name, reason });
            }
        }
    }
    Ok((reader, group))
}

/// The children of one pipeline.
struct ProcessGroup {
    children: Vec<Child>,
    /// The first child, whose PID is the group's id.
    leader: Option<Pid>,
}

impl ProcessGroup {
    /// Sends a signal to all processes of the group.
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The leader has not been waited for, so its PID still names this group. An error means
            // that the group has ended.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }

    /// Kills the group: by SIGTERM, and by SIGKILL after [`KILL_DELAY`].
    fn stop(&mut self) {
        self.signal(Signal::TERM);
        let kill_time = Instant::now() + KILL_DELAY;
        // Reap no child before SIGKILL is sent, because the kernel could reuse the PID of a reaped
        // leader.
        while Instant::now() < kill_time {
            if self.children.iter().all(has_exited) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::KILL);
    }

    /// Waits for all children, and reaps them.
    fn wait(&mut self) -> io::Result<Vec<ExitStatus>> {
        self.children.iter_mut().map(Child::wait).collect()
    }
}

/// Whether a child has ended. Does not reap the child.
fn has_exited(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = rustix::process::waitid(WaitId::Pid(Pid::from_child(child)), options);
    // An error means that the child was reaped before.
    status.map_or(true, |status| status.is_some())
}

/// Reads lines from the pipe and passes them to `on_event`, until all writers have closed the pipe.
fn read_lines(
    mut reader: PipeReader,
    monitor: &mut dyn Monitor,
    on_event: &mut dyn FnMut(&mut dyn Monitor, Event<'_>),
) -> Result<(), Error> {
    let read_failure =
        |reason: io::Error| Error::Child { operation: "read what a child writes", reason };
    // The received part of the next line.
    let mut pending = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let descriptors = [Some(reader.as_fd()), monitor.interrupt()];
        let [has_input, is_interrupted] =
            poll::wait_readable(descriptors, TICK_INTERVAL).map_err(read_failure)?;
        if is_interrupted {
            return Err(Error::Interrupted);
        }
        if !has_input {
            on_event(monitor, Event::Tick);
            continue;
        }
        let count = reader.read(&mut buffer).map_err(read_failure)?;
        pending.extend_from_slice(&buffer[..count]);
        let mut start = 0;
        while let Some(length) = pending[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&pending[start..start + length]);
            on_event(monitor, Event::Line(line.trim_end_matches('\r')));
            start += length + 1;
        }
        pending.drain(..start);
        if count == 0 {
            if !pending.is_empty() {
                on_event(monitor, Event::Line(&String::from_utf8_lossy(&pending)));
            }
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
