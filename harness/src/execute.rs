// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program on a kernel in a VM.

use crate::cli::{self, BuildArgs, VmArgs};
use crate::failure::{Code, Failure};
use crate::judge::BOOT_ARGUMENTS;
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::program::Packed;
use crate::session::conduct::Vm;
use crate::session::input::Input;
use crate::session::watch::Watched;
use crate::session::{kernel_log, running};
use crate::{backend, guest, interrupt, kernel};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use sudbox_images::{Cache, initramfs};
use sudbox_protocol::{FrameReader, GuestMessage, HostMessage, Program, ProgramEnd};
use sudbox_vmm::machine::{VmEnd, VmSpec};
use sudbox_vmm::session::{Event, Session};

/// A boot of which nothing was heard for so long is a hang.
const BOOT: Duration = Duration::from_secs(60);

/// So long is as good as for ever.
const EVER: Duration = Duration::from_secs(1 << 25);

/// The guest takes what it asked for at once, or is lost.
const SENDING: Duration = Duration::from_secs(30);

/// After its stream is lost, a VM has this long to end by itself.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// As shells say that a signal killed a program.
const SIGNALLED: u8 = 128;

/// The kernel that is running here needs no VM to run a program.
///
/// # Errors
/// If it is that.
pub(crate) fn not_running(kernel: &str) -> anyhow::Result<()> {
    if kernel == running::NAME {
        return Err(Failure::usage(
            "the kernel that is running here runs programs without sudbox: name another",
        ));
    }
    Ok(())
}

/// A program that is to be run.
pub(crate) struct Errand {
    /// Its name for people.
    pub(crate) name: String,
    /// What it needs.
    pub(crate) packed: Packed,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
}

/// Runs it on this kernel in this VM. Returns its exit status.
///
/// # Errors
/// A [`Failure`] where it has none.
pub(crate) fn execute(
    errand: Errand,
    kernel: &str,
    vm_args: &VmArgs,
    build: &BuildArgs,
) -> anyhow::Result<u8> {
    let Errand { name, packed: Packed { program, entries }, timeout } = errand;
    let request = kernel::request(kernel, build)?;
    let mut progress = Progress::new();
    let machine = backend::machine(vm_args, request.arch, &mut progress)?;
    let cache = Cache::open()?;
    let image = kernel::find(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(&cache)?;
    if let Some(note) = &image.stands_in {
        progress.say("note", note);
    }
    let init = guest::of(request.arch, &mut progress)?;
    let mut there = guest::entries(&init, &image.modules)?;
    let taken: Vec<String> = there.iter().map(|entry| entry.path.clone()).collect();
    let fresh = |entry: &initramfs::Entry| {
        !taken.iter().any(|path| path == entry.path.trim_start_matches('/'))
    };
    there.extend(entries.into_iter().filter(fresh));
    let spec = VmSpec {
        kernel: image.kernel.clone(),
        initramfs: folder.write("initramfs.cpio", initramfs::pack(&there))?,
        discovery: kernel::discovery(&image),
        cmdline: format!("{BOOT_ARGUMENTS} {}", vm_args.append),
        cpus: vm_args.cpus,
        memory_mib: vm_args.memory,
        cpu_model: cli::given(&vm_args.cpu_model).map(str::to_owned),
        port: sudbox_protocol::PORT,
        gdb: vm_args.gdb,
        snapshot: false,
    };
    let session =
        Session::boot(&*machine, &spec).map_err(|error| Failure::machine(error.to_string()))?;
    if let Some(target) = session.debugger() {
        let vmlinux = image.vmlinux.as_deref().unwrap_or(Path::new("VMLINUX")).display();
        progress.say("debug", &format!("gdb -ex 'target remote {target}' {vmlinux}"));
    }
    drop(progress);
    let mut vm = Watched::new(session, vm_args.console);
    let boot = if vm_args.gdb { EVER } else { BOOT };
    let ending = Conversation { vm: &mut vm, boot, timeout, booted: 0 }.hold(program);
    let console = vm.console_since(0);
    folder.write("console.log", &console)?;
    let kept = folder.path().join("console.log");
    let lost = |what: String| Failure {
        code: Code::Unjudged,
        message: format!("{what}; {} has what the kernel said", kept.display()),
    };
    match ending? {
        Ending::Over { end, said } => {
            if let Some(report) = kernel_log::scan(&said) {
                let kept = kept.display();
                eprintln!("sudbox: the kernel reported a fault: {} ({kept})", report.headline);
            }
            match end {
                ProgramEnd::Exited(code) => Ok(code),
                ProgramEnd::Killed(signal) => Ok(SIGNALLED + signal),
                ProgramEnd::NotStarted(why) => {
                    Err(Failure::usage(format!("{name} cannot be started on this kernel: {why}")))
                }
            }
        }
        Ending::Late => {
            let message =
                format!("{name} did not end within {} s", timeout.unwrap_or(EVER).as_secs());
            Err(Failure { code: Code::TimedOut, message }.into())
        }
        Ending::Silent => {
            let what = "this kernel does not boot: nothing was heard of its init for a minute";
            Err(lost(what.to_owned()).into())
        }
        Ending::Lied(how) => Err(lost(format!("the guest broke the protocol: {how}")).into()),
        Ending::Died { booted } => {
            let why = match (vm.finish(LAST_MOMENTS), kernel_log::scan(&console)) {
                (VmEnd::Failed(words), _) => {
                    return Err(Failure::machine(format!("the VM could not run: {words}")));
                }
                (_, Some(report)) => report.headline,
                (VmEnd::Panic(line), _) => line,
                (VmEnd::TripleFault(_), _) => "triple fault".to_owned(),
                (VmEnd::VcpuError { why, .. }, _) => why,
                (end, _) => console
                    .lines()
                    .find(|line| line.contains("sudbox-guest: "))
                    .map_or_else(|| format!("{end:?}"), |line| line.trim().to_owned()),
            };
            let when = if booted { format!("while {name} ran") } else { "before it".to_owned() };
            Err(lost(format!("the kernel died {when}: {why}")).into())
        }
        Ending::Unheard => Ok(SIGNALLED + SIGPIPE),
    }
}

/// Who writes where nobody reads is killed by it.
const SIGPIPE: u8 = 13;

/// How it ended.
enum Ending {
    /// The program ended; what the kernel said meanwhile.
    Over { end: ProgramEnd, said: String },
    /// It took too long.
    Late,
    /// The kernel did not come up.
    Silent,
    /// The VM is gone; whether the program was running.
    Died { booted: bool },
    /// The guest said what the protocol does not allow.
    Lied(String),
    /// Nobody reads what the program writes any more.
    Unheard,
}

struct Conversation<'a> {
    vm: &'a mut dyn Vm,
    boot: Duration,
    timeout: Option<Duration>,
    /// What the console had printed when the program was started.
    booted: u64,
}

