// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selectors in special memory: filled by userfaultfd(2), swapped out, execute-only.

use super::userfault::{HANDLED_FAULTS, USER_MODE_ONLY, Userfault};
use crate::arch;
use crate::case::{Case, Check, Failure, Need, OnlyArchs, case, case_not_in_core};
use crate::shared::KernelChange;
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use sudbox_protocol::Feature;

const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";
const EXIT_FUNCTION: &str = "force_exit_sig()";
const NEEDS_USERFAULTFD: &[Feature] = &[Feature::Dispatch, Feature::Userfaultfd];

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "selector/userfault-waits",
        "the kernel waits for a selector that userfaultfd fills, and uses the filled value",
        DISPATCH_FUNCTION,
        userfault_waits,
    )
    .features(NEEDS_USERFAULTFD)
    .needs(&[Need::Root]),
    case_not_in_core(
        "selector/userfault-signal-retries",
        "a signal does not end the wait for a selector; it is handled after the fault",
        DISPATCH_FUNCTION,
        userfault_signal_retries,
    )
    .features(NEEDS_USERFAULTFD)
    .needs(&[Need::Root]),
    case_not_in_core(
        "selector/userfault-killable",
        "SIGKILL ends the wait for a selector that userfaultfd never fills",
        DISPATCH_FUNCTION,
        userfault_killable,
    )
    .features(NEEDS_USERFAULTFD)
    .needs(&[Need::Root]),
    case_not_in_core(
        "selector/userfault-user-only-kills",
        "a selector that userfaultfd fills only for faults of user mode kills with SIGSEGV",
        EXIT_FUNCTION,
        userfault_user_only_kills,
    )
    .features(NEEDS_USERFAULTFD),
    case(
        "selector/execute-only-kills",
        "a selector in execute-only memory kills with SIGSEGV, without running a handler",
        EXIT_FUNCTION,
        execute_only_kills,
    )
    .features(&[Feature::Dispatch, Feature::Pkeys])
    .needs(&[Need::CpuFeature("pku")])
    .only(OnlyArchs::PROTECTION_KEYS),
    case(
        "selector/swapped-out",
        "a selector that was swapped out is read from swap",
        DISPATCH_FUNCTION,
        swapped_out,
    )
    .features(&[Feature::Dispatch, Feature::Swap])
    .needs(&[Need::Root, Need::Vm]),
];

/// The index of the shared word that is 1 once a call has returned.
const CALL_RETURNED: usize = 0;
/// The index of the shared word with the observation of the filling thread while the call waits for its
/// selector.
const STATE_DURING_WAIT: usize = 1;
/// The index of the shared word that lets the filling thread continue.
const WAIT_IS_OVER: usize = 2;

/// Maps a page filled with this byte.
fn page_filled_with(value: u8) -> Result<*mut u8, Failure> {
    let page = map_pages(1)?;
    // SAFETY: the page belongs to this case.
    unsafe { page.write_bytes(value, PAGE_SIZE) };
    Ok(page)
}

/// The offset of the selector in its page.
const SELECTOR_OFFSET: usize = 0x123;

fn userfault_waits() -> Check {
    handle_dispatches(do_nothing)?;
    for value in [BLOCK, ALLOW] {
        let page = map_pages(1)?;
        set_shared_word(HANDLED_FAULTS, 0);
        Userfault::register(page, 1, page_filled_with(value)?, 0)?
            .before_first_fault(|| {
                set_shared_word(
                    STATE_DURING_WAIT,
                    u64::from(dispatch_count()) << 1 | shared_word(CALL_RETURNED),
                )
            })
            .start_thread()?;
        reset_dispatch_count();
        let regs = fresh_umask_call();
        set_shared_word(CALL_RETURNED, 0);
        arm_with_selector(page as u64 + SELECTOR_OFFSET as u64)?;
        expect_equal("faults when arming", shared_word(HANDLED_FAULTS), 0)?;
        let _ = arch::gate().issue(&regs);
        set_shared_word(CALL_RETURNED, 1);
        disarm()?;
        expect_equal("faults", shared_word(HANDLED_FAULTS), 1)?;
        expect_equal(
            "dispatches and instructions run while the selector was not there",
            shared_word(STATE_DURING_WAIT),
            0,
        )?;
        expect_equal("SIGSYS handled", dispatch_count(), u32::from(value == BLOCK))?;
        expect_equal("effect", take_umask_effect(), value == ALLOW)?;
    }
    // Any other filled value kills as usual.
    let page = map_pages(1)?;
    Userfault::register(page, 1, page_filled_with(INVALID)?, 0)?.start_thread()?;
    expect_death(page, libc::SIGSYS)
}

