// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Level 1: a machine with KVM where there is none. The pinned kernel in flavour `kvm` runs on
//! QEMU's TCG, whose emulated SVM a stock `kvm_amd` takes for real, and EL2 an aarch64 kernel; what
//! runs on that KVM is level 2. It is booted by our own library, and our own init ([`wire`],
//! `src/bin/level1-init.rs`) runs there what the host asks for, so that one boot serves many commands.

pub mod host;
mod packages;
pub mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use host::Host;
use sudbox_images::initramfs::{self, Entry};
use sudbox_images::{Cache, Ctx, KernelImage, Request as Kernel};
use sudbox_vmm::machine::{Discovery, VmSpec};
use sudbox_vmm::qemu::{self, Qemu};
use sudbox_vmm::session::{Event, Session};
use wire::{Answer, Ended, Program, Request};

use crate::{Ran, Told, say};

/// Every case but the oracles, which take minutes in level 2, and the one case for which QEMU's
/// emulated SVM lacks something: a guest's watchpoints are never hit.
pub const WITHOUT_ORACLES: &str = "all,!compare/*,!conserve/*,!grid/*,!ptrace/watched-selector";

/// Longest that level 1 may take to come up; alone on a machine it takes 3 s.
const BOOT: Duration = Duration::from_secs(120);

/// What an answer may take beyond the time that was given to the programs.
const ANSWER: Duration = Duration::from_secs(60);

/// Longest time without doing anything: a case that hangs has 50 s of [`sudbox_run`]'s.
const STILL: Duration = Duration::from_secs(120);

/// What its CPUs do beside, in that time: what counts as something.
const SOMETHING: Duration = Duration::from_secs(5);

/// How often another level 1 takes the place of one that stood still (docs/kvm.md).
const REPLACED: u32 = 2;

/// Where level 1 keeps sudbox's cache.
pub const CACHE: &str = "/cache";

/// What level 1 is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine.
    pub host: &'static Host,
    /// Number of CPUs, 1 to 8.
    pub cpus: u8,
    /// Memory in MiB, of which the files take theirs.
    pub memory_mib: u32,
    /// What is in its file system.
    pub files: Files,
    /// Whether its CPU pages for guests in two stages, as processors do: VMs die of that here, the
    /// more of their CPUs share one (docs/kvm.md).
    pub nested_paging: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            host: &host::X86_64,
            cpus: 2,
            memory_mib: 3072,
            files: Files::default(),
            nested_paging: false,
        }
    }
}

/// Files for level 1.
#[derive(Clone, Debug, Default)]
pub struct Files {
    entries: Vec<Entry>,
    there: BTreeSet<PathBuf>,
}

impl Files {
    /// Adds a file, with the directories above it; a place that is taken stays as it is.
    pub fn add(&mut self, place: impl AsRef<Path>, mode: u32, content: impl Into<Vec<u8>>) {
        let place = place.as_ref();
        if !self.there.insert(place.to_owned()) {
            return;
        }
        let above: Vec<&Path> = place.ancestors().skip(1).collect();
        for directory in above.into_iter().rev().filter(|path| path.parent().is_some()) {
            if self.there.insert(directory.to_owned()) {
                self.entries.push(Entry::directory(directory.to_string_lossy(), 0o755));
            }
        }
        self.entries.push(Entry::file(place.to_string_lossy(), mode, content));
    }

