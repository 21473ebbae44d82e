// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU's command line: pure functions from a [`VmSpec`] to arguments.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use super::board::{self, Board, BootFacts};
use crate::machine::VmSpec;
use sudbox_protocol::Arch;

/// QEMU's accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's emulation.
    Tcg,
    /// QEMU's emulation with `-icount`: while the guest is awake, its clock advances by 1 ns for each
    /// instruction, so the clock counts instructions.
    Counting,
    /// The host's /dev/kvm.
    Kvm,
}

/// Descriptors that QEMU inherits, and the path of the debugger's socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited<'a> {
    /// Connection to the vhost-user back end.
    pub(super) vsock: RawFd,
    /// Connection to the monitor.
    pub(super) monitor: RawFd,
    /// Write end of the console's pipe.
    pub(super) console: RawFd,
    /// Path at which QEMU listens for a debugger.
    pub(super) debugger: Option<&'a Path>,
}

/// Returns the name of QEMU's program for an architecture.
#[must_use]
pub fn program(arch: Arch) -> &'static str {
    board::of(arch).program
}

/// Returns all arguments of QEMU. `options` are further options for `-machine`, each preceded by a comma.
pub(super) fn arguments(
    spec: &VmSpec,
    board: &Board,
    accelerator: Accelerator,
    options: &str,
    tsc_khz: Option<u64>,
    inherited: Inherited<'_>,
) -> Vec<OsString> {
    let mut all = Vec::new();
    all.extend(confinement());
    all.extend(machine(spec, board, accelerator, options));
    let machines = (board.kernel_arguments)(&BootFacts {
        accelerator,
        cpus: spec.cpus,
        discovery: spec.discovery,
        tsc_khz,
        timer_hz: spec.timer_hz,
    });
    all.extend(kernel(spec, &machines));
    all.extend(console(inherited.console, board));
    all.extend(vsock(inherited.vsock, board));
    all.extend(monitor(inherited.monitor));
    if let Some(path) = inherited.debugger {
        all.extend(debugger(path));
    }
    all
}

/// Disables default devices and configuration files, and enables QEMU's seccomp sandbox, which limits a
/// guest that has taken over QEMU.
fn confinement() -> Vec<OsString> {
    let mut all = strings(["-no-user-config", "-nodefaults", "-display", "none"]);
    all.extend(strings([
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]));
    all
}

/// The machine, its CPUs and its memory, which is shared with the vhost-user back end.
fn machine(spec: &VmSpec, board: &Board, accelerator: Accelerator, options: &str) -> Vec<OsString> {
    let (name, cpu) = match accelerator {
        Accelerator::Tcg => ("tcg", board.cpu),
        Accelerator::Counting => ("tcg", board.counted_cpu),
        Accelerator::Kvm => ("kvm", "host"),
    };
    let emulated = accelerator != Accelerator::Kvm;
    let vendor = spec.cpu_vendor.as_ref().filter(|_| emulated);
    let vendored = vendor.map(|vendor| format!("{cpu},vendor={vendor}"));
    let cpu = spec.cpu_model.as_deref().or(vendored.as_deref()).unwrap_or(cpu);
    let kind = (board.machine)(accelerator, spec.discovery, cpu);
    let machine = format!("{kind}{options},memory-backend=ram");
    let mut all = strings(["-machine", &machine, "-accel", name, "-smp"]);
    all.push(spec.cpus.to_string().into());
    all.push("-m".into());
    all.push(format!("{}M", spec.memory_mib).into());
    all.push("-object".into());
    all.push(format!("memory-backend-memfd,id=ram,size={}M,share=on", spec.memory_mib).into());
    all.extend(["-cpu".into(), cpu.into()]);
    if accelerator == Accelerator::Counting {
        // sleep=on: while the guest sleeps, its clock follows the host's. Otherwise it would jump to the
        // guest's next timer, and the guest's time-outs for the host would expire at once.
        all.extend(strings(["-icount", "shift=0,sleep=on"]));
    }
    all
}

/// Kernel, initramfs and boot arguments.
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

/// The console: a pipe, because on a socket each byte would take almost a kilobyte of the buffer.
/// `append=on` prevents QEMU from truncating it.
fn console(fd: RawFd, board: &Board) -> Vec<OsString> {
    let mut all = vec!["-add-fd".into(), format!("fd={fd},set=1").into()];
    all.extend(strings(["-chardev", "file,id=console,path=/dev/fdset/1,append=on"]));
    all.extend(board.console.iter().map(OsString::from));
    all
}

/// The vsock device.
fn vsock(fd: RawFd, board: &Board) -> Vec<OsString> {
    let mut all = vec!["-chardev".into(), format!("socket,id=vsock,fd={fd}").into()];
    all.extend(board.vsock.iter().map(OsString::from));
    all
}

/// The monitor. When the guest resets the machine, QEMU stops the CPUs instead of ending, so that the
/// registers can be read, which tell a restart from a crash.
fn monitor(fd: RawFd) -> Vec<OsString> {
    let mut all = vec!["-chardev".into(), format!("socket,id=monitor,fd={fd}").into()];
    all.extend(strings(["-mon", "chardev=monitor,mode=control"]));
    all.extend(strings(["-action", "reboot=shutdown,shutdown=pause"]));
    all
}

/// A gdb stub that waits before the first instruction.
fn debugger(path: &Path) -> Vec<OsString> {
    let mut chardev = OsString::from("socket,id=gdb,server=on,wait=off,path=");
    chardev.push(escaped(path));
    let mut all = vec!["-chardev".into(), chardev];
    all.extend(strings(["-gdb", "chardev:gdb", "-S"]));
    all
}

/// Escapes a path for QEMU's comma-separated lists.
fn escaped(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).into()
}

#[cfg(test)]
mod tests;