/// Arms a child with this selector. Checks that the child's next call kills the child by this signal.
fn expect_death(selector: *mut u8, signal: i32) -> Check {
    reset_dispatch_count();
    set_shared_word(CALL_RETURNED, 0);
    let status = run_vforked(|| {
        let regs = fresh_umask_call();
        if arm_with_selector(selector as u64).is_err() {
            return SETUP_FAILED;
        }
        let _ = arch::gate().issue(&regs);
        set_shared_word(CALL_RETURNED, 1);
        0
    })?;
    expect_killed(status, signal, 0)?;
    expect_equal("instructions run after the call", shared_word(CALL_RETURNED), 0)
}

fn userfault_signal_retries() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGUSR1)?;
    let page = map_pages(1)?;
    Userfault::register(page, 1, page_filled_with(BLOCK)?, 0)?
        .before_first_fault(|| {
            let process = sys::getpid();
            let _ = sys::tgkill(process, process, libc::SIGUSR1);
            // During the sleep the other thread would run a handler that the kernel starts too early, even
            // on one CPU and a busy host.
            sys::sleep(Duration::from_millis(20));
            set_shared_word(STATE_DURING_WAIT, other_signals() << 1 | u64::from(dispatch_count()));
        })
        .start_thread()?;
    let regs = fresh_umask_call();
    arm_with_selector(page as u64)?;
    let after = arch::gate().issue(&regs);
    disarm()?;
    expect_equal("signals handled before the selector came", shared_word(STATE_DURING_WAIT), 0)?;
    expect_equal("SIGUSR1 handled", other_signals(), 1)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_result_kept("after both", &after)?;
    expect_equal("effect", take_umask_effect(), false)
}

/// The number of signals other than SIGSYS that were handled.
fn other_signals() -> u64 {
    crate::shared::shared().other_signals.load(Ordering::SeqCst).into()
}

/// The process id of the child that waits for its selector.
static WAITING_CHILD: AtomicI32 = AtomicI32::new(0);

fn userfault_killable() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(1)?;
    // The thread that fills pages kills the child before it fills the page.
    Userfault::register(page, 1, page_filled_with(ALLOW)?, 0)?
        .before_first_fault(|| {
            let _ = sys::kill(WAITING_CHILD.load(Ordering::SeqCst), libc::SIGKILL);
            await_shared_word(WAIT_IS_OVER, 1);
        })
        .start_thread()?;
    let status = run_vforked(|| {
        WAITING_CHILD.store(sys::getpid(), Ordering::SeqCst);
        if arm_with_selector(page as u64).is_err() {
            return SETUP_FAILED;
        }
        let _ = arch::gate().issue(&fresh_umask_call());
        set_shared_word(CALL_RETURNED, 1);
        0
    })?;
    expect_killed(status, libc::SIGKILL, 0)?;
    expect_equal("faults", shared_word(HANDLED_FAULTS), 1)?;
    expect_equal("instructions run after the call", shared_word(CALL_RETURNED), 0)?;
    set_shared_word(WAIT_IS_OVER, 1);
    Ok(())
}

fn userfault_user_only_kills() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    install_counting_handler(libc::SIGBUS)?;
    let page = map_pages(1)?;
    Userfault::register(page, 1, page_filled_with(ALLOW)?, USER_MODE_ONLY)?.start_thread()?;
    expect_death(page, libc::SIGSEGV)?;
    expect_equal("faults", shared_word(HANDLED_FAULTS), 0)
}

fn execute_only_kills() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_EXEC)?;
    expect_death(page, libc::SIGSEGV)
}

/// The path at which the case creates the device of the first RAM disk.
const RAM_DISK: &str = "/tmp/ram0";
/// The major and minor number of the first RAM disk (Documentation/admin-guide/devices.txt).
const RAM_DISK_DEVICE: (u32, u32) = (1, 0);
/// `MADV_PAGEOUT` (include/uapi/asm-generic/mman-common.h).
const MADV_PAGEOUT: u64 = 21;

