// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Level 1: an emulated machine with KVM, for tests on hosts without KVM.
//!
//! QEMU's TCG emulates SVM on x86-64 and EL2 on aarch64, so the unmodified KVM of the pinned kernel
//! (flavour `kvm`) works there. VMs on that KVM are level 2 (docs/kvm.md). The library `sudbox-vmm`
//! boots level 1; its init, `src/bin/level1-init.rs`, runs programs on request ([`wire`]), so that
//! one boot serves many tests.

mod files;
pub mod host;
mod packages;
pub mod wire;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use files::Files;
use host::Host;
use sudbox_images::initramfs::{self, Entry};
use sudbox_images::{Cache, Ctx, KernelImage, Request as Kernel};
use sudbox_vmm::machine::VmSpec;
use sudbox_vmm::qemu::{self, Qemu};
use sudbox_vmm::session::{Event, Session};
use wire::{Program, ProgramEnd, Request, Response};

use crate::{RunOutput, StderrMonitor, print_uncaptured};

/// Every case except the oracles, which take minutes in level 2, and one case that needs hardware
/// watchpoints: under QEMU's emulated SVM a guest's watchpoint never fires.
pub const WITHOUT_ORACLES: &str = "all,!compare/*,!conserve/*,!grid/*,!ptrace/watched-selector";

/// Time limit for booting level 1; on an idle host the boot takes 3 s.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// Time limit of a response, in addition to the limit of the programs that the request runs.
const RESPONSE_LIMIT: Duration = Duration::from_secs(60);

/// Time without progress after which level 1 counts as stalled. It is longer than the 50 s that a
/// hanging case takes under [`sudbox_run`].
const STALL_LIMIT: Duration = Duration::from_secs(120);

/// CPU time in level 1 that counts as progress; an idle kernel uses less within [`STALL_LIMIT`].
const MIN_PROGRESS: Duration = Duration::from_secs(5);

/// Maximum number of times that a stalled level 1 is replaced by a new one (docs/kvm.md).
const MAX_REPLACEMENTS: u32 = 2;

/// Directory of sudbox's cache in level 1.
pub const CACHE: &str = "/cache";

/// Configuration of level 1.
#[derive(Clone, Debug)]
pub struct Level1Options {
    /// Architecture, CPU and machine.
    pub host: &'static Host,
    /// Number of CPUs, 1 to 8.
    pub cpus: u8,
    /// Memory in MiB, including the initramfs.
    pub memory_mib: u32,
    /// Files in the initramfs.
    pub files: Files,
    /// Whether the CPU offers nested paging. With nested paging, VMs sometimes crash, the more often the
    /// more vCPUs share a CPU ([`host::X86_64`]).
    pub nested_paging: bool,
}

impl Default for Level1Options {
    fn default() -> Level1Options {
        Level1Options {
            host: &host::X86_64,
            cpus: 2,
            memory_mib: 3072,
            files: Files::default(),
            nested_paging: false,
        }
    }
}

/// The pinned kernel of an architecture in a flavour with patches, which are file names in
/// `tests/src/level1/`. Builds it unless it is cached.
///
/// # Panics
/// If the kernel cannot be built or does not boot.
#[must_use]
pub fn build_kernel(host: &Host, flavour: &str, patches: &[&str]) -> KernelImage {
    let patch_path = |name: &&str| crate::root().join("tests/src/level1").join(name);
    let patches: Vec<PathBuf> = patches.iter().map(patch_path).collect();
    // `sudbox run` also installs the tools of a build and checks that the kernel boots.
    let mut command = crate::sudbox_run(&["--arch", host.arch.name()]);
    command.args(["--flavour", flavour, "--cases", "boot"]);
    for patch in &patches {
        command.arg("--patches").arg(patch);
    }
    let _ = crate::run(command).expect_code(0);
    let request =
        Kernel { arch: host.arch, flavour: flavour.to_owned(), patches, ..Kernel::default() };
    let cache = Cache::open().expect("a cache");
    sudbox_images::kernel(&mut Ctx::new(&cache, &mut StderrMonitor), &request)
        .expect("a kernel that was just built")
}

/// A running level 1. Dropping it stops the machine.
#[derive(Debug)]
pub struct Level1 {
    connection: Mutex<Connection>,
    host: &'static Host,
    spec: VmSpec,
    _dir: tempfile::TempDir,
}

