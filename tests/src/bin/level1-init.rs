// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PID 1 of level 1, an emulated machine with KVM. Serves the requests of the host over vsock, one at a
//! time. [`sudbox_tests::level1`] sends the requests.
//!
//! The program is statically linked, because level 1 may have no libraries. An error outside of a
//! request ends the program, so the kernel panics. The console then has the error.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use sudbox_tests::level1::wire::{self, Program, ProgramEnd, Request, Response};

/// Type and mount point of the file systems that programs expect.
const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/dev/shm"),
];

/// Maximum time until processes end by themselves, before [`kill_all`] kills them.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    for (file_system, mount_point) in MOUNTS {
        mount(file_system, mount_point)?;
    }
    let mut host = connect()?;
    wire::send(&mut host, &Response::Ready)?;
    loop {
        let answer = match wire::receive(&mut host)? {
            Request::Restart => restart(),
            request => serve(&request, &mut host)
                .unwrap_or_else(|e| Response::Failed(format!("{e}: {request:?}"))),
        };
        wire::send(&mut host, &answer)?;
    }
}

/// Performs a request other than [`Request::Restart`].
fn serve(request: &Request, host: &mut File) -> io::Result<Response> {
    Ok(match request {
        Request::Run(programs) => Response::Ended(run(programs, host)?),
        Request::Read(path) => {
            Response::Text(String::from_utf8_lossy(&fs::read(path)?).into_owned())
        }
        Request::Write(path, text) => {
            fs::write(path, text)?;
            Response::Text(String::new())
        }
        Request::Files(path) => {
            let mut names = Vec::new();
            list_files(Path::new(path), fs::metadata(path)?.dev(), &mut names)?;
            names.sort();
            Response::Names(names)
        }
        Request::KillAll => Response::Names(kill_all()?),
        Request::Restart => unreachable!("main handles it"),
    })
}

