// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Pages that a thread of the case fills when they are first accessed (`userfaultfd(2)`).

use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys;

/// `UFFD_USER_MODE_ONLY`: faults of the kernel itself are not handled.
pub(crate) const USER_MODE_ONLY: u64 = 1;

/// `UFFDIO_API`, `UFFDIO_REGISTER` and `UFFDIO_COPY` (include/uapi/linux/userfaultfd.h).
const API: u64 = 0xc018_aa3f;
const REGISTER: u64 = 0xc020_aa00;
const COPY: u64 = 0xc028_aa03;
const EVENT_PAGEFAULT: u8 = 0x12;
const MODE_MISSING: u64 = 1;
const VERSION: u64 = 0xaa;

/// The shared word that counts the handled faults.
pub(crate) const FAULTS: usize = 12;

/// Registered pages, whose faults a thread handles.
pub(crate) struct Userfault {
    fd: u64,
    filler: *const u8,
    meanwhile: fn(),
}

impl Userfault {
    /// Registers pages; a faulting page becomes a copy of `filler`.
    pub(crate) fn over(
        pages: *mut u8,
        count: usize,
        filler: *const u8,
        flags: u64,
    ) -> Result<Userfault, Failure> {
        // SAFETY: takes no pointers.
        let fd = unsafe { sys::call(libc::SYS_userfaultfd, &[flags]) }.map_err(|error| {
            if error.0 == libc::EPERM {
                Failure::Unmet("userfaultfd".into())
            } else {
                Failure::Broken(format!("userfaultfd: {error}"))
            }
        })?;
        let mut api = [VERSION, 0, 0];
        let mut register = [pages as u64, (count * PAGE_SIZE) as u64, MODE_MISSING, 0];
        for (request, argument) in [(API, &mut api[..]), (REGISTER, &mut register[..])] {
            // SAFETY: the structures are those of the requests.
            unsafe { sys::call(libc::SYS_ioctl, &[fd, request, argument.as_mut_ptr() as u64]) }
                .map_err(broken("ioctl of userfaultfd"))?;
        }
        Ok(Userfault { fd, filler, meanwhile: || {} })
    }

    /// Sets a function that the thread calls before it handles the first fault.
    pub(crate) fn meanwhile(self, run: fn()) -> Userfault {
        Userfault { meanwhile: run, ..self }
    }

    /// Starts the thread that handles faults until the process ends.
    pub(crate) fn serve(self) -> Check {
        let forever = Box::leak(Box::new(self));
        spawn_thread(answer, std::ptr::from_ref(forever) as u64).map(drop)
    }
}

extern "C" fn answer(argument: u64) -> u64 {
    // SAFETY: `serve` passes the address of a value that is never freed.
    let faults = unsafe { &*(argument as *const Userfault) };
    loop {
        let mut message = [0u64; 4];
        // SAFETY: writes at most one message.
        let read =
            unsafe { sys::call(libc::SYS_read, &[faults.fd, message.as_mut_ptr() as u64, 32]) };
        let [event, ..] = message[0].to_ne_bytes();
        if read != Ok(32) || event != EVENT_PAGEFAULT {
            return 1;
        }
        // A fault that a signal interrupts is reported again.
        set_shared_word(FAULTS, shared_word(FAULTS) + 1);
        if shared_word(FAULTS) == 1 {
            (faults.meanwhile)();
        }
        let page = message[2] & !(PAGE_SIZE as u64 - 1);
        let mut copy = [page, faults.filler as u64, PAGE_SIZE as u64, 0, 0];
        // SAFETY: fills a missing page; the kernel refuses one that is present.
        let _ = unsafe { sys::call(libc::SYS_ioctl, &[faults.fd, COPY, copy.as_mut_ptr() as u64]) };
    }
}