    /// Adds a copy of a file of the host's, with its mode.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn copy(&mut self, from: &Path, place: impl AsRef<Path>) {
        use std::os::unix::fs::PermissionsExt as _;
        let read = || Ok((fs::metadata(from)?.permissions().mode(), fs::read(from)?));
        let read: std::io::Result<_> = read();
        let (mode, content) = read.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self.add(place, mode, content);
    }

    /// Adds a program of the host's with the shared libraries that it needs, all at the places
    /// where they are there.
    ///
    /// # Panics
    /// If it is not installed, or ldd(1) is not.
    pub fn program(&mut self, name: &str) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
        let found = found.unwrap_or_else(|| panic!("{name} is not installed"));
        self.copy(&found, &found);
        let ldd = Command::new("ldd").arg(&found).output().expect("ldd is installed");
        // `libc.so.6 => /lib/libc.so.6 (0x...)`, and `/lib64/ld-linux-x86-64.so.2 (0x...)`.
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                self.copy(Path::new(word), word);
            }
        }
        // With it the loader finds them as quickly as on the host.
        let cache = Path::new("/etc/ld.so.cache");
        if cache.is_file() {
            self.copy(cache, cache);
        }
    }

    /// Adds QEMU for this machine: the installed one with what its microvm loads; of another
    /// architecture than ours, the distribution's, whose virt loads nothing.
    ///
    /// # Panics
    /// If it is not installed, or the package cannot be had.
    pub fn qemu(&mut self, host: &Host) {
        let program = qemu::program(host.arch);
        if let Some(foreign) = &host.foreign {
            let root = packages::unpacked(foreign.qemu, foreign.packages);
            for (from, place) in packages::program(&root, program, host.target) {
                self.copy(&from, place);
            }
            return;
        }
        self.program(program);
        // It says itself where its firmware is.
        let help = Command::new(program).args(["-L", "help"]).output().expect("QEMU starts");
        for directory in String::from_utf8_lossy(&help.stdout).lines() {
            // `/usr/bin/../share/qemu`; where it is not, there is nothing to copy.
            let Ok(directory) = fs::canonicalize(directory) else { continue };
            for name in ["qboot.rom", "bios-microvm.bin", "linuxboot_dma.bin", "pvh.bin"] {
                let file = directory.join(name);
                if file.is_file() {
                    self.copy(&file, &file);
                }
            }
        }
    }

    /// Adds a static program of this package's or another's, `cargo` naming which, built now.
    ///
    /// # Panics
    /// If it does not compile.
    pub fn own(&mut self, host: &Host, cargo: &[&str], built: &str, place: &str) {
        let target = host.target;
        let mut command = Command::new(env!("CARGO"));
        if let Some(foreign) = &host.foreign {
            let triple = target.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{triple}_LINKER"), foreign.compiler);
        }
        let status = command
            .args(["build", "--quiet", "--release", "--locked"])
            .args(cargo)
            // With a target named, the flag is not for procedural macros.
            .args(["--target", target])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .current_dir(crate::root())
            .status()
            .expect("cargo starts");
        assert!(status.success(), "building {built} failed");
        self.copy(&crate::target().join(target).join("release").join(built), place);
    }

    /// Adds `sudbox`, the one that is tested, and of its cache what a run of the pinned kernel
    /// needs: then `sudbox run` finds, without a network, the image that the host's would boot.
    /// Returns where that is.
    ///
    /// # Panics
    /// If it is not static, or the kernel cannot be built.
    pub fn sudbox(&mut self) -> PathBuf {
        let program = crate::sudbox().get_program().to_owned();
        let ldd = Command::new("ldd").arg(&program).output().expect("ldd is installed");
        assert!(
            String::from_utf8_lossy(&ldd.stdout).contains("statically linked"),
            "sudbox is not static; `make build` makes one, and SUDBOX names it"
        );
        self.copy(Path::new(&program), "/bin/sudbox");
        let image = kernel(&host::X86_64, "default", &[]);
        let folder = image.kernel.parent().expect("a folder of the cache");
        let key = folder.file_name().expect("its key");
        let place = Path::new(CACHE);
        let images = place.join("images").join(key);
        self.below(folder, &images);
        let from = crate::cache();
        self.below(&from.join("resolved"), &place.join("resolved"));
        let names_it = format!("\"{}\"", key.to_string_lossy());
        for recipe in fs::read_dir(from.join("recipes")).expect("recipes").flatten() {
            if fs::read_to_string(recipe.path()).is_ok_and(|text| text == names_it) {
                self.copy(&recipe.path(), place.join("recipes").join(recipe.file_name()));
            }
        }
        // A recipe names the compiler by the first line of its `--version`.
        self.program("gcc");
        images.join(image.kernel.file_name().expect("its name"))
    }

    /// Adds `sudbox` for an architecture that is not this machine's, built now, and that
    /// architecture's pinned kernel, whose place is returned. The cache of this machine is of no use
    /// there: its recipes are of cross compilers.
    ///
    /// # Panics
    /// If one of them cannot be built.
    pub fn foreign(&mut self, host: &Host) -> &'static str {
        const PLACE: &str = "/k/kernel";
        self.own(host, &["--package", "sudbox"], "sudbox", "/bin/sudbox");
        self.copy(&kernel(host, "default", &[]).kernel, PLACE);
        PLACE
    }

    fn below(&mut self, from: &Path, place: &Path) {
        let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        for entry in entries.flatten() {
            self.copy(&entry.path(), place.join(entry.file_name()));
        }
    }
}

/// The pinned kernel of this architecture in this flavour with these patches, files beside this one's
/// modules; built if need be.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn kernel(host: &Host, flavour: &str, patches: &[&str]) -> KernelImage {
    let place = |name: &&str| crate::root().join("tests/src/level1").join(name);
    let patches: Vec<PathBuf> = patches.iter().map(place).collect();
    // By the command, which also installs what a build needs, and says whether it boots.
    let mut command = crate::sudbox_run(&["--arch", host.arch.name()]);
    command.args(["--flavour", flavour, "--cases", "boot"]);
    for patch in &patches {
        command.arg("--patches").arg(patch);
    }
    let _ = crate::run(command).expect(0);
    let request =
        Kernel { arch: host.arch, flavour: flavour.to_owned(), patches, ..Kernel::default() };
    let cache = Cache::open().expect("a cache");
    sudbox_images::kernel(&mut Ctx::new(&cache, &mut Told), &request)
        .expect("a kernel that was just built")
}

