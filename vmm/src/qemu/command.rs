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
    /// QEMU's emulation with `-icount`: while the guest is awake, its clock advances by 1 ns for
    /// each instruction, so the clock counts instructions.
    Counting,
    /// The host's /dev/kvm.
    Kvm,
}

/// Descriptors that QEMU inherits, and the path of the gdb stub's socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited<'a> {
    /// Connection to the vhost-user back end, which is this process.
    pub(super) vsock: RawFd,
    /// Connection to the monitor.
    pub(super) monitor: RawFd,
    /// Write end of the console's pipe.
    pub(super) console: RawFd,
    /// Path at which QEMU's gdb stub listens.
    pub(super) gdb_socket: Option<&'a Path>,
    /// Path of QEMU's log, which is empty until the monitor switches the log on.
    pub(super) log: Option<&'a Path>,
}

/// Returns the name of QEMU's program for an architecture.
#[must_use]
pub fn program(arch: Arch) -> &'static str {
    board::for_arch(arch).program
}

/// Returns all arguments of QEMU. `machine_options` are further options for `-machine`, each
/// preceded by a comma.
pub(super) fn arguments(
    spec: &VmSpec,
    board: &Board,
    accelerator: Accelerator,
    machine_options: &str,
    tsc_khz: Option<u64>,
    inherited: Inherited<'_>,
) -> Vec<OsString> {
    let mut arguments = Vec::new();
    arguments.extend(confinement_arguments());
    arguments.extend(machine_arguments(spec, board, accelerator, machine_options));
    let board_arguments = (board.kernel_arguments)(&BootFacts {
        accelerator,
        cpus: spec.cpus,
        discovery: spec.discovery,
        tsc_khz,
        config_hz: spec.config_hz,
    });
    arguments.extend(kernel_arguments(spec, &board_arguments));
    arguments.extend(console_arguments(inherited.console, board));
    arguments.extend(vsock_arguments(inherited.vsock, board));
    arguments.extend(monitor_arguments(inherited.monitor));
    if let Some(path) = inherited.gdb_socket {
        arguments.extend(gdb_arguments(path));
    }
    if spec.wait_for_gdb {
        arguments.push("-S".into());
    }
    if let Some(path) = inherited.log {
        arguments.extend(["-D".into(), path.into()]);
    }
    arguments
}

/// Returns the arguments that disable default devices and configuration files and enable QEMU's
/// seccomp sandbox. The sandbox limits a guest that has taken over QEMU.
fn confinement_arguments() -> Vec<OsString> {
    let mut arguments = os_strings(["-no-user-config", "-nodefaults", "-display", "none"]);
    arguments.extend(os_strings([
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]));
    arguments
}

/// Returns the arguments for the machine, its CPUs and its memory. The memory is shared with the
/// vhost-user back end.
fn machine_arguments(
    spec: &VmSpec,
    board: &Board,
    accelerator: Accelerator,
    machine_options: &str,
) -> Vec<OsString> {
    let (accelerator_name, default_cpu) = match accelerator {
        Accelerator::Tcg => ("tcg", board.cpu),
        Accelerator::Counting => ("tcg", board.instruction_count_cpu),
        Accelerator::Kvm => ("kvm", "host"),
    };
    let is_emulated = accelerator != Accelerator::Kvm;
    let vendor = spec.cpu_vendor.as_ref().filter(|_| is_emulated);
    let cpu_with_vendor = vendor.map(|vendor| format!("{default_cpu},vendor={vendor}"));
    let cpu = spec.cpu_model.as_deref().or(cpu_with_vendor.as_deref()).unwrap_or(default_cpu);
    let board_machine = (board.machine_argument)(accelerator, spec.discovery, cpu);
    let machine = format!("{board_machine}{machine_options},memory-backend=ram");
    let mut arguments = os_strings(["-machine", &machine, "-accel", accelerator_name, "-smp"]);
    arguments.push(spec.cpus.to_string().into());
    arguments.push("-m".into());
    arguments.push(format!("{}M", spec.memory_mib).into());
    arguments.push("-object".into());
    arguments
        .push(format!("memory-backend-memfd,id=ram,size={}M,share=on", spec.memory_mib).into());
    arguments.extend(["-cpu".into(), cpu.into()]);
    if accelerator == Accelerator::Counting {
        // With sleep=on, the clock of a sleeping guest follows the clock of the host. With
        // sleep=off, the clock would jump to the guest's next timer, so the guest's time-outs for
        // answers of the host would expire at once.
        arguments.extend(os_strings(["-icount", "shift=0,sleep=on"]));
    }
    arguments
}

/// Returns the arguments for kernel, initramfs and boot arguments.
fn kernel_arguments(spec: &VmSpec, board_arguments: &str) -> Vec<OsString> {
    let cmdline = format!("{board_arguments} {}", spec.cmdline);
    vec![
        "-kernel".into(),
        spec.kernel.clone().into(),
        "-initrd".into(),
        spec.initramfs.clone().into(),
        "-append".into(),
        cmdline.trim_end().into(),
    ]
}

/// Returns the arguments for the console: a pipe, because on a socket each byte would take almost a
/// kilobyte of the buffer. `append=on` prevents QEMU from truncating the pipe.
fn console_arguments(fd: RawFd, board: &Board) -> Vec<OsString> {
    let mut arguments = vec!["-add-fd".into(), format!("fd={fd},set=1").into()];
    arguments.extend(os_strings(["-chardev", "file,id=console,path=/dev/fdset/1,append=on"]));
    arguments.extend(board.console.iter().map(OsString::from));
    arguments
}

/// Returns the arguments for the vsock device.
fn vsock_arguments(fd: RawFd, board: &Board) -> Vec<OsString> {
    let mut arguments = vec!["-chardev".into(), format!("socket,id=vsock,fd={fd}").into()];
    arguments.extend(board.vsock.iter().map(OsString::from));
    arguments
}

/// Returns the arguments for the monitor. When the guest resets the machine, QEMU stops the CPUs
/// instead of ending, so that this process can read the registers, which distinguish a restart from
/// a crash.
fn monitor_arguments(fd: RawFd) -> Vec<OsString> {
    let mut arguments = vec!["-chardev".into(), format!("socket,id=monitor,fd={fd}").into()];
    arguments.extend(os_strings(["-mon", "chardev=monitor,mode=control"]));
    arguments.extend(os_strings(["-action", "reboot=shutdown,shutdown=pause"]));
    arguments
}

/// Returns the arguments for a gdb stub.
fn gdb_arguments(path: &Path) -> Vec<OsString> {
    let mut chardev = OsString::from("socket,id=gdb,server=on,wait=off,path=");
    chardev.push(escape_commas(path));
    let mut arguments = vec!["-chardev".into(), chardev];
    arguments.extend(os_strings(["-gdb", "chardev:gdb"]));
    arguments
}

/// Escapes a path for QEMU's comma-separated lists of options.
fn escape_commas(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

fn os_strings<const N: usize>(arguments: [&str; N]) -> Vec<OsString> {
    arguments.map(OsString::from).into()
}

#[cfg(test)]
mod tests;