/// A swap area on the RAM disk. Dropping it ends its use.
struct SwapArea {
    change: Option<KernelChange>,
}

impl SwapArea {
    fn new() -> Result<SwapArea, Failure> {
        let path = std::ffi::CString::new(RAM_DISK).map_err(broken("path"))?;
        let (major, minor) = RAM_DISK_DEVICE;
        // SAFETY: the string is terminated.
        unsafe {
            libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(major, minor));
        }
        // `union swap_header` (include/linux/swap.h) as mkswap(8) writes it: version, index of the last
        // page, and the magic at the end of the page.
        const VERSION: u32 = 1;
        const LAST_PAGE: u32 = 1023;
        let mut header = vec![0u8; PAGE_SIZE];
        header[1024..1028].copy_from_slice(&VERSION.to_ne_bytes());
        header[1028..1032].copy_from_slice(&LAST_PAGE.to_ne_bytes());
        header[PAGE_SIZE - 10..].copy_from_slice(b"SWAPSPACE2");
        std::fs::write(RAM_DISK, &header).map_err(|_| Failure::Unmet("ramdisk".into()))?;
        let area = SwapArea { change: Some(KernelChange::begin()) };
        // SAFETY: the string is terminated.
        unsafe { sys::call(libc::SYS_swapon, &[path.as_ptr() as u64, 0]) }
            .map_err(broken("swapon"))?;
        Ok(area)
    }
}

impl Drop for SwapArea {
    fn drop(&mut self) {
        if let Ok(path) = std::ffi::CString::new(RAM_DISK) {
            // SAFETY: the string is terminated.
            let result = unsafe { sys::call(libc::SYS_swapoff, &[path.as_ptr() as u64]) };
            // EINVAL: the kernel does not use the area.
            if matches!(result, Ok(_) | Err(sys::Errno(libc::EINVAL)))
                && let Some(change) = self.change.take()
            {
                change.end();
            }
        }
    }
}

/// Whether a page of this process is swapped out (Documentation/admin-guide/mm/pagemap.rst).
fn is_swapped_out(page: *mut u8) -> Result<bool, Failure> {
    use std::os::unix::fs::FileExt;
    /// The bit of an entry that is set if the page is swapped out.
    const SWAPPED: u64 = 1 << 62;
    let page_map = std::fs::File::open("/proc/self/pagemap").map_err(broken("pagemap"))?;
    let mut entry = [0; 8];
    let offset = page as u64 / PAGE_SIZE as u64 * size_of_val(&entry) as u64;
    page_map.read_exact_at(&mut entry, offset).map_err(broken("pagemap"))?;
    Ok(u64::from_ne_bytes(entry) & SWAPPED != 0)
}

/// Maps a page with this selector value at [`SELECTOR_OFFSET`], and swaps the page out.
fn swap_out(value: u8) -> Result<*mut u8, Failure> {
    let page = page_filled_with(value ^ 0xff)?;
    // SAFETY: the byte is in the page.
    unsafe { page.add(SELECTOR_OFFSET).write_volatile(value) };
    for _ in 0..100 {
        // SAFETY: the page belongs to this case.
        unsafe { sys::call(libc::SYS_madvise, &[page as u64, PAGE_SIZE as u64, MADV_PAGEOUT]) }
            .map_err(broken("madvise"))?;
        if is_swapped_out(page)? {
            return Ok(page);
        }
        sys::sched_yield();
    }
    Err(Failure::Broken("the page is not swapped out".into()))
}

fn swapped_out() -> Check {
    handle_dispatches(do_nothing)?;
    let _area = SwapArea::new()?;
    for value in [BLOCK, ALLOW] {
        let page = swap_out(value)?;
        reset_dispatch_count();
        let regs = fresh_umask_call();
        arm_with_selector(page as u64 + SELECTOR_OFFSET as u64)?;
        let _ = arch::gate().issue(&regs);
        disarm()?;
        expect_equal("SIGSYS handled", dispatch_count(), u32::from(value == BLOCK))?;
        expect_equal("effect", take_umask_effect(), value == ALLOW)?;
        expect_equal("the page is swapped out afterwards", is_swapped_out(page)?, false)?;
    }
    // Any other value kills as usual.
    let page = swap_out(0x80)?;
    // SAFETY: the byte is in the page.
    expect_death(unsafe { page.add(SELECTOR_OFFSET) }, libc::SIGSYS)
}