/// A level 1 that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Level1 {
    talk: Mutex<Talk>,
    host: &'static Host,
    spec: VmSpec,
    _dir: tempfile::TempDir,
}

/// The conversation with its init.
struct Talk {
    session: Session,
    arrived: Vec<u8>,
    /// How many have come before it, of those that stood still.
    replaced: u32,
    /// It gave no answer when it should have.
    lost: bool,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").finish_non_exhaustive()
    }
}

impl Level1 {
    /// The one that all tests of a process share: sudbox with the pinned kernel, on two CPUs.
    ///
    /// # Panics
    /// As [`Level1::boot`].
    #[must_use]
    pub fn shared() -> &'static Level1 {
        static ONE: OnceLock<Level1> = OnceLock::new();
        ONE.get_or_init(|| {
            let mut files = Files::default();
            let _ = files.sudbox();
            Level1::boot(Options { files, ..Options::default() })
        })
    }

    /// Boots it.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn boot(options: Options) -> Level1 {
        let mut files = options.files;
        let host = options.host;
        let init = ["--package", "sudbox-tests", "--bin", "level1-init"];
        files.own(host, &init, "level1-init", "/init");
        // What the kernel opens for init before there is a devtmpfs.
        files.entries.insert(0, Entry::directory("/dev", 0o755));
        files.entries.insert(1, Entry::char_device("/dev/console", 0o600, 5, 1));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("initramfs");
        fs::write(&path, initramfs::pack(&files.entries)).expect("room for an initramfs");
        let spec = VmSpec {
            kernel: kernel(host, "kvm", host.patches).kernel,
            initramfs: path,
            discovery: Discovery::CommandLine,
            cmdline: "loglevel=5".to_owned(),
            cpus: options.cpus,
            memory_mib: options.memory_mib,
            cpu_model: Some(
                [host.cpu, if options.nested_paging { host.nested_paging } else { "" }].concat(),
            ),
            cpu_vendor: None,
            port: wire::PORT,
            gdb: false,
            snapshot: false,
        };
        Level1 { talk: Mutex::new(Talk::boot(host, &spec)), host, spec, _dir: dir }
    }

    /// Asks init, which has `limit` for it; once more, of another level 1, if this one stands still.
    ///
    /// # Panics
    /// If there is no answer, or it says that something failed.
    fn ask(&self, request: &Request, limit: Duration) -> Answer {
        // A test that has failed meanwhile has said so itself; the next may go on.
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!talk.lost, "level 1 has failed to answer before");
        let bytes = wire::frame(request).expect("a request is no larger than may be");
        loop {
            talk.session.send(&bytes, Instant::now() + ANSWER).expect("level 1 listens");
            match talk.answer(limit + ANSWER) {
                Some(Answer::Failed(why)) => panic!("level 1 cannot: {why}"),
                Some(answer) => return answer,
                None => {
                    let replaced = talk.replaced + 1;
                    assert!(replaced <= REPLACED, "{replaced} of level 1 have stood still");
                    say("SEEN AGAIN: level 1 stood still (docs/kvm.md); booting another");
                    talk.lost = true;
                    *talk = Talk::boot(self.host, &self.spec);
                    talk.replaced = replaced;
                }
            }
        }
    }

    /// Runs a program to its end, with the environment of a login.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run(&self, argv: &[&str]) -> Ran {
        let [ended] = &self.run_all(vec![program(argv)])[..] else { panic!("one program") };
        Ran::from(ended.clone())
    }

    /// `sudbox run --format json` with these arguments, as [`crate::sudbox_run`] and [`crate::run`]
    /// on the host. Emulated twice, all takes longer.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn sudbox_run(&self, arguments: &[&str]) -> Ran {
        let [ended] = &self.run_all(vec![sudbox_run(arguments)])[..] else { panic!("one program") };
        Ran::from(ended.clone())
    }

    /// Runs programs side by side.
    ///
    /// # Panics
    /// If one cannot be started.
    #[must_use]
    pub fn run_all(&self, programs: Vec<Program>) -> Vec<Ended> {
        let limit = programs.iter().map(|program| program.limit).max().unwrap_or_default();
        match self.ask(&Request::Run(programs), limit) {
            Answer::Ran(ended) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// The text of a file there.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        match self.ask(&Request::Read(path.to_owned()), Duration::ZERO) {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Writes a file there.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        self.ask(&Request::Write(path.to_owned(), text.to_owned()), Duration::ZERO);
    }

    /// Every file below a directory there.
    ///
    /// # Panics
    /// If there is no such directory.
    #[must_use]
    pub fn files(&self, path: &str) -> Vec<String> {
        match self.ask(&Request::Files(path.to_owned()), Duration::ZERO) {
            Answer::Names(names) => names,
            other => panic!("{other:?}"),
        }
    }

    /// What a VMM could leave behind in the file system, and KVM's VMs.
    ///
    /// # Panics
    /// If it cannot be looked at.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        let cache = format!("{CACHE}/tmp");
        ["/tmp", "/dev/shm", &cache, "/sys/kernel/debug/kvm"]
            .into_iter()
            .flat_map(|place| self.files(place))
            .collect()
    }

    /// Ends every process there, and says which there were two seconds after the last program's
    /// end.
    ///
    /// # Panics
    /// If it cannot be told.
    #[must_use]
    pub fn sweep(&self) -> Vec<String> {
        match self.ask(&Request::Sweep, Duration::ZERO) {
            Answer::Names(names) => names,
            other => panic!("{other:?}"),
        }
    }
}

