// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Uprobes. Some kernels implement a uprobe by a trampoline in the probed program that issues a system call.
//! Such a call must not be dispatched.

use super::tracefs::Tracefs;
use crate::arch::{self, Gate, Registers};
use crate::case::{Case, Check, Failure, Need, case_not_in_core};
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
    case_not_in_core(
        "uprobes/probed-call-dispatched",
        "a dispatch after a probe has the same registers and address as without the probe",
        "syscall_user_dispatch()",
        probed_call_dispatched,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM),
    case_not_in_core(
        "uprobes/entry-probe-unseen",
        "the system call by which a probe on an instruction reports a hit is not dispatched",
        "syscall_user_dispatch()",
        entry_probe_unseen,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM)
    .known_bugs(&["uprobe-dispatched"]),
    case_not_in_core(
        "uprobes/return-probe-unseen",
        "the system call by which a probe on a return reports a hit is not dispatched",
        "syscall_user_dispatch()",
        return_probe_unseen,
    )
    .features(NEEDS_UPROBES)
    .needs(NEEDS_ROOT_AND_VM)
    .known_bugs(&["uretprobe-dispatched"]),
];

/// A uprobe. The case never removes the probe: a removal would wait for 60 ms of grace periods, and
/// the kernel frees the probed file at the end of the case.
struct Probe {
    tracefs: Tracefs,
    /// The name of the probe's event.
    name: String,
}

/// ENOTSUPP (include/linux/errno.h), the error of `uprobe_init_insn()` for an instruction that it cannot step
/// over.
const ENOTSUPP: i32 = 524;

impl Probe {
    /// Sets a probe on the instruction at `offset`, in bytes, of `file`. `kind` is `p` for a probe
    /// on the instruction, or `r` for a probe on the return of the function that the instruction begins.
    /// `None` if the kernel cannot probe the instruction.
    fn new(kind: char, file: &File, offset: usize) -> Result<Option<Self>, Failure> {
        let tracefs = Tracefs::start(&[])?;
        let (fd, name) = (file.as_raw_fd(), format!("probe_{}_{offset}", sys::getpid()));
        let definition = format!("{kind}:sudbox/{name} /proc/self/fd/{fd}:{offset:#x}");
        tracefs.append("uprobe_events", &definition)?;
        let is_enabled =
            tracefs.append_if_accepted(&format!("events/sudbox/{name}/enable"), "1", ENOTSUPP)?;
        Ok(is_enabled.then_some(Probe { tracefs, name }))
    }

    /// Stops tracing, and returns the number of times that this process hit the probe.
    fn count_hits(self) -> Result<usize, Failure> {
        let [events] = self.tracefs.stop([sys::getpid()])?;
        Ok(events.iter().filter(|event| event.starts_with(&self.name)).count())
    }
}

/// A file with the code to probe, mapped so that probes can be set on it.
pub(crate) struct ProbedCode {
    file: File,
    /// A copy of [`arch::gate`].
    pub(crate) gate: Gate,
    /// The address of the mapping.
    address: u64,
}

/// Offsets in bytes of the two probed functions in the file. The gate is at offset 0.
const FUNCTION_OFFSETS: [usize; 2] = [2048, 2048 + 64];

