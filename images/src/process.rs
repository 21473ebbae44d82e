//! Children: with a clean environment, in a process group of their own, dead when we are.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cache::Held;
use crate::owner::Owner;
use crate::{Error, Monitor};

/// What goes from our environment into a child's. Everything else stays out: MAKEFLAGS, KBUILD_*,
/// ARCH, CROSS_COMPILE, CC, LOCALVERSION and whatever else a shell or an outer make exports would
/// change what is built.
const KEPT: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "SHELL"];

/// And all that begins so: settings of ccache, of compilers that live outside /usr, of folders.
const KEPT_PREFIXES: [&str; 3] = ["CCACHE_", "NIX_", "XDG_"];

/// Proxy settings, for children that go to the network.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// How long a group has between SIGTERM and SIGKILL: make removes half-written targets meanwhile.
const GRACE: Duration = Duration::from_secs(3);

/// How often a watcher hears of a child that says nothing.
const TICK: Duration = Duration::from_millis(200);

/// A command with a clean environment, messages in English and no standard input.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, owner: Owner) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    for (name, value) in std::env::vars_os() {
        let known = name.to_str().is_some_and(|name| {
            KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|p| name.starts_with(p))
        });
        if known {
            command.env(name, value);
        }
    }
    owner.apply(&mut command);
    command
}

