// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Pages that a thread of the case fills when they are first accessed (`userfaultfd(2)`).

use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys;

/// `UFFD_USER_MODE_ONLY`: faults of the kernel itself are not handled.
pub(crate) const USER_MODE_ONLY: u64 = 1;

/// `UFFDIO_API`, `UFFDIO_REGISTER` and `UFFDIO_COPY` (include/uapi/linux/userfaultfd.h).
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_COPY: u64 = 0xc028_aa03;
const UFFD_EVENT_PAGEFAULT: u8 = 0x12;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
const UFFD_API: u64 = 0xaa;

/// The index of the shared word that counts the handled faults.
pub(crate) const HANDLED_FAULTS: usize = 12;

/// Registered pages, whose faults a thread handles.
pub(crate) struct Userfault {
    /// The descriptor of userfaultfd(2).
    fd: u64,
    /// The page whose content a missing page gets.
    source_page: *const u8,
    before_first_fault: fn(),
}

impl Userfault {
    /// Registers pages. A page at which a fault occurs becomes a copy of `source_page`. `flags` are those of
    /// userfaultfd(2).
    pub(crate) fn register(
        pages: *mut u8,
        count: usize,
        source_page: *const u8,
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
        let mut api = [UFFD_API, 0, 0];
        let mut register =
            [pages as u64, (count * PAGE_SIZE) as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
        for (request, argument) in
            [(UFFDIO_API, &mut api[..]), (UFFDIO_REGISTER, &mut register[..])]
        {
            // SAFETY: the structures are those of the requests.
            unsafe { sys::call(libc::SYS_ioctl, &[fd, request, argument.as_mut_ptr() as u64]) }
                .map_err(broken("ioctl of userfaultfd"))?;
        }
        Ok(Userfault { fd, source_page, before_first_fault: || {} })
    }

    /// Sets a function that the thread calls before it handles the first fault.
    pub(crate) fn before_first_fault(self, run: fn()) -> Userfault {
        Userfault { before_first_fault: run, ..self }
    }

    /// Starts the thread that handles faults until the process ends.
    pub(crate) fn start_thread(self) -> Check {
        let userfault = Box::leak(Box::new(self));
        spawn_thread(handle_faults, std::ptr::from_ref(userfault) as u64).map(drop)
    }
}

/// A thread that handles the faults of the [`Userfault`] at the address `argument`.
extern "C" fn handle_faults(argument: u64) -> u64 {
    // SAFETY: `start_thread` passes the address of a value that is never freed.
    let userfault = unsafe { &*(argument as *const Userfault) };
    loop {
        // struct uffd_msg: the event in the first byte, the faulting address in the third word.
        let mut message = [0u64; 4];
        let length = size_of_val(&message) as u64;
        // SAFETY: writes at most one message.
        let result = unsafe {
            sys::call(libc::SYS_read, &[userfault.fd, message.as_mut_ptr() as u64, length])
        };
        let [event, ..] = message[0].to_ne_bytes();
        if result != Ok(length) || event != UFFD_EVENT_PAGEFAULT {
            return 1;
        }
        // If a signal interrupts the wait for a page, the kernel reports the fault again.
        set_shared_word(HANDLED_FAULTS, shared_word(HANDLED_FAULTS) + 1);
        if shared_word(HANDLED_FAULTS) == 1 {
            (userfault.before_first_fault)();
        }
        let page = message[2] & !(PAGE_SIZE as u64 - 1);
        // struct uffdio_copy: dst, src, len, mode, copy.
        let mut copy = [page, userfault.source_page as u64, PAGE_SIZE as u64, 0, 0];
        // SAFETY: fills a missing page; the kernel refuses to fill a present one.
        let _ = unsafe {
            sys::call(libc::SYS_ioctl, &[userfault.fd, UFFDIO_COPY, copy.as_mut_ptr() as u64])
        };
    }
}