/// The connection to level 1's init.
struct Connection {
    session: Session,
    /// Bytes received and not decoded yet.
    received: Vec<u8>,
    /// Number of stalled machines that this machine and its predecessors have replaced.
    replaced: u32,
    /// Whether init failed to respond.
    failed: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Level1 {
    /// The machine that all tests of a process share: sudbox and the pinned kernel, two CPUs.
    ///
    /// # Panics
    /// As [`Level1::boot`].
    #[must_use]
    pub fn shared() -> &'static Level1 {
        static SHARED: OnceLock<Level1> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut files = Files::default();
            let _ = files.add_sudbox();
            Level1::boot(Level1Options { files, ..Level1Options::default() })
        })
    }

    /// Boots level 1.
    ///
    /// # Panics
    /// If its init does not connect.
    #[must_use]
    pub fn boot(options: Level1Options) -> Level1 {
        let mut files = options.files;
        let host = options.host;
        let init = ["--package", "sudbox-tests", "--bin", "level1-init"];
        files.build_and_add(host, &init, "level1-init", "/init");
        // The kernel opens /dev/console for init before devtmpfs is mounted.
        files.entries.insert(0, Entry::directory("/dev", 0o755));
        files.entries.insert(1, Entry::char_device("/dev/console", 0o600, 5, 1));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("initramfs");
        fs::write(&path, initramfs::pack(&files.entries)).expect("space for an initramfs");
        let spec = VmSpec {
            cmdline: "loglevel=5".to_owned(),
            cpus: options.cpus,
            memory_mib: options.memory_mib,
            cpu_model: Some(
                [host.cpu, if options.nested_paging { host.nested_paging } else { "" }].concat(),
            ),
            ..VmSpec::new(build_kernel(host, "kvm", host.patches).kernel, path, wire::PORT)
        };
        Level1 { connection: Mutex::new(Connection::boot(host, &spec)), host, spec, _dir: dir }
    }

    /// Sends a request and waits for its response for `limit`. If level 1 stalls, boots a new one and
    /// sends the request again.
    ///
    /// # Panics
    /// If there is no response, or the response is [`Response::Failed`].
    fn request(&self, request: &Request, limit: Duration) -> Response {
        // A poisoned lock means that another test failed, which does not concern this test.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!connection.failed, "level 1 failed to respond before");
        let bytes = wire::encode(request).expect("a request is below the size limit");
        loop {
            connection
                .session
                .send(&bytes, Instant::now() + RESPONSE_LIMIT)
                .expect("level 1 receives");
            match connection.next_response(limit + RESPONSE_LIMIT) {
                Some(Response::Failed(reason)) => panic!("level 1 failed: {reason}"),
                Some(response) => return response,
                None => {
                    let replaced = connection.replaced + 1;
                    assert!(replaced <= MAX_REPLACEMENTS, "level 1 stalled {replaced} times");
                    print_uncaptured("SEEN AGAIN: level 1 stalled (docs/kvm.md); booting another");
                    connection.failed = true;
                    *connection = Connection::boot(self.host, &self.spec);
                    connection.replaced = replaced;
                }
            }
        }
    }

    /// Runs a program until it ends, with the environment and time limit of [`program`].
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn run(&self, argv: &[&str]) -> RunOutput {
        let [ended] = &self.run_all(vec![program(argv)])[..] else { panic!("one program") };
        RunOutput::from(ended.clone())
    }

    /// Runs `sudbox run --format json` with these arguments and a longer timeout, because nested
    /// emulation is slow.
    ///
    /// # Panics
    /// If `sudbox` cannot be started.
    #[must_use]
    pub fn sudbox_run(&self, arguments: &[&str]) -> RunOutput {
        let [ended] = &self.run_all(vec![sudbox_run(arguments)])[..] else { panic!("one program") };
        RunOutput::from(ended.clone())
    }

    /// Runs programs in parallel until all have ended.
    ///
    /// # Panics
    /// If a program cannot be started.
    #[must_use]
    pub fn run_all(&self, programs: Vec<Program>) -> Vec<ProgramEnd> {
        let limit = programs.iter().map(|program| program.limit).max().unwrap_or_default();
        match self.request(&Request::Run(programs), limit) {
            Response::Ended(ended) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// Reads a file of level 1.
    ///
    /// # Panics
    /// If the file cannot be read.
    #[must_use]
    pub fn read_file(&self, path: &str) -> String {
        match self.request(&Request::Read(path.to_owned()), Duration::ZERO) {
            Response::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Writes a file of level 1.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_file(&self, path: &str, text: &str) {
        self.request(&Request::Write(path.to_owned(), text.to_owned()), Duration::ZERO);
    }

    /// Lists every file below a directory of level 1.
    ///
    /// # Panics
    /// If there is no such directory.
    #[must_use]
    pub fn list_files(&self, path: &str) -> Vec<String> {
        match self.request(&Request::Files(path.to_owned()), Duration::ZERO) {
            Response::Names(names) => names,
            other => panic!("{other:?}"),
        }
    }

    /// Temporary files and KVM's VMs, which a VMM could leave behind.
    ///
    /// # Panics
    /// If a directory cannot be listed.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let cache = format!("{CACHE}/tmp");
        ["/tmp", "/dev/shm", &cache, "/sys/kernel/debug/kvm"]
            .into_iter()
            .flat_map(|folder| self.list_files(folder))
            .collect()
    }

    /// Kills every process of level 1 except init. Returns the processes that were left after a grace
    /// period of 2 s.
    ///
    /// # Panics
    /// If `/proc` cannot be read.
    #[must_use]
    pub fn kill_all(&self) -> Vec<String> {
        match self.request(&Request::KillAll, Duration::ZERO) {
            Response::Names(names) => names,
            other => panic!("{other:?}"),
        }
    }
}

impl Connection {
    /// Boots level 1 and waits until its init is ready.
    fn boot(host: &Host, spec: &VmSpec) -> Connection {
        let reason = "level 1 emulates KVM".to_owned();
        let qemu = Qemu::new(host.arch, qemu::Accelerator::Tcg, reason)
            .with_machine_options(host.machine_options);
        let session = Session::boot(&qemu, spec).expect("QEMU starts");
        let mut connection =
            Connection { session, received: Vec::new(), replaced: 0, failed: false };
        match connection.next_response(BOOT_LIMIT) {
            Some(Response::Ready) => connection,
            other => panic!("the first response of level 1 is {other:?}"),
        }
    }

    /// Waits for a response. Prints the machine's state and returns `None` if level 1 stalls: its CPUs
    /// made no progress for [`STALL_LIMIT`], or it exceeded `limit`.
    ///
    /// One stall was seen, while QEMU's microvm ran in level 1: both CPUs were halted, init's timer
    /// still fired, and the VM never ended. The cause was not found. In QEMU's source,
    /// `helper_vmrun()` and `do_vmexit()` change a CPU's `interrupt_request` without the lock that
    /// other threads hold to set interrupts there. Single-threaded emulation
    /// (`-accel tcg,thread=single`) is no remedy: a VM in level 1 makes no progress under it.
    fn next_response(&mut self, limit: Duration) -> Option<Response> {
        let deadline = Instant::now() + limit;
        let mut stall_deadline = Instant::now() + STALL_LIMIT;
        let mut last_busy = Duration::ZERO;
        loop {
            match wire::take_message(&mut self.received) {
                Ok(Some(Response::Busy(busy))) => {
                    if busy >= last_busy + MIN_PROGRESS {
                        last_busy = busy;
                        stall_deadline = Instant::now() + STALL_LIMIT;
                    }
                    continue;
                }
                Ok(Some(response)) => return Some(response),
                Ok(None) => {}
                Err(error) => self.fail(&error.to_string()),
            }
            match self
                .session
                .next(deadline.min(stall_deadline), None)
                .expect("a session can be waited for")
            {
                Event::Bytes(bytes) => self.received.extend(bytes),
                Event::Connected | Event::ConsoleOutput | Event::Interrupted => {}
                Event::DeadlinePassed => {
                    print_uncaptured(&self.describe_state("it stalled"));
                    return None;
                }
                event => self.fail(&format!("{event:?}")),
            }
        }
    }

    fn fail(&mut self, reason: &str) -> ! {
        self.failed = true;
        panic!("{}", self.describe_state(reason))
    }

    /// A text with `reason`, and the registers and the console of level 1.
    fn describe_state(&mut self, reason: &str) -> String {
        let mut text = format!("no response from level 1: {reason}");
        for line in self.session.diagnose() {
            text = format!("{text}\n{line}");
        }
        format!("{text}\nits console:\n{}", self.session.console().text_since(0))
    }
}

/// A program with `HOME`, `PATH` and `SUDBOX_CACHE` as its environment and a limit of 15 minutes.
#[must_use]
pub fn program(argv: &[&str]) -> Program {
    let env = [("HOME", "/tmp"), ("PATH", "/bin:/usr/bin"), ("SUDBOX_CACHE", CACHE)];
    Program {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        limit: Duration::from_secs(900),
        inspection: None,
    }
}

/// `sudbox run --format json` with these arguments and a timeout for level 1.
#[must_use]
pub fn sudbox_run(arguments: &[&str]) -> Program {
    let command = ["sudbox", "run", "--format", "json", "--timeout", "300"];
    program(&[&command, arguments].concat())
}

impl From<ProgramEnd> for RunOutput {
    fn from(ended: ProgramEnd) -> RunOutput {
        RunOutput {
            code: ended.code,
            stdout: ended.stdout,
            stderr: ended.stderr,
            elapsed: ended.elapsed,
        }
    }
}
