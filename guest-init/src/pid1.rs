// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The runner as PID 1 of a guest: mounts file systems, connects to the host, runs the cases, and
//! reboots.

use crate::{cases, modules, mounts, probe, runner, sys};
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use sudbox_protocol::{NO_HOST_LINE_PREFIX, PORT, PROBLEM_LINE_PREFIX};

/// Devices for the line of a fatal error, with major and minor number. The line goes to the first device
/// that accepts it.
const ERROR_DEVICES: &[(&CStr, u32, u32)] = &[(c"/dev/console", 5, 1), (c"/dev/kmsg", 1, 11)];

/// Runs the guest to its reboot. Errors are reported on the console.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|info| {
        if sys::getpid() == 1 {
            give_up(PROBLEM_LINE_PREFIX, &info.to_string());
        }
        runner::exit_panicked_child(&info.to_string())
    }));
    mounts::mount_for_runner();
    if let Err(error) = runner::prepare() {
        give_up(PROBLEM_LINE_PREFIX, &error.to_string());
    }
    if let Err(error) = modules::load() {
        give_up(PROBLEM_LINE_PREFIX, &error);
    }
    // The host may take a snapshot of the VM when the guest connects, and start further VMs from the
    // snapshot. Probe before connecting, so that those VMs need not probe again.
    let environment = probe::probe_vm();
    let mut stream = match connect() {
        Ok(stream) => stream,
        Err(reason) => give_up(NO_HOST_LINE_PREFIX, &reason),
    };
    match runner::converse(&mut stream, environment, cases::TABLE) {
        Ok(()) => reboot(),
        Err(error) => give_up(PROBLEM_LINE_PREFIX, &error.to_string()),
    }
}

/// Connects to the host over vsock.
fn connect() -> Result<File, String> {
    let address = libc::sockaddr_vm {
        svm_family: libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0),
        svm_reserved1: 0,
        svm_port: PORT,
        svm_cid: libc::VMADDR_CID_HOST,
        svm_zero: [0; 4],
    };
    let os_error = |context: &str| Err(format!("{context}: {}", std::io::Error::last_os_error()));
    // SAFETY: `length` is the length of `address`; the file becomes the owner of the new socket.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return os_error("cannot open a vsock socket");
        }
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        if libc::connect(fd, (&raw const address).cast(), length) != 0 {
            return os_error("cannot connect over vsock");
        }
        Ok(File::from_raw_fd(fd))
    }
}

/// Reports an error on the console and reboots.
fn give_up(prefix: &str, reason: &str) -> ! {
    let line = format!("\n{prefix}{}\n", reason.replace('\n', " "));
    for (path, major, minor) in ERROR_DEVICES {
        // SAFETY: the strings are terminated; the file becomes the owner of the new descriptor.
        let file = unsafe {
            libc::mkdir(c"/dev".as_ptr(), 0o755);
            libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(*major, *minor));
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_NOCTTY | libc::O_CLOEXEC);
            (fd >= 0).then(|| File::from_raw_fd(fd))
        };
        let Some(mut file) = file else { continue };
        if file.write_all(line.as_bytes()).is_ok() {
            // A terminal may still buffer the line, and the reboot would discard it.
            // SAFETY: the descriptor is open.
            unsafe { libc::tcdrain(file.as_raw_fd()) };
            break;
        }
    }
    reboot()
}

/// Reboots, which ends the VM. Powering off would halt a machine without ACPI (kernel/reboot.c).
fn reboot() -> ! {
    loop {
        // SAFETY: takes no pointers, and this program owns the machine.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    }
}