/// Creates a directory and mounts a file system on it.
fn mount(file_system: &str, mount_point: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(mount_point)?;
    let (file_system, mount_point) = (format!("{file_system}\0"), format!("{mount_point}\0"));
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let result = unsafe {
        libc::mount(
            file_system.as_ptr().cast(),
            mount_point.as_ptr().cast(),
            file_system.as_ptr().cast(),
            0,
            std::ptr::null(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connects to the host's vsock port.
fn connect() -> io::Result<File> {
    // SAFETY: all zeros are a valid sockaddr_vm.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).map_err(io::Error::other)?;
    address.svm_port = wire::PORT;
    address.svm_cid = libc::VMADDR_CID_HOST;
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: `length` is the address's size; the socket is new, so the File owns it alone.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = File::from_raw_fd(fd);
        if libc::connect(fd, (&raw const address).cast(), length) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// A running program and its output files. The output goes to files and not to pipes, because processes
/// that the program leaves behind would keep a pipe open.
struct RunningProgram {
    child: Child,
    started: Instant,
    stdout: File,
    stderr: File,
}

/// Runs programs in parallel until all have ended, and sends [`Response::Busy`] meanwhile.
fn run(programs: &[Program], host: &mut File) -> io::Result<Vec<ProgramEnd>> {
    let running = programs.iter().map(start).collect::<io::Result<Vec<_>>>()?;
    let ended = std::thread::scope(|scope| {
        // No messages are sent. The channel disconnects when every thread has dropped its sender.
        let (sender, receiver) = mpsc::channel::<Infallible>();
        let threads: Vec<_> = running
            .into_iter()
            .zip(programs)
            .map(|(running, program)| {
                let sender = sender.clone();
                scope.spawn(move || {
                    let _sender = sender;
                    running.wait(program)
                })
            })
            .collect();
        drop(sender);
        while receiver.recv_timeout(wire::HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
            wire::send(host, &Response::Busy(busy_time()?))?;
        }
        threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
    });
    reap_orphans();
    ended
}

/// Busy time of all CPUs since boot.
fn busy_time() -> io::Result<Duration> {
    // proc_stat(5): `cpu` user nice system idle iowait irq softirq, in ticks of 10 ms (`USER_HZ` is
    // 100). `user` includes the time of guests.
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
    let is_busy = |index: usize| index != 3 && index != 4;
    let busy_fields = fields.take(7).enumerate().filter(|(index, _)| is_busy(*index));
    let ticks: u64 = busy_fields.map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn start(program: &Program) -> io::Result<RunningProgram> {
    let (name, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (stdout, stderr) = (memfd()?, memfd()?);
    let started = Instant::now();
    let child = Command::new(name)
        .args(arguments)
        .env_clear()
        .envs(&program.env)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .map_err(|e| io::Error::other(format!("{name} does not start: {e}")))?;
    Ok(RunningProgram { child, started, stdout, stderr })
}

/// Creates an anonymous file in memory.
fn memfd() -> io::Result<File> {
    // SAFETY: the string is NUL-terminated; the descriptor is new, so the File owns it alone.
    unsafe {
        match libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

impl RunningProgram {
    /// Reads the files of the program's inspection at their time, waits for the end of the program, and
    /// kills the program at its time limit.
    fn wait(mut self, program: &Program) -> io::Result<ProgramEnd> {
        let pid = libc::pid_t::try_from(self.child.id()).map_err(io::Error::other)?;
        let inspected = match &program.inspection {
            Some(inspection) if !ends_within(pid, inspection.after)? => {
                let read = |file: &String| {
                    fs::read_to_string(file.replace("/proc/child", &format!("/proc/{pid}")))
                };
                Some(inspection.files.iter().map(read).collect::<io::Result<_>>()?)
            }
            _ => None,
        };
        if !ends_within(pid, program.limit.saturating_sub(self.started.elapsed()))? {
            self.child.kill()?;
        }
        let mut status = 0;
        // SAFETY: all zeros are a valid rusage; both pointers are to live variables.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            if libc::wait4(pid, &raw mut status, 0, &raw mut usage) != pid {
                return Err(io::Error::last_os_error());
            }
            usage
        };
        let elapsed = self.started.elapsed();
        Ok(ProgramEnd {
            code: if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            },
            stdout: contents(&mut self.stdout)?,
            stderr: contents(&mut self.stderr)?,
            elapsed,
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            resident_kib: usage.ru_maxrss.unsigned_abs(),
            inspected,
        })
    }
}

/// Waits up to `limit` for a child's end, without reaping the child. Returns whether the child has ended.
fn ends_within(pid: libc::pid_t, limit: Duration) -> io::Result<bool> {
    // SAFETY: pidfd_open takes no pointers; the child is not reaped yet, so `pid` is the child's.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, so the File owns it alone.
    let _pidfd = unsafe { File::from_raw_fd(fd) };
    let mut event = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to one live pollfd.
    match unsafe { libc::poll(&raw mut event, 1, limit) } {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads a file from its beginning.
fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn duration(value: libc::timeval) -> Duration {
    Duration::from_secs(value.tv_sec.unsigned_abs())
        + Duration::from_micros(value.tv_usec.unsigned_abs())
}

/// Reaps orphans that have ended, which the kernel gives to PID 1 as children.
fn reap_orphans() {
    // SAFETY: the status pointer may be null. No thread waits for a child of its own at this time.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Waits up to [`GRACE`] for all processes to end, then kills those that are left and returns them.
fn kill_all() -> io::Result<Vec<String>> {
    let deadline = Instant::now() + GRACE;
    let mut remaining;
    loop {
        reap_orphans();
        remaining = processes()?;
        if remaining.is_empty() || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: kill takes no pointers. Sent by PID 1 to -1, the signal spares PID 1 and kernel threads.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    Ok(remaining)
}

/// PID and name of every user process except PID 1 and zombies.
fn processes() -> io::Result<Vec<String>> {
    /// `PF_KTHREAD` of include/linux/sched.h.
    const PF_KTHREAD: u64 = 0x0020_0000;
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        // proc_pid_stat(5): state, ppid, pgrp, session, tty_nr, tpgid, flags.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let flags = fields.get(6).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
        if !name.starts_with("1 ") && fields.first() != Some(&"Z") && flags & PF_KTHREAD == 0 {
            processes.push(name.replace('(', ""));
        }
    }
    Ok(processes)
}

/// Collects the paths of all files below `directory` on the file system `device`.
fn list_files(directory: &Path, device: u64, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && meta.dev() == device {
            list_files(&entry.path(), device, names)?;
        } else if !meta.is_dir() {
            names.push(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Restarts the machine, which ends QEMU (`-no-reboot`). A power-off would only halt the CPUs, because
/// the machine has no ACPI (kernel/reboot.c).
fn restart() -> ! {
    loop {
        // SAFETY: reboot takes no pointers; no memory is used after it succeeds.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    }
}