/// Like [`command`], for one that may use the network: keeps the proxy variables.
pub(crate) fn network_command(program: &str, owner: Owner) -> Command {
    let mut command = command(program, owner);
    for name in PROXIES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// What a watcher is told.
pub(crate) enum Event<'a> {
    /// The child wrote this line, on stdout or stderr.
    Line(&'a str),
    /// Some time has passed.
    Tick,
}

/// Runs commands, each one's stdout the next one's stdin, to their end. What they write else, and
/// the last one's stdout, goes line by line to `watch`.
///
/// `held` is passed to the children, so that the lock outlives us as long as they do.
///
/// # Errors
/// [`Error::Machine`] if one cannot be started; [`Error::Interrupted`], all of them being dead.
pub(crate) fn run(
    commands: Vec<Command>,
    held: &Held,
    monitor: &mut dyn Monitor,
    watch: &mut dyn FnMut(&mut dyn Monitor, Event<'_>),
) -> Result<Vec<ExitStatus>, Error> {
    let (reader, mut group) = spawn(commands, held)?;
    let told = read_lines(reader, monitor, watch);
    if told.is_err() {
        group.stop();
    }
    let statuses = group.wait();
    told?;
    statuses.map_err(|e| Error::Machine(format!("cannot wait for a child: {e}")))
}

/// Runs one command and gives back what it wrote to stdout, if it succeeded.
pub(crate) fn output(mut command: Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs one command to its end: how it ended, and the lines that it wrote on stdout and stderr.
///
/// # Errors
/// [`Error::Machine`] if it cannot be started; [`Error::Interrupted`], it and its children being dead.
pub fn hear(
    command: Command,
    held: &Held,
    monitor: &mut dyn Monitor,
) -> Result<(ExitStatus, Vec<String>), Error> {
    let mut lines = Vec::new();
    let statuses = run(vec![command], held, monitor, &mut |_, event| {
        if let Event::Line(line) = event {
            lines.push(line.to_owned());
        }
    })?;
    let status = statuses.into_iter().next();
    Ok((status.expect("each command has one"), lines))
}

/// Like [`output`], for one that may take seconds: it can be interrupted. What it wrote to stderr is
/// in the text too.
pub(crate) fn capture(
    command: Command,
    monitor: &mut dyn Monitor,
) -> Result<Option<String>, Error> {
    let (status, lines) = hear(command, &Held::default(), monitor)?;
    Ok(status.success().then(|| lines.iter().flat_map(|line| [line, "\n"]).collect()))
}

/// Waits, unless interrupted.
pub(crate) fn wait(time: Duration, monitor: &dyn Monitor) -> Result<(), Error> {
    match poll(None, monitor.interrupt(), time) {
        Ok(Ready { interrupted: true, .. }) => Err(Error::Interrupted),
        Ok(_) => Ok(()),
        Err(e) => Err(Error::Machine(format!("cannot wait: {e}"))),
    }
}

fn spawn(commands: Vec<Command>, held: &Held) -> Result<(PipeReader, Group), Error> {
    let pipe = || io::pipe().map_err(|e| Error::Machine(format!("cannot make a pipe: {e}")));
    let (reader, writer) = pipe()?;
    let lock = held.file().map(|file| file.as_raw_fd());
    // SAFETY: getpid() has no preconditions.
    let parent = unsafe { libc::getpid() };
    let mut group = Group { children: Vec::new(), leader: 0 };
    let mut input: Option<PipeReader> = None;
    let mut commands = commands.into_iter().peekable();
    while let Some(mut command) = commands.next() {
        let name = command.get_program().to_string_lossy().into_owned();
        let clone =
            |w: &io::PipeWriter| w.try_clone().map_err(|e| Error::Machine(format!("a pipe: {e}")));
        command.process_group(group.leader).stderr(clone(&writer)?);
        if let Some(input) = input.take() {
            command.stdin(input);
        }
        if commands.peek().is_some() {
            let (next, output) = pipe()?;
            command.stdout(output);
            input = Some(next);
        } else {
            command.stdout(clone(&writer)?);
        }
        // SAFETY: the closure only makes system calls (prctl, getppid, fcntl), all of which are
        // allowed between fork and exec, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                    return Err(io::Error::last_os_error());
                }
                if libc::getppid() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                if let Some(lock) = lock {
                    // Without close-on-exec the lock lives as long as the last child.
                    libc::fcntl(lock, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
        match command.spawn() {
            Ok(child) => {
                if group.leader == 0 {
                    group.leader = i32::try_from(child.id()).unwrap_or(0);
                }
                group.children.push(child);
            }
            Err(e) => {
                group.stop();
                let _ = group.wait();
                return Err(Error::Machine(format!(
                    "cannot run {name}: {e}; install it or put it on the PATH"
                )));
            }
        }
    }
    Ok((reader, group))
}

/// The children of one pipeline.
struct Group {
    children: Vec<Child>,
    leader: i32,
}

impl Group {
    fn signal(&self, signal: i32) {
        if self.leader > 0 {
            // SAFETY: kill() has no memory effects; the group is ours, since its leader is a child
            // that has not been waited for.
            unsafe { libc::kill(-self.leader, signal) };
        }
    }

    /// Ends the whole group, first asking, then not.
    fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let until = Instant::now() + GRACE;
        // The leader is not waited for before SIGKILL is sent: its id must stay the group's.
        while Instant::now() < until {
            if self.children.iter().all(exited) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(libc::SIGKILL);
    }

    fn wait(&mut self) -> io::Result<Vec<ExitStatus>> {
        self.children.iter_mut().map(Child::wait).collect()
    }
}

/// Whether a child has ended, without taking its status.
fn exited(child: &Child) -> bool {
    // SAFETY: `info` is a plain structure that waitid() fills; WNOWAIT leaves the child as it is.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PID, child.id(), &raw mut info, flags) != 0 || info.si_pid() != 0
    }
}

fn read_lines(
    mut reader: PipeReader,
    monitor: &mut dyn Monitor,
    watch: &mut dyn FnMut(&mut dyn Monitor, Event<'_>),
) -> Result<(), Error> {
    let failed = |e: io::Error| Error::Machine(format!("cannot read what a child writes: {e}"));
    let mut pending = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let ready = poll(Some(reader.as_fd()), monitor.interrupt(), TICK).map_err(failed)?;
        if ready.interrupted {
            return Err(Error::Interrupted);
        }
        if !ready.input {
            watch(monitor, Event::Tick);
            continue;
        }
        let count = reader.read(&mut buffer).map_err(failed)?;
        pending.extend_from_slice(&buffer[..count]);
        let mut start = 0;
        while let Some(length) = pending[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&pending[start..start + length]);
            watch(monitor, Event::Line(line.trim_end_matches('\r')));
            start += length + 1;
        }
        pending.drain(..start);
        if count == 0 {
            if !pending.is_empty() {
                watch(monitor, Event::Line(&String::from_utf8_lossy(&pending)));
            }
            return Ok(());
        }
    }
}

struct Ready {
    input: bool,
    interrupted: bool,
}

fn poll(
    input: Option<BorrowedFd<'_>>,
    interrupt: Option<BorrowedFd<'_>>,
    time: Duration,
) -> io::Result<Ready> {
    let entry = |fd: Option<BorrowedFd<'_>>| libc::pollfd {
        // poll(2) ignores negative descriptors.
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [entry(input), entry(interrupt)];
    let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `fds` is an array of two valid entries for the whole call.
    if unsafe { libc::poll(fds.as_mut_ptr(), 2, time) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok(Ready { input: false, interrupted: false });
    }
    Ok(Ready { input: fds[0].revents != 0, interrupted: fds[1].revents != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::monitor::tests::Interrupted;

    fn shell(script: &str) -> Command {
        let mut shell = command("sh", Owner::default());
        shell.args(["-c", script]);
        shell
    }

    fn lines_of(commands: Vec<Command>) -> (Vec<String>, Vec<ExitStatus>) {
        let mut lines = Vec::new();
        let statuses = run(commands, &Held::default(), &mut Silent, &mut |_, event| {
            if let Event::Line(line) = event {
                lines.push(line.to_owned());
            }
        });
        (lines, statuses.unwrap())
    }

    #[test]
    fn both_streams_are_read_by_lines_and_pipelines_joined() {
        let (mut lines, statuses) = lines_of(vec![
            shell("echo warn >&2; printf 'b\\na\\n'; exit 3"),
            shell("sort; printf tail"),
        ]);
        lines.sort();
        assert_eq!(lines, ["a", "b", "tail", "warn"]);
        assert_eq!(statuses[0].code(), Some(3));
        assert_eq!(statuses[1].code(), Some(0));
    }

    #[test]
    fn only_what_is_listed_reaches_a_child() {
        // make exports these to what it runs; cargo test sets CARGO_*, which are not listed either.
        let (lines, _) = lines_of(vec![shell("env")]);
        for line in &lines {
            let name = line.split('=').next().unwrap();
            let allowed = KEPT.contains(&name)
                || KEPT_PREFIXES.iter().any(|p| name.starts_with(p))
                || ["LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name);
            assert!(allowed, "{line} leaked");
        }
        assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")), "the test can fail");
    }

    #[test]
    fn an_interrupt_kills_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        let script =
            format!("trap '' TERM; (trap '' TERM; echo $$ > {}; sleep 60) & wait", mark.display());
        let start = Instant::now();
        let mut late = Late(Interrupted::new(), start + Duration::from_millis(300));
        let result = run(vec![shell(&script)], &Held::default(), &mut late, &mut |_, _| {});
        assert!(matches!(result, Err(Error::Interrupted)));
        assert!(start.elapsed() < GRACE + Duration::from_secs(2));
        let pid: i32 = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        while alive_in_group(pid) {
            assert!(Instant::now() < until, "the group is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a process of the group runs; zombies, which wait for PID 1, do not.
    fn alive_in_group(group: i32) -> bool {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            fields.next() != Some("Z") && fields.nth(1) == Some(&group.to_string())
        })
    }

    /// An interrupt that comes after a while.
    struct Late(Interrupted, Instant);

    impl Monitor for Late {
        fn phase(&mut self, _: &str) {}
        fn progress(&mut self, _: u64, _: u64, _: &str) {}
        fn note(&mut self, _: &str) {}
        fn interrupt(&self) -> Option<BorrowedFd<'_>> {
            if Instant::now() < self.1 { None } else { self.0.interrupt() }
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(
            vec![command("sudbox-no-such-program", Owner::default())],
            &Held::default(),
            &mut Silent,
            &mut |_, _| {},
        )
        .unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Machine);
        assert!(error.to_string().contains("sudbox-no-such-program"));
    }
}
