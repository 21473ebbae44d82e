//! QEMU's command line: pure functions from a [`VmSpec`] to arguments.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use crate::machine::{Arch, VmSpec};

/// What QEMU runs the guest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's own emulation.
    Tcg,
}

/// The descriptors that QEMU inherits, and the one path it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited<'a> {
    /// Connection to the vhost-user adapter.
    pub(super) vsock: RawFd,
    /// Connection to the monitor.
    pub(super) monitor: RawFd,
    /// Writing end of the console's pipe.
    pub(super) console: RawFd,
    /// Where to listen for a debugger.
    pub(super) debugger: Option<&'a Path>,
}

/// Kernel arguments that belong to the machine and not to the caller.
///
/// - `reboot=t`: microvm has no keyboard controller and, without ACPI, no reset register; a triple
///   fault is the one way to ask it for a restart.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
/// - `console=ttyS0`: the one serial port.
#[must_use]
pub fn kernel_arguments(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "console=ttyS0 reboot=t panic=-1",
    }
}

/// The name of QEMU's program.
#[must_use]
pub fn program(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86_64",
    }
}

/// All of QEMU's arguments.
pub(super) fn arguments(
    spec: &VmSpec,
    accelerator: Accelerator,
    inherited: Inherited<'_>,
) -> Vec<OsString> {
    let mut all = Vec::new();
    all.extend(confinement());
    all.extend(machine(spec, accelerator));
    all.extend(kernel(spec));
    all.extend(console(inherited.console));
    all.extend(vsock(inherited.vsock));
    all.extend(monitor(inherited.monitor));
    if let Some(path) = inherited.debugger {
        all.extend(debugger(path));
    }
    all
}

/// Nothing that was not asked for, and none of the system calls by which a guest that has taken
/// over QEMU could reach further.
fn confinement() -> Vec<OsString> {
    let mut all = strings(["-no-user-config", "-nodefaults", "-display", "none"]);
    all.extend(strings([
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]));
    all
}

/// The machine, its CPUs and its memory, which is shared with the vhost-user adapter.
fn machine(spec: &VmSpec, accelerator: Accelerator) -> Vec<OsString> {
    let accelerator = match accelerator {
        Accelerator::Tcg => "tcg",
    };
    let machine = match spec.arch {
        Arch::X86_64 => "microvm,acpi=off,memory-backend=ram",
    };
    let mut all = strings(["-machine", machine, "-accel", accelerator, "-smp"]);
    all.push(spec.cpus.to_string().into());
    all.push("-m".into());
    all.push(format!("{}M", spec.memory_mib).into());
    all.push("-object".into());
    all.push(format!("memory-backend-memfd,id=ram,size={}M,share=on", spec.memory_mib).into());
    if let Some(model) = &spec.cpu_model {
        all.extend(["-cpu".into(), model.into()]);
    }
    all
}

/// The kernel and what it is told.
fn kernel(spec: &VmSpec) -> Vec<OsString> {
    let cmdline = format!("{} {}", kernel_arguments(spec.arch), spec.cmdline);
    vec![
        "-kernel".into(),
        spec.kernel.clone().into(),
        "-initrd".into(),
        spec.initramfs.clone().into(),
        "-append".into(),
        cmdline.trim_end().into(),
    ]
}

/// The serial port. A pipe and not a socket: of a socket's buffer, each byte that the guest writes
/// would take most of a kilobyte. With `append`, because QEMU would truncate it otherwise.
fn console(fd: RawFd) -> Vec<OsString> {
    let mut all = vec!["-add-fd".into(), format!("fd={fd},set=1").into()];
    all.extend(strings([
        "-chardev",
        "file,id=console,path=/dev/fdset/1,append=on",
        "-serial",
        "chardev:console",
    ]));
    all
}

/// The vsock device. Legacy virtio-mmio would let the guest place its queues in units of pages
/// only, and vhost-user needs version 1.
fn vsock(fd: RawFd) -> Vec<OsString> {
    let mut all = strings(["-global", "virtio-mmio.force-legacy=false", "-chardev"]);
    all.push(format!("socket,id=vsock,fd={fd}").into());
    all.extend(strings(["-device", "vhost-user-vsock-device,chardev=vsock"]));
    all
}

