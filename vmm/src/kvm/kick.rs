// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kicks: one thread makes a vCPU thread return from `KVM_RUN`.
//!
//! The kicker sets `kvm_run.immediate_exit` and then sends a signal. If the vCPU thread is inside
//! `KVM_RUN`, the signal makes the call return `EINTR`. If the thread is about to make the call,
//! `immediate_exit` makes the call return `EINTR` (`Documentation/virt/kvm/api.rst`, section 5).
//! The signal has a handler that does nothing, because an ignored signal would not interrupt the
//! call.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;
use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// Returns the signal for kicks: the first real-time signal that the C library does not use itself.
pub(crate) fn kick_signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn noop_handler(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

/// Installs the handler of [`kick_signal`] for the process, without `SA_RESTART`. The function may
/// be called several times.
///
/// # Errors
/// Those of `sigaction(2)`; none is expected.
pub(crate) fn install_kick_handler() -> io::Result<()> {
    Ok(register_signal_handler(kick_signal(), noop_handler)?)
}

/// The byte `kvm_run.immediate_exit` of one vCPU, shared by the vCPU thread and threads that kick
/// it.
///
/// The byte is in a mapping of its own, because the mapping of `kvm_run` in [`VcpuFd`] is mutably
/// borrowed during `KVM_RUN`, and is unmapped with the `VcpuFd`.
pub(super) struct ImmediateExit {
    page: NonNull<c_void>,
}

/// Size of the mapping in bytes: one page. `immediate_exit` is in the first page of `kvm_run`.
const PAGE_SIZE: usize = 4096;

// SAFETY: the page is only used through an atomic, and is unmapped by the last owner.
unsafe impl Send for ImmediateExit {}
// SAFETY: the page is only used through an atomic, and is unmapped by the last owner.
unsafe impl Sync for ImmediateExit {}

impl ImmediateExit {
    /// Maps the page of a vCPU's `kvm_run` that contains the byte.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub(super) fn map(vcpu: &VcpuFd) -> io::Result<ImmediateExit> {
        // SAFETY: the descriptor is open during the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let page = unsafe { mmap(std::ptr::null_mut(), PAGE_SIZE, prot, MapFlags::SHARED, fd, 0) }?;
        let page = NonNull::new(page).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(ImmediateExit { page })
    }

    /// Sets the byte to 1: from now on `KVM_RUN` returns `EINTR` at once.
    pub(super) fn raise(&self) {
        self.store(1);
    }

    /// Sets the byte to 0: from now on `KVM_RUN` runs the guest.
    pub(super) fn clear(&self) {
        self.store(0);
    }

    fn store(&self, value: u8) {
        const OFFSET: usize = offset_of!(kvm_run, immediate_exit);
        const { assert!(OFFSET < PAGE_SIZE) };
        // SAFETY: the byte is inside the mapping, which lives as long as `self`. This process
        // accesses the byte only here, and the kernel reads it atomically (`READ_ONCE`).
        let byte = unsafe { self.page.byte_add(OFFSET).cast::<AtomicU8>().as_ref() };
        byte.store(value, Ordering::SeqCst);
    }
}

impl Drop for ImmediateExit {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and no reference into the mapping outlives
        // `store`. munmap() of a whole mapping does not fail.
        let _ = unsafe { munmap(self.page.as_ptr(), PAGE_SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;
    use vmm_sys_util::signal::Killable;

    #[test]
    fn a_kick_interrupts_a_system_call() {
        install_kick_handler().unwrap();
        install_kick_handler().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let reading_thread = thread::spawn(move || rustix::io::read(reader, &mut [0]));
        // A read(2) that the kernel restarts would last until the pipe closes.
        for _ in 0..2000 {
            if reading_thread.is_finished() {
                break;
            }
            reading_thread.kill(kick_signal()).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        drop(writer);
        assert_eq!(reading_thread.join().unwrap(), Err(rustix::io::Errno::INTR));
    }
}