impl Talk {
    /// Boots it and waits until its init listens.
    fn boot(host: &Host, spec: &VmSpec) -> Talk {
        let reason = "no machine has KVM for it".to_owned();
        let qemu =
            Qemu::new(host.arch, qemu::Accelerator::Tcg, reason).with_machine_options(host.options);
        let session = Session::boot(&qemu, spec).expect("QEMU starts");
        let mut talk = Talk { session, arrived: Vec::new(), replaced: 0, lost: false };
        match talk.answer(BOOT) {
            Some(Answer::Ready) => talk,
            other => panic!("level 1 begins with {other:?}"),
        }
    }

    /// Waits for an answer. `None` if level 1 stands still: it runs, but has done nothing for too
    /// long, or cannot end what has run for too long. Prints its state then.
    ///
    /// Seen once, beside QEMU's microvm: both CPUs halted, the timer of init still firing, the VM never
    /// ending. The cause was not found. In QEMU's source, `helper_vmrun()` and `do_vmexit()` change a
    /// CPU's `interrupt_request` without the lock under which others set interrupts there. Emulation by
    /// one thread (`-accel tcg,thread=single`) does not help: a VM in level 1 makes no progress then.
    fn answer(&mut self, limit: Duration) -> Option<Answer> {
        let until = Instant::now() + limit;
        let mut still = Instant::now() + STILL;
        let mut done = Duration::ZERO;
        loop {
            match wire::take(&mut self.arrived) {
                Ok(Some(Answer::Busy(busy))) => {
                    if busy >= done + SOMETHING {
                        done = busy;
                        still = Instant::now() + STILL;
                    }
                    continue;
                }
                Ok(Some(answer)) => return Some(answer),
                Ok(None) => {}
                Err(error) => self.fail(&error.to_string()),
            }
            match self.session.next(until.min(still), None).expect("a session can be waited for") {
                Event::Bytes(bytes) => self.arrived.extend(bytes),
                Event::Connected | Event::Console | Event::Interrupted => {}
                Event::Deadline => {
                    say(&self.state("it stands still"));
                    return None;
                }
                event => self.fail(&format!("{event:?}")),
            }
        }
    }

    fn fail(&mut self, what: &str) -> ! {
        self.lost = true;
        panic!("{}", self.state(what))
    }

    /// Where its CPUs are, and its console.
    fn state(&mut self, what: &str) -> String {
        let mut text = format!("no answer from level 1: {what}");
        for line in self.session.diagnose() {
            text = format!("{text}\n{line}");
        }
        format!("{text}\nits console:\n{}", self.session.console().since(0))
    }
}

/// A program with the environment of a login and a quarter of an hour to end.
#[must_use]
pub fn program(argv: &[&str]) -> Program {
    let env = [("HOME", "/tmp"), ("PATH", "/bin:/usr/bin"), ("SUDBOX_CACHE", CACHE)];
    Program {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        limit: Duration::from_secs(900),
        look: None,
    }
}

/// `sudbox run --format json` with these arguments, for level 1.
#[must_use]
pub fn sudbox_run(arguments: &[&str]) -> Program {
    let all = ["sudbox", "run", "--format", "json", "--timeout", "300"];
    program(&[&all, arguments].concat())
}

impl From<Ended> for Ran {
    fn from(ended: Ended) -> Ran {
        Ran { code: ended.code, stdout: ended.stdout, stderr: ended.stderr, took: ended.took }
    }
}
