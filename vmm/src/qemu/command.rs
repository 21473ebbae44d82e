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
/// - `console=ttyS0`: the one serial port.
/// - `reboot=t`: microvm has no keyboard controller and, without ACPI, no reset register; a triple
///   fault is the one way to ask it for a restart.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
///
/// Under TCG the guest need not measure what is known; that takes half of a small kernel's boot:
///
/// - `no_timer_check`: the timer's interrupt arrives.
/// - `nolapic_timer`: with one CPU the PIT does, and the local APIC's timer, whose calibration
///   waits for 100 ticks, is not needed. With more, ticks would get lost.
/// - `noreplace-smp`: a kernel on one CPU would patch every lock prefix out of itself, each with
///   two switches of page tables (docs/boot-time.md has the figures).
/// - `tsc_early_khz`, `tsc=reliable`: how fast the guest's TSC runs, if it is known; it is the
///   host's.
pub(super) fn kernel_arguments(accelerator: Accelerator, cpus: u8, tsc_khz: Option<u64>) -> String {
    let mut all = "console=ttyS0 reboot=t panic=-1".to_owned();
    match accelerator {
        Accelerator::Tcg => {
            all += " no_timer_check";
            if cpus == 1 {
                all += " nolapic_timer noreplace-smp";
            }
            if let Some(khz) = tsc_khz {
                all += &format!(" tsc=reliable tsc_early_khz={khz}");
            }
        }
    }
    all
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
    tsc_khz: Option<u64>,
    inherited: Inherited<'_>,
) -> Vec<OsString> {
    let mut all = Vec::new();
    all.extend(confinement());
    all.extend(machine(spec, accelerator));
    all.extend(kernel(spec, &kernel_arguments(accelerator, spec.cpus, tsc_khz)));
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
    // TCG emulates all that it can of a CPU at no cost, its default model is one of 2003.
    let (accelerator, cpu) = match accelerator {
        Accelerator::Tcg => ("tcg", "max"),
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
    all.extend(["-cpu".into(), spec.cpu_model.as_deref().unwrap_or(cpu).into()]);
    all
}

/// The kernel and what it is told.
fn kernel(spec: &VmSpec, machines: &str) -> Vec<OsString> {
    let cmdline = format!("{machines} {}", spec.cmdline);
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
        arguments(spec, Accelerator::Tcg, Some(2_800_000), inherited)
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
    fn the_callers_arguments_come_last() {
        let append = |spec: &VmSpec| after(&line(spec, None), "-append")[0].to_owned();
        let machines = kernel_arguments(Accelerator::Tcg, 2, Some(2_800_000));
        assert_eq!(append(&spec()), format!("{machines} quiet"));
        assert_eq!(append(&VmSpec { cmdline: String::new(), ..spec() }), machines);
    }

    #[test]
    fn a_guest_is_told_of_its_timers_what_is_true() {
        let one = kernel_arguments(Accelerator::Tcg, 1, Some(2_800_000));
        assert!(one.contains(" nolapic_timer") && one.contains(" tsc_early_khz=2800000"), "{one}");
        let two = kernel_arguments(Accelerator::Tcg, 2, None);
        assert!(!two.contains("nolapic_timer") && !two.contains("tsc"), "{two}");
        for all in [one, two] {
            assert!(all.starts_with("console=ttyS0 reboot=t panic=-1 no_timer_check"), "{all}");
        }
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
    fn the_cpu_is_the_best_or_the_one_asked_for() {
        assert_eq!(after(&line(&spec(), None), "-cpu"), ["max"]);
        let other = VmSpec { cpu_model: Some("qemu64,+avx".into()), ..spec() };
        assert_eq!(after(&line(&other, None), "-cpu"), ["qemu64,+avx"]);
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
