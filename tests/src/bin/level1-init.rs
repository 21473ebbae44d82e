// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PID 1 of level 1, a machine that has KVM: does what the host asks for over vsock, one request
//! after the other ([`sudbox_tests::level1`] is the host's side). Static, because there is nothing
//! else. What goes wrong ends it, and with it the machine; the console says why.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use sudbox_tests::level1::wire::{self, Answer, Ended, Program, Request};

/// Type and place of what a program of a host expects.
const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/dev/shm"),
];

/// What is killed from outside, or goes down with another, may take so long to go.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    for (kind, place) in MOUNTS {
        mount(kind, place)?;
    }
    let mut host = dial()?;
    wire::send(&mut host, &Answer::Ready)?;
    loop {
        let answer = match wire::receive(&mut host)? {
            Request::Restart => restart(),
            request => serve(&request, &mut host)
                .unwrap_or_else(|e| Answer::Failed(format!("{e}: {request:?}"))),
        };
        wire::send(&mut host, &answer)?;
    }
}

fn serve(request: &Request, host: &mut File) -> io::Result<Answer> {
    Ok(match request {
        Request::Run(programs) => Answer::Ran(run(programs, host)?),
        Request::Read(path) => Answer::Text(String::from_utf8_lossy(&fs::read(path)?).into_owned()),
        Request::Write(path, text) => {
            fs::write(path, text)?;
            Answer::Text(String::new())
        }
        Request::Files(path) => {
            let mut names = Vec::new();
            walk(Path::new(path), fs::metadata(path)?.dev(), &mut names)?;
            names.sort();
            Answer::Names(names)
        }
        Request::Sweep => Answer::Names(sweep()?),
        Request::Restart => unreachable!("does not come here"),
    })
}

fn mount(kind: &str, place: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(place)?;
    let (kind, place) = (format!("{kind}\0"), format!("{place}\0"));
    // SAFETY: reads terminated strings.
    let done = unsafe {
        libc::mount(
            kind.as_ptr().cast(),
            place.as_ptr().cast(),
            kind.as_ptr().cast(),
            0,
            std::ptr::null(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn dial() -> io::Result<File> {
    // SAFETY: an all-zero address is one.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).map_err(io::Error::other)?;
    address.svm_port = wire::PORT;
    address.svm_cid = libc::VMADDR_CID_HOST;
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the address is as long as said; the socket is new and becomes the file's.
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

/// A program that runs, and where its words go: files, because a pipe would stay open for as long
/// as something that it left behind lives.
struct Running {
    child: Child,
    started: Instant,
    stdout: File,
    stderr: File,
}

fn run(programs: &[Program], host: &mut File) -> io::Result<Vec<Ended>> {
    let running = programs.iter().map(start).collect::<io::Result<Vec<_>>>()?;
    let ended = std::thread::scope(|scope| {
        // Each thread drops its end when its program has ended; nothing is ever sent.
        let (lives, ended) = mpsc::channel::<Infallible>();
        let waiting: Vec<_> = running
            .into_iter()
            .zip(programs)
            .map(|(running, program)| {
                let lives = lives.clone();
                scope.spawn(move || {
                    let _lives = lives;
                    running.end(program)
                })
            })
            .collect();
        drop(lives);
        while ended.recv_timeout(wire::BEAT) == Err(RecvTimeoutError::Timeout) {
            wire::send(host, &Answer::Busy(busy()?))?;
        }
        waiting.into_iter().map(|one| one.join().expect("does not panic")).collect()
    });
    reap();
    ended
}

/// How long the CPUs have not been idle, all together.
fn busy() -> io::Result<Duration> {
    // proc_stat(5): `cpu`, then user, nice, system, idle, iowait, irq, softirq, in hundredths of a
    // second (`USER_HZ`); a guest's time is in user.
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
    let ticks: u64 =
        all.take(7).enumerate().map(|(i, n)| if i == 3 || i == 4 { 0 } else { n }).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn start(program: &Program) -> io::Result<Running> {
    let (name, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (stdout, stderr) = (anonymous()?, anonymous()?);
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
    Ok(Running { child, started, stdout, stderr })
}

/// A file without a name.
fn anonymous() -> io::Result<File> {
    // SAFETY: reads a terminated string; the descriptor is new and becomes the file's.
    unsafe {
        match libc::memfd_create(c"words".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

impl Running {
    fn end(mut self, program: &Program) -> io::Result<Ended> {
        let pid = libc::pid_t::try_from(self.child.id()).map_err(io::Error::other)?;
        let seen = match &program.look {
            Some(look) if !ends_within(pid, look.after)? => {
                let read = |file: &String| {
                    fs::read_to_string(file.replace("/proc/child", &format!("/proc/{pid}")))
                };
                Some(look.files.iter().map(read).collect::<io::Result<_>>()?)
            }
            _ => None,
        };
        if !ends_within(pid, program.limit.saturating_sub(self.started.elapsed()))? {
            self.child.kill()?;
        }
        let mut status = 0;
        // SAFETY: all zero is a valid rusage; both pointers are to values of ours.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            if libc::wait4(pid, &raw mut status, 0, &raw mut usage) != pid {
                return Err(io::Error::last_os_error());
            }
            usage
        };
        let took = self.started.elapsed();
        Ok(Ended {
            code: if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            },
            stdout: words(&mut self.stdout)?,
            stderr: words(&mut self.stderr)?,
            took,
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            resident_kib: usage.ru_maxrss.unsigned_abs(),
            seen,
        })
    }
}

/// Waits for a child's end, which stays to be asked for.
fn ends_within(pid: libc::pid_t, limit: Duration) -> io::Result<bool> {
    // SAFETY: takes numbers only; the child has not been waited for.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and closes with the file.
    let _open = unsafe { File::from_raw_fd(fd) };
    let mut event = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one entry of ours.
    match unsafe { libc::poll(&raw mut event, 1, limit) } {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

fn words(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn time(value: libc::timeval) -> Duration {
    Duration::from_secs(value.tv_sec.unsigned_abs())
        + Duration::from_micros(value.tv_usec.unsigned_abs())
}

/// Waits for the children that nobody waits for: those of others that have gone.
fn reap() {
    // SAFETY: asks for no status; no child of a request runs any more.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

fn sweep() -> io::Result<Vec<String>> {
    let until = Instant::now() + GRACE;
    let mut left;
    loop {
        reap();
        left = processes()?;
        if left.is_empty() || Instant::now() >= until {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: for PID 1 all but itself and the kernel's own.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    Ok(left)
}

/// Every process of user space but this one and those that are dead: pid and name.
fn processes() -> io::Result<Vec<String>> {
    /// `PF_KTHREAD` of include/linux/sched.h.
    const KERNEL: u64 = 0x0020_0000;
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        // proc_pid_stat(5): state, ppid, pgrp, session, tty_nr, tpgid, flags.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let flags = fields.get(6).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
        if !name.starts_with("1 ") && fields.first() != Some(&"Z") && flags & KERNEL == 0 {
            all.push(name.replace('(', ""));
        }
    }
    Ok(all)
}

fn walk(directory: &Path, device: u64, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && meta.dev() == device {
            walk(&entry.path(), device, names)?;
        } else if !meta.is_dir() {
            names.push(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// A restart, not a power-off: without ACPI that would be a halt (kernel/reboot.c).
fn restart() -> ! {
    loop {
        // SAFETY: ends the machine, which is this program's own.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    }
}
