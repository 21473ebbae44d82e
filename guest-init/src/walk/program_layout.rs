// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The addresses and files of the program that executes random walks.

use super::operations::{CallSite, PROGRAM_EXIT_CODE, ProgramLayout};
use crate::arch::{self, Gate};
use crate::case::{Failure, Need};
use crate::cases::uprobes::{ProbedCode, set_probe_on_gate};
use crate::probe;
use crate::support::broken;
use crate::sys;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use sudbox_protocol::Feature;

/// The selectors of a sequence.
pub(super) static SELECTORS: [AtomicU8; 2] = [AtomicU8::new(0), AtomicU8::new(0)];

/// The code with the probed gate, if the sequence calls it.
static PROBED_CODE: OnceLock<ProbedCode> = OnceLock::new();

/// The descriptors of the files that sequences execute ([`ProgramLayout::program_files`]).
static PROGRAM_FILES: OnceLock<[u64; 2]> = OnceLock::new();

/// The layout of this program.
pub(super) fn program_layout() -> ProgramLayout {
    let inside = arch::inside();
    ProgramLayout {
        compared_addresses: [
            inside.start + arch::CALL_LENGTH,
            arch::gate().compared_address(),
            arch::second_gate().compared_address(),
            arch::compat_gate().compared_address(),
            gate_with_uprobe().compared_address(),
        ],
        abort_address: arch::gate().other_continuation(),
        inside,
        selectors: [SELECTORS[0].as_ptr() as u64, SELECTORS[1].as_ptr() as u64],
        // Below `vm.mmap_min_addr`.
        unmapped_address: 0x10,
        kernel_address: arch::KERNEL_ADDRESS,
        program_files: PROGRAM_FILES.get().copied().unwrap_or([u64::MAX; 2]),
        empty_path: c"".as_ptr() as u64,
    }
}

/// The compared addresses of the calls that are under test: all but those of [`CallSite::Inside`].
pub(super) fn compared_sites() -> [u64; CallSite::ALL.len() - 1] {
    let [_, sites @ ..] = program_layout().compared_addresses;
    sites
}

/// The gate of [`CallSite::GateWithUprobe`]: the first gate, unless the sequence has calls from it.
pub(super) fn gate_with_uprobe() -> Gate {
    PROBED_CODE.get().map_or_else(arch::gate, |code| code.gate)
}

/// Maps the probed gate, and sets a uprobe on its first instruction if the machine permits that. The model
/// ignores the probe, since a probe must change nothing that a program can observe.
pub(super) fn prepare_gate_with_uprobe() -> Result<(), Failure> {
    if PROBED_CODE.get().is_some() {
        return Ok(());
    }
    let code = ProbedCode::new()?;
    let environment = probe::environment();
    if environment.first_unmet(&[Need::Root, Need::Vm]).is_none()
        && environment.first_missing(&[Feature::Uprobes]).is_none()
    {
        set_probe_on_gate(&code)?;
    }
    PROBED_CODE.get_or_init(|| code);
    Ok(())
}

/// Creates the files that sequences execute.
pub(super) fn prepare_programs() -> Result<(), Failure> {
    if PROGRAM_FILES.get().is_some() {
        return Ok(());
    }
    let create = |content: &[u8]| -> Result<u64, Failure> {
        let fd = sys::memory_file().map_err(broken("memfd_create"))?;
        let fd = u64::from(fd.cast_unsigned());
        let arguments = [fd, content.as_ptr() as u64, content.len() as u64];
        // SAFETY: the content is live.
        unsafe { sys::call(libc::SYS_write, &arguments) }.map_err(broken("write"))?;
        Ok(fd)
    };
    let files = [create(&arch::tiny_program(PROGRAM_EXIT_CODE))?, create(&[0; 128])?];
    PROGRAM_FILES.get_or_init(|| files);
    Ok(())
}
