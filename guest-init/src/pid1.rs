// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The runner as PID 1 of a guest: mounts, dials the host, converses, restarts. It never ends.

use crate::{cases, modules, mounts, probe, runner, sys};
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use sudbox_protocol::{CONSOLE_NO_HOST, CONSOLE_PROBLEM, PORT};

/// Where the last words go, and the device numbers in case no node is there.
const VOICES: &[(&CStr, u32, u32)] = &[(c"/dev/console", 5, 1), (c"/dev/kmsg", 1, 11)];

/// Runs everything. Comes back never: what goes wrong is said on the console.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|info| {
        if sys::getpid() == 1 {
            give_up(CONSOLE_PROBLEM, &info.to_string());
        }
        runner::end_of_panicked_child(&info.to_string())
    }));
    mounts::mount_for_runner();
    if let Err(problem) = runner::prepare() {
        give_up(CONSOLE_PROBLEM, &problem.to_string());
    }
    if let Err(problem) = modules::load() {
        give_up(CONSOLE_PROBLEM, &problem);
    }
    // Everything that can be done before the host is dialled is: a VM may be kept at that moment,
    // and others begin there.
    let machine = probe::find(true);
    let mut stream = match dial() {
        Ok(stream) => stream,
        Err(reason) => give_up(CONSOLE_NO_HOST, &reason),
    };
    match runner::converse(&mut stream, machine, cases::TABLE) {
        Ok(()) => restart(),
        Err(problem) => give_up(CONSOLE_PROBLEM, &problem.to_string()),
    }
}

fn dial() -> Result<File, String> {
    let address = libc::sockaddr_vm {
        svm_family: libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0),
        svm_reserved1: 0,
        svm_port: PORT,
        svm_cid: libc::VMADDR_CID_HOST,
        svm_zero: [0; 4],
    };
    let failed = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    // SAFETY: the address is as long as said; the socket is new and becomes the file's.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return failed("no vsock socket");
        }
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        if libc::connect(fd, (&raw const address).cast(), length) != 0 {
            return failed("nobody answers over vsock");
        }
        Ok(File::from_raw_fd(fd))
    }
}

/// Says why on the console and restarts.
fn give_up(beginning: &str, reason: &str) -> ! {
    let line = format!("\n{beginning}{}\n", reason.replace('\n', " "));
    for (path, major, minor) in VOICES {
        // SAFETY: reads a terminated string; the descriptor becomes the file's.
        let file = unsafe {
            libc::mkdir(c"/dev".as_ptr(), 0o755);
            libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(*major, *minor));
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_NOCTTY | libc::O_CLOEXEC);
            (fd >= 0).then(|| File::from_raw_fd(fd))
        };
        let Some(mut file) = file else { continue };
        if file.write_all(line.as_bytes()).is_ok() {
            // A terminal sends later what it takes now, and the restart does not wait for it.
            // SAFETY: waits on a descriptor of ours.
            unsafe { libc::tcdrain(file.as_raw_fd()) };
            break;
        }
    }
    restart()
}

/// A restart, not a power-off: without ACPI that would be a halt (kernel/reboot.c).
fn restart() -> ! {
    loop {
        // SAFETY: ends the machine, which is this program's own.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    }
}
