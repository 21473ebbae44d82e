// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Uprobes. Some kernels implement them by system calls in the probed program, which must not be dispatched.

use super::tracefs::Tracefs;
use crate::arch::{self, Gate, Registers};
use crate::case::{Case, Check, Failure, Need, outside_core};
use crate::shared::shared;
use crate::support::*;
use crate::sys;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use sudbox_protocol::Feature;

const NEEDS_UPROBES: &[Feature] = &[Feature::Dispatch, Feature::Uprobes];
/// Uprobes are system-wide, so these cases need root and a VM.
const NEEDS_ROOT_AND_VM: &[Need] = &[Need::Root, Need::Vm];

pub(super) const CASES: &[Case] = &[
    outside_core(
        "uprobes/probed-call-dispatched",
        "a dispatch after a probe has the same registers and address as without the probe",
        "syscall_user_dispatch()",
        probed_call_dispatched,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM),
    outside_core(
        "uprobes/entry-probe-unseen",
        "the call by which a probe on an instruction reports itself is not dispatched",
        "syscall_user_dispatch()",
        entry_probe_unseen,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM)
    .known_bugs(&["uprobe-dispatched"]),
    outside_core(
        "uprobes/return-probe-unseen",
        "the call by which a probe on a return reports itself is not dispatched",
        "syscall_user_dispatch()",
        return_probe_unseen,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM)
    .known_bugs(&["uretprobe-dispatched"]),
];

/// A uprobe. It is never removed: that would take 60 ms of grace periods, and the probed file ends with
/// the case.
struct Probe {
    traces: Tracefs,
    name: String,
}

/// ENOTSUPP (include/linux/errno.h): `uprobe_init_insn()` cannot step over the instruction.
const ENOTSUPP: i32 = 524;

impl Probe {
    /// Sets a probe at an offset of a file; `kind` is `p` (entry) or `r` (return). `None` if the kernel
    /// cannot probe the instruction there.
    fn new(kind: char, file: &File, offset: usize) -> Result<Option<Self>, Failure> {
        let traces = Tracefs::start(&[])?;
        let (fd, name) = (file.as_raw_fd(), format!("probe_{}_{offset}", sys::getpid()));
        let line = format!("{kind}:sudbox/{name} /proc/self/fd/{fd}:{offset:#x}");
        traces.append("uprobe_events", &line)?;
        let enabled =
            traces.append_if_accepted(&format!("events/sudbox/{name}/enable"), "1", ENOTSUPP)?;
        Ok(enabled.then_some(Probe { traces, name }))
    }

    /// Removes the events from the trace, and returns the number of times that the probe was hit.
    fn count_hits(self) -> Result<usize, Failure> {
        let [seen] = self.traces.stop([sys::getpid()])?;
        Ok(seen.iter().filter(|event| event.starts_with(&self.name)).count())
    }
}

/// A file with the code to probe, mapped so that probes can be set on it.
struct ProbedCode {
    file: File,
    gate: Gate,
    /// The address of the mapping.
    start: u64,
}

/// The offset of each function in the file.
const FUNCTION_OFFSETS: [usize; 2] = [2048, 2048 + 64];

impl ProbedCode {
    fn new() -> Result<ProbedCode, Failure> {
        let fd = sys::memory_file().map_err(broken("memfd_create"))?;
        // SAFETY: the file becomes the owner of the new descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(PAGE_SIZE as u64).map_err(broken("ftruncate"))?;
        let page = sys::map_at(0, PAGE_SIZE, libc::MAP_SHARED, fd).map_err(broken("mmap"))?;
        assert!(arch::gate_length() <= FUNCTION_OFFSETS[0]);
        for (place, function) in FUNCTION_OFFSETS.into_iter().zip(arch::PROBED_FUNCTIONS) {
            // SAFETY: the mapped page is large enough for the code, which is not executed yet.
            unsafe { page.add(place).copy_from_nonoverlapping(function.as_ptr(), function.len()) };
        }
        // SAFETY: as above.
        let gate = unsafe { arch::copy_gate(page) };
        // Probes need a private mapping that is not writable (`valid_vma()`). The gate holds absolute
        // addresses, so remap at the same one.
        let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED).cast_unsigned();
        let protection = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        // SAFETY: replaces the page above by a mapping of the same bytes.
        unsafe {
            sys::mmap(&[
                page as u64,
                PAGE_SIZE as u64,
                protection.into(),
                flags.into(),
                fd.cast_unsigned().into(),
                0,
            ])
        }
        .map_err(broken("mmap"))?;
        Ok(ProbedCode { file, gate, start: page as u64 })
    }

    /// Calls the function at this offset, which adds [`arch::PROBED_INCREMENT`], with the selector at BLOCK.
    fn call(&self, offset: usize, value: u32) -> u32 {
        // SAFETY: a function of this type is at that address.
        let function = unsafe {
            std::mem::transmute::<u64, extern "C" fn(u32) -> u32>(self.start + offset as u64)
        };
        set_selector(BLOCK);
        let result = function(value);
        set_selector(ALLOW);
        result
    }
}

fn probed_call_dispatched() -> Check {
    handle_dispatches(do_nothing)?;
    let code = ProbedCode::new()?;
    let regs = fresh_umask_call();
    arm()?;
    let (without, _) = issue_dispatched(&code.gate, &regs)?;
    let probe = Probe::new('p', &code.file, 0)?.ok_or_else(|| mismatch("a probe", "none"))?;
    let (with, seen) = issue_dispatched(&code.gate, &regs)?;
    expect_equal("effect", take_umask_effect(), false)?;
    expect_equal("registers after the call", with, without)?;
    expect_equal_hex("si_call_addr", seen.call_address(), code.gate.compared_address())?;
    expect_equal("reports of the probe", probe.count_hits()?, 1)
}

/// Calls the functions under a probe of this kind, and checks that nothing is dispatched.
fn expect_probe_unseen(kind: char) -> Check {
    const CALLS: u32 = 3;
    handle_dispatches(allow_and_reissue)?;
    let code = ProbedCode::new()?;
    reset_dispatch_count();
    for place in FUNCTION_OFFSETS {
        let Some(probe) = Probe::new(kind, &code.file, place)? else {
            // Kernels that do not optimise nop10 refuse probes on it (`is_prefix_bad()`).
            expect_equal("the function without a probe", place, FUNCTION_OFFSETS[1])?;
            continue;
        };
        arm()?;
        for value in 0..CALLS {
            let expected = value + arch::PROBED_INCREMENT;
            expect_equal("result of the function", code.call(place, value), expected)?;
        }
        disarm()?;
        expect_equal("reports of the probe", probe.count_hits()?, CALLS as usize)?;
    }
    if let Some(seen) = shared().sigsys_record(0) {
        log(format!("number {} at {:#x} was dispatched", seen.number(), seen.call_address()));
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    // The kernel exempts the trampoline's address, not these numbers.
    handle_dispatches(do_nothing)?;
    arm()?;
    for call in PROBE_CALLS {
        let regs = Registers::for_call(call_number(*call), [0; 6]);
        let _ = issue_dispatched(&arch::gate(), &regs)?;
    }
    disarm()
}

/// `uretprobe` and `uprobe` (arch/x86/entry/syscalls/syscall_64.tbl), which only trampolines may issue.
const PROBE_CALLS: &[i64] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

fn entry_probe_unseen() -> Check {
    expect_probe_unseen('p')
}

fn return_probe_unseen() -> Check {
    expect_probe_unseen('r')
}