impl ProbedCode {
    pub(crate) fn new() -> Result<ProbedCode, Failure> {
        let fd = sys::memory_file().map_err(broken("memfd_create"))?;
        // SAFETY: the file becomes the owner of the new descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(PAGE_SIZE as u64).map_err(broken("ftruncate"))?;
        let page = sys::map_at(0, PAGE_SIZE, libc::MAP_SHARED, fd).map_err(broken("mmap"))?;
        assert!(arch::gate_length() <= FUNCTION_OFFSETS[0]);
        for (offset, function) in FUNCTION_OFFSETS.into_iter().zip(arch::PROBED_FUNCTIONS) {
            // SAFETY: the mapped page is large enough for the code, which is not executed yet.
            unsafe { page.add(offset).copy_from_nonoverlapping(function.as_ptr(), function.len()) };
        }
        // SAFETY: the mapped page is large enough for the gate, which ends before the functions.
        let gate = unsafe { arch::copy_gate(page) };
        // A probe needs a private mapping that is not writable (`valid_vma()`). The gate holds
        // absolute addresses, so the new mapping has the address of the old one.
        let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED).cast_unsigned();
        let protection = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        // SAFETY: the call replaces `page` by a mapping of the same bytes.
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
        Ok(ProbedCode { file, gate, address: page as u64 })
    }

    /// Calls the function at this offset with the selector at BLOCK. The function returns `value`
    /// plus [`arch::PROBED_INCREMENT`].
    fn call(&self, offset: usize, value: u32) -> u32 {
        // SAFETY: `new` has copied a function of this type to this address.
        let function = unsafe {
            std::mem::transmute::<u64, extern "C" fn(u32) -> u32>(self.address + offset as u64)
        };
        set_selector(BLOCK);
        let result = function(value);
        set_selector(ALLOW);
        result
    }
}

/// Sets a probe on the first instruction of the code's gate, for the rest of the case.
pub(crate) fn set_probe_on_gate(code: &ProbedCode) -> Check {
    let probe = Probe::new('p', &code.file, 0)?;
    probe.map(drop).ok_or_else(|| mismatch("a probe", "none"))
}

fn probed_call_dispatched() -> Check {
    handle_dispatches(do_nothing)?;
    let code = ProbedCode::new()?;
    let registers = fresh_umask_call();
    arm()?;
    let (without_probe, _) = issue_dispatched(&code.gate, &registers)?;
    let probe = Probe::new('p', &code.file, 0)?.ok_or_else(|| mismatch("a probe", "none"))?;
    let (with_probe, record) = issue_dispatched(&code.gate, &registers)?;
    expect_equal("effect", take_umask_effect(), false)?;
    expect_equal("registers after the call", with_probe, without_probe)?;
    expect_equal_hex("si_call_addr", record.call_address(), code.gate.compared_address())?;
    expect_equal("reports of the probe", probe.count_hits()?, 1)
}

/// Calls both functions under a probe of this kind (see [`Probe::new`]), and checks that no call is
/// dispatched.
fn expect_probe_not_dispatched(kind: char) -> Check {
    const CALLS: u32 = 3;
    handle_dispatches(allow_and_reissue)?;
    let code = ProbedCode::new()?;
    reset_dispatch_count();
    for offset in FUNCTION_OFFSETS {
        let Some(probe) = Probe::new(kind, &code.file, offset)? else {
            // On x86-64 the second function begins with the instruction nop10. A kernel that does
            // not optimise nop10 refuses a probe on that instruction (`is_prefix_bad()`).
            expect_equal("the function without a probe", offset, FUNCTION_OFFSETS[1])?;
            continue;
        };
        arm()?;
        for value in 0..CALLS {
            let expected = value + arch::PROBED_INCREMENT;
            expect_equal("result of the function", code.call(offset, value), expected)?;
        }
        disarm()?;
        expect_equal("reports of the probe", probe.count_hits()?, CALLS as usize)?;
    }
    if let Some(record) = shared().sigsys_record(0) {
        log(format!("number {} at {:#x} was dispatched", record.number(), record.call_address()));
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    // Only the trampoline's own calls must be exempt: from another address these calls are dispatched.
    handle_dispatches(do_nothing)?;
    arm()?;
    for call in arch::PROBE_CALL_NUMBERS {
        let registers = Registers::for_call(call_number(*call), [0; 6]);
        let _ = issue_dispatched(&arch::gate(), &registers)?;
    }
    disarm()
}

fn entry_probe_unseen() -> Check {
    expect_probe_not_dispatched('p')
}

fn return_probe_unseen() -> Check {
    expect_probe_not_dispatched('r')
}