/// The monitor, and that QEMU stops the CPUs instead of ending when the guest asks for a restart:
/// their registers say whether it asked or crashed.
fn monitor(fd: RawFd) -> Vec<OsString> {
    let mut all = vec!["-chardev".into(), format!("socket,id=monitor,fd={fd}").into()];
    all.extend(strings(["-mon", "chardev=monitor,mode=control"]));
    all.extend(strings(["-action", "reboot=shutdown,shutdown=pause"]));
    all
}

/// Waits for gdb before the first instruction.
fn debugger(path: &Path) -> Vec<OsString> {
    let mut chardev = OsString::from("socket,id=gdb,server=on,wait=off,path=");
    chardev.push(escaped(path));
    let mut all = vec!["-chardev".into(), chardev];
    all.extend(strings(["-gdb", "chardev:gdb", "-S"]));
    all
}

/// A path within one of QEMU's comma-separated lists.
fn escaped(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> VmSpec {
        VmSpec {
            arch: Arch::X86_64,
            kernel: "/k/vm linux,1".into(),
            initramfs: "/k/init.cpio".into(),
            cmdline: "quiet".into(),
            cpus: 2,
            memory_mib: 96,
            cpu_model: None,
            port: 7,
            gdb: false,
        }
    }

    fn line(spec: &VmSpec, debugger: Option<&Path>) -> Vec<String> {
        let inherited = Inherited { vsock: 10, monitor: 11, console: 12, debugger };
        arguments(spec, Accelerator::Tcg, inherited)
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect()
    }

    fn after<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
        line.windows(2).filter(|w| w[0] == option).map(|w| w[1].as_str()).collect()
    }

    #[test]
    fn memory_is_shared_and_as_large_as_the_machines() {
        let line = line(&spec(), None);
        assert_eq!(after(&line, "-m"), ["96M"]);
        assert_eq!(after(&line, "-object"), ["memory-backend-memfd,id=ram,size=96M,share=on"]);
        assert_eq!(after(&line, "-machine"), ["microvm,acpi=off,memory-backend=ram"]);
        assert_eq!(after(&line, "-smp"), ["2"]);
    }

    #[test]
    fn the_callers_arguments_come_after_the_machines() {
        assert_eq!(
            after(&line(&spec(), None), "-append"),
            ["console=ttyS0 reboot=t panic=-1 quiet"]
        );
        let bare = VmSpec { cmdline: String::new(), ..spec() };
        assert_eq!(after(&line(&bare, None), "-append"), ["console=ttyS0 reboot=t panic=-1"]);
    }

    #[test]
    fn paths_that_are_arguments_stay_as_they_are() {
        assert_eq!(after(&line(&spec(), None), "-kernel"), ["/k/vm linux,1"]);
    }

    #[test]
    fn descriptors_reach_their_devices() {
        let line = line(&spec(), None);
        assert_eq!(
            after(&line, "-chardev"),
            [
                "file,id=console,path=/dev/fdset/1,append=on",
                "socket,id=vsock,fd=10",
                "socket,id=monitor,fd=11"
            ]
        );
        assert_eq!(after(&line, "-add-fd"), ["fd=12,set=1"]);
        assert!(!line.contains(&"-S".to_owned()));
    }

    #[test]
    fn a_debugger_is_waited_for_at_its_path() {
        let line = line(&spec(), Some(Path::new("/tmp/a,b/gdb")));
        let chardev = "socket,id=gdb,server=on,wait=off,path=/tmp/a,,b/gdb";
        assert!(after(&line, "-chardev").contains(&chardev));
        assert_eq!(after(&line, "-gdb"), ["chardev:gdb"]);
        assert!(line.contains(&"-S".to_owned()));
    }

    #[test]
    fn a_cpu_model_is_passed_on_only_if_there_is_one() {
        assert_eq!(after(&line(&spec(), None), "-cpu"), Vec::<&str>::new());
        let max = VmSpec { cpu_model: Some("max,-avx".into()), ..spec() };
        assert_eq!(after(&line(&max, None), "-cpu"), ["max,-avx"]);
    }

    #[test]
    fn qemu_may_not_spawn_or_gain_privileges() {
        let line = line(&spec(), None);
        let sandbox = after(&line, "-sandbox");
        assert_eq!(sandbox.len(), 1);
        for denied in ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"] {
            assert!(sandbox[0].contains(&format!("{denied}=deny")), "{denied}");
        }
    }
}