impl Conversation<'_> {
    fn hold(&mut self, program: Program) -> anyhow::Result<Ending> {
        let mut input = Input::new(interrupt::descriptor())
            .map_err(|error| Failure::machine(format!("cannot read stdin: {error}")))?;
        let mut frames = FrameReader::default();
        let mut program = Some(program);
        let mut deadline = Instant::now() + self.boot;
        loop {
            let running = program.is_none();
            match self.vm.next(deadline, Some(input.descriptor())) {
                Event::Interrupted if interrupt::pending() => return Err(Failure::interrupted()),
                Event::Interrupted => {
                    let bytes = input.take();
                    self.send(&HostMessage::Input(bytes));
                }
                Event::Deadline if running => return Ok(Ending::Late),
                Event::Deadline => return Ok(Ending::Silent),
                Event::Ended | Event::Disconnected => return Ok(Ending::Died { booted: running }),
                Event::Connected => {}
                Event::Console => {
                    if !running {
                        deadline = Instant::now() + self.boot;
                    }
                }
                Event::Bytes(bytes) => {
                    frames.push(&bytes);
                    loop {
                        let message = match frames.next_body() {
                            Ok(None) => break,
                            Ok(Some(body)) => {
                                GuestMessage::decode(&body).map_err(|e| e.to_string())
                            }
                            Err(error) => Err(error.to_string()),
                        };
                        match message {
                            Ok(GuestMessage::Hello(_)) if program.is_some() => {
                                let Some(program) = program.take() else { continue };
                                self.booted = self.vm.printed();
                                deadline = Instant::now() + self.timeout.unwrap_or(EVER);
                                self.send(&HostMessage::Execute(program));
                            }
                            Ok(GuestMessage::StdinWanted) => input.want(),
                            Ok(GuestMessage::Output { is_stderr, bytes }) => {
                                match write(is_stderr, &bytes) {
                                    Err(gone) if gone.kind() == ErrorKind::BrokenPipe => {
                                        return Ok(Ending::Unheard);
                                    }
                                    Err(error) => {
                                        let what =
                                            format!("cannot write the program's output: {error}");
                                        return Err(Failure::machine(what));
                                    }
                                    Ok(()) => {}
                                }
                            }
                            Ok(GuestMessage::Ended(end)) if program.is_none() => {
                                let said = self.vm.console_since(self.booted);
                                self.send(&HostMessage::Acknowledge);
                                return Ok(Ending::Over { end, said });
                            }
                            Ok(other) => return Ok(Ending::Lied(format!("{other:?}"))),
                            Err(error) => return Ok(Ending::Lied(error)),
                        }
                    }
                }
            }
        }
    }

    /// A stream that is gone is told of by the next event.
    fn send(&mut self, message: &HostMessage) {
        let _ = self.vm.send(&message.to_frame(), Instant::now() + SENDING);
    }
}

fn write(error: bool, bytes: &[u8]) -> std::io::Result<()> {
    fn whole(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
        to.write_all(bytes)?;
        to.flush()
    }
    if error { whole(std::io::stderr(), bytes) } else { whole(std::io::stdout(), bytes) }
}
