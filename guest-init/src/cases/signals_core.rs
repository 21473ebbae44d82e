// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The core dump of a process that a dispatch killed.

use super::check_on;
use super::registers::pattern_registers;
use crate::arch::{self, TraceeRegisters};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, case_not_in_core};
use crate::shared::KernelChange;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use std::time::Duration;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "signals/core-tells",
        "the core dump of an unhandled dispatch has the siginfo of the dispatch, the process's status and the \
         registers of the call; the core dump of an invalid selector has a siginfo with code SI_KERNEL",
        "fill_note_info()",
        core_has_siginfo_and_registers,
    )
    .needs(&[Need::Root, Need::Vm]),
    case_not_in_core(
        "signals/core-tells-32",
        "the core dump of a 32-bit program has the siginfo and the registers of the dispatch in 32-bit layouts, and \
         its own segments if it has some",
        "fill_note_info(), regset_tls_active()",
        check_on!("x86_64", this_arch::core_32::core_tells),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .needs(&[Need::Root, Need::Vm])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "signals/core-cut",
        "a core dump that RLIMIT_CORE cuts ends before the first part that does not fit, and nothing follows",
        "write_note_info(), dump_emit()",
        core_is_cut,
    )
    .needs(&[Need::Root, Need::Vm]),
];

/// The working directory of the process, to which the kernel writes the core dump.
const CORE_FOLDER: &str = "/tmp/core-tells";
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// Types of notes in a core (include/uapi/linux/elf.h).
pub(super) const NT_PRSTATUS: u32 = 1;
pub(super) const NT_SIGINFO: u32 = 0x5349_4749;
const NT_PRFPREG: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
/// A note of which the content consists of further parts.
const NT_X86_XSAVE_LAYOUT: u32 = 0x205;
/// The types of the first notes of a core, in order.
pub(super) const FIRST_NOTES: [u32; 4] = [NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV];
/// The signal that is blocked and pending in the process.
const PENDING_SIGNAL: i32 = libc::SIGUSR1;
/// The offset of the registers in the 64-bit `struct elf_prstatus` (include/linux/elfcore.h).
const REGISTERS_OFFSET: usize = 112;
/// The flag of a task that a signal killed (include/linux/sched.h).
const PF_SIGNALED: u64 = 0x400;

/// Runs a check while the kernel writes core dumps to the working directory of the process.
pub(super) fn with_core_files(check: fn() -> Check) -> Check {
    let old_pattern = std::fs::read_to_string(CORE_PATTERN).map_err(broken("core_pattern"))?;
    let change = KernelChange::begin();
    let result =
        std::fs::write(CORE_PATTERN, "core").map_err(broken("core_pattern")).and_then(|()| check());
    if std::fs::write(CORE_PATTERN, old_pattern).is_ok() {
        change.end();
    }
    result
}

fn core_has_siginfo_and_registers() -> Check {
    with_core_files(check_core_dumps)
}

fn core_is_cut() -> Check {
    with_core_files(check_cut_core_dumps)
}

fn check_core_dumps() -> Check {
    let gate = arch::gate();
    for (selector, code) in [(BLOCK, SYS_USER_DISPATCH), (INVALID, libc::SI_KERNEL)] {
        let (child, core) = dump_core_of_child(selector, 0, WHOLE_CORE)?;
        let notes = notes_of(&core)?;
        check_note_list(&notes)?;
        let info = first_note(&notes, NT_SIGINFO)?;
        let int_at = |offset: usize| {
            info.get(offset..offset + 4).map_or(0, |b| i32::from_ne_bytes(four_bytes(b)))
        };
        expect_equal("signal, errno, code", [0, 4, 8].map(int_at), [libc::SIGSYS, 0, code])?;
        if selector != BLOCK {
            let rest = info.get(12..128).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            expect_equal("bytes after the code are zero", rest, true)?;
        }
        let process = first_note(&notes, NT_PRPSINFO)?;
        let flags = process.get(8..16).map_or(0, |b| u64::from_ne_bytes(eight_bytes(b)));
        expect_equal_hex("PF_SIGNALED in pr_flag", flags & PF_SIGNALED, PF_SIGNALED)?;
        if selector == BLOCK {
            let address = info.get(16..24).map_or(0, |b| u64::from_ne_bytes(eight_bytes(b)));
            expect_equal_hex("si_call_addr", address, gate.compared_address())?;
            expect_equal("si_syscall", i64::from(int_at(24)), libc::SYS_umask)?;
            let arch = int_at(28).cast_unsigned();
            expect_equal_hex("si_arch", arch.into(), arch::AUDIT_ARCH.into())?;
            let rest = info.get(32..128).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            expect_equal("bytes after si_arch are zero", rest, true)?;
        }
        let status = first_note(&notes, NT_PRSTATUS)?;
        check_status(status, child)?;
        let bytes = status.get(REGISTERS_OFFSET..REGISTERS_OFFSET + size_of::<TraceeRegisters>());
        let bytes = bytes.ok_or_else(|| mismatch("registers in NT_PRSTATUS", "a shorter note"))?;
        // SAFETY: the structure consists of integers, and is as long as the bytes.
        let registers = unsafe { bytes.as_ptr().cast::<TraceeRegisters>().read_unaligned() };
        expect_equal_hex(
            "next instruction",
            registers.instruction_pointer,
            gate.compared_address(),
        )?;
        if selector == BLOCK {
            let kept = is_result_value_kept(registers.result.cast_signed(), &pattern_registers());
            ensure(
                kept,
                &format!("result's register {:#x}", pattern_registers().result()),
                || format!("{:#x}", registers.result),
            )?;
        }
    }
    check_threads()?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Checks that the core of a process with further threads has the status of each.
fn check_threads() -> Check {
    const FURTHER_THREADS: usize = 2;
    let (child, core) = dump_core_of_child(BLOCK, FURTHER_THREADS, WHOLE_CORE)?;
    let notes = notes_of(&core)?;
    let statuses = notes.iter().filter(|note| note.kind == NT_PRSTATUS);
    let mut ids: Vec<i32> = statuses
        .map(|note| note.content.get(32..36).map_or(0, |b| i32::from_ne_bytes(four_bytes(b))))
        .collect();
    expect_equal("the first thread in the core", ids.first().copied(), Some(child))?;
    let further = (0..FURTHER_THREADS).map(|index| i32::try_from(shared_word(index)).unwrap_or(-1));
    let mut expected: Vec<i32> = std::iter::once(child).chain(further).collect();
    expected.sort_unstable();
    ids.sort_unstable();
    expect_equal("threads in the core", ids, expected)
}

/// A part of a core, which `dump_emit()` writes as a whole or not at all. Between parts there may be bytes that it
/// skips, and does not count.
struct Part {
    start: usize,
    length: usize,
}

/// The length of the program headers of a core: one for the notes and one for each mapping.
fn program_headers_length(core: &[u8]) -> Result<isize, Failure> {
    /// The offset of `e_phnum` in `Elf64_Ehdr`, and the length of `Elf64_Phdr`.
    const COUNT: usize = 56;
    const LENGTH: isize = 56;
    let count = core.get(COUNT..COUNT + 2).and_then(|bytes| bytes.try_into().ok());
    let count = count
        .map(u16::from_ne_bytes)
        .ok_or_else(|| mismatch("a core with an ELF header", "none"))?;
    Ok(isize::try_from(count).expect("16 bits fit") * LENGTH)
}

/// The parts of a core up to the end of its notes. The headers before the notes are taken for one part.
fn parts_of(notes: &[Note<'_>]) -> Vec<Part> {
    let mut parts = vec![Part { start: 0, length: notes.first().map_or(0, |note| note.start) }];
    for note in notes {
        let name = note.start + NOTE_HEADER_LENGTH;
        parts.extend([
            Part { start: note.start, length: NOTE_HEADER_LENGTH },
            Part { start: name, length: note.name.len() },
            Part { start: note.content_start(), length: note.content.len() },
        ]);
    }
    parts
}

/// Limits of a core's length with which a part of a note does not fit, though smaller ones after it would, and one
/// with which a part just fits.
fn limits_in_notes(notes: &[Note<'_>], parts: &[Part]) -> Vec<usize> {
    const PARTS_OF_NOTE: usize = 3;
    /// The index of the note of which every part is tried.
    const TRIED_WHOLLY: usize = 1;
    let is_known = |note: &Note<'_>| note.kind != NT_X86_XSAVE_LAYOUT;
    let mut limits = Vec::new();
    let mut written = parts[0].length;
    for (index, note) in notes.iter().enumerate().take_while(|(_, note)| is_known(note)) {
        let parts = &parts[1 + PARTS_OF_NOTE * index..][..PARTS_OF_NOTE];
        for (part, is_content) in parts.iter().zip([false, false, true]) {
            if is_content || index == TRIED_WHOLLY {
                limits.push(written + part.length - 1);
            }
            written += part.length;
        }
        if note.kind == NT_SIGINFO {
            limits.push(written);
        }
    }
    limits
}

/// Checks cores that are cut in each of their notes.
fn check_cut_core_dumps() -> Check {
    /// More headers of mappings than a page has room for: the kernel writes no core if its limit is below that.
    const MAPPINGS: usize = 80;
    const FURTHER_THREADS: usize = 1;
    let pages = map_pages(MAPPINGS)?;
    for page in (0..MAPPINGS).step_by(2) {
        protect(pages.wrapping_add(page * PAGE_SIZE), 1, libc::PROT_READ)?;
    }
    let (_, whole) = dump_core_of_child(BLOCK, FURTHER_THREADS, WHOLE_CORE)?;
    let notes = notes_of(&whole)?;
    let parts = parts_of(&notes);
    ensure(parts[0].length > PAGE_SIZE, "more than a page before the notes", || {
        parts[0].length.to_string()
    })?;
    for limit in limits_in_notes(&notes, &parts) {
        let (_, cut) = dump_core_of_child(BLOCK, FURTHER_THREADS, limit)?;
        // The case's own allocations may change the number of mappings between two cores.
        let growth = program_headers_length(&cut)? - program_headers_length(&whole)?;
        let in_cut = |offset: usize| offset.saturating_add_signed(growth);
        let mut written = 0;
        let fits = |part: &&Part| {
            written += part.length;
            in_cut(written) <= limit
        };
        let end = parts.iter().take_while(fits).last().map_or(0, |part| part.start + part.length);
        let what = format!("with a limit of {limit} bytes");
        expect_equal(&format!("length of the core {what}"), cut.len(), in_cut(end))?;
        // The contents of notes tell of another process.
        let is_header = |index: &usize| *index == 0 || !index.is_multiple_of(3);
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| is_header(index)) {
            // The program headers tell where the notes and mappings are.
            if part.start >= end || index == 0 && growth != 0 {
                continue;
            }
            let length = part.length.min(end - part.start);
            let is_same = cut[in_cut(part.start)..][..length] == whole[part.start..][..length];
            expect_equal(&format!("part {index} of the whole core {what}"), is_same, true)?;
        }
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Checks the types and names of the notes.
fn check_note_list(notes: &[Note<'_>]) -> Check {
    let kinds: Vec<u32> = notes.iter().map(|note| note.kind).collect();
    let first = kinds.get(..FIRST_NOTES.len()).unwrap_or_default();
    expect_equal("first notes of the core", first, &FIRST_NOTES)?;
    let has_registers = kinds.contains(&NT_PRFPREG);
    expect_equal("a note with the floating-point registers", has_registers, true)?;
    for Note { kind, name, content, .. } in notes {
        let is_common = FIRST_NOTES.contains(kind) || [NT_PRFPREG, NT_FILE].contains(kind);
        let expected: &[u8] = if is_common { b"CORE\0" } else { b"LINUX\0" };
        expect_equal(&format!("name of the note of type {kind:#x}"), *name, expected)?;
        let is_empty = *kind == 0 || content.is_empty();
        expect_equal(&format!("the note of type {kind:#x} is empty"), is_empty, false)?;
        let count = kinds.iter().filter(|other| *other == kind).count();
        expect_equal(&format!("notes of type {kind:#x}"), count, 1)?;
    }
    Ok(())
}

/// Checks the fields of the `struct elf_prstatus` of a child that SIGSYS killed, except times and registers.
fn check_status(status: &[u8], child: i32) -> Check {
    let int_at = |offset: usize| {
        status.get(offset..offset + 4).map_or(-1, |b| i32::from_ne_bytes(four_bytes(b)))
    };
    let mask_at = |offset: usize| {
        status.get(offset..offset + 8).map_or(0, |b| u64::from_ne_bytes(eight_bytes(b)))
    };
    let current_signal = status.get(12..14).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
    expect_equal("pr_info.si_signo", int_at(0), libc::SIGSYS)?;
    expect_equal("pr_cursig", i32::from(current_signal), libc::SIGSYS)?;
    let pending = sys::signal_bit(PENDING_SIGNAL);
    expect_equal_hex("pr_sigpend", mask_at(16), pending)?;
    expect_equal_hex("pr_sighold", mask_at(24), pending)?;
    // SAFETY: take no pointers.
    let ids = unsafe {
        [libc::SYS_getpgid, libc::SYS_getsid].map(|call| sys::call(call, &[0]).unwrap_or(0))
    };
    let [group, session] = ids.map(|id| i32::try_from(id).unwrap_or(0));
    let expected = [child, sys::getpid(), group, session];
    expect_equal("pr_pid, pr_ppid, pr_pgrp, pr_sid", [32, 36, 40, 44].map(int_at), expected)?;
    expect_equal("pr_fpvalid", int_at(status.len().saturating_sub(8)), 1)
}

/// A limit of more bytes than any core here has.
pub(super) const WHOLE_CORE: usize = 1 << 24;

/// Runs a process that a call with this selector value kills, and that has further threads, whose ids it stores
/// in shared words. Returns its id and its core dump, of which the kernel writes at most `limit` bytes.
fn dump_core_of_child(
    selector: u8,
    further_threads: usize,
    limit: usize,
) -> Result<(i32, Vec<u8>), Failure> {
    extern "C" fn sleep(_: u64) -> u64 {
        loop {
            sys::sleep(Duration::from_secs(3600));
        }
    }
    prepare_core_folder()?;
    let child = spawn_child(|| {
        let is_core_enabled = enable_core(limit);
        let is_signal_pending = sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(PENDING_SIGNAL))
            .is_ok()
            && sys::tgkill(sys::getpid(), sys::gettid(), PENDING_SIGNAL).is_ok();
        let has_threads = (0..further_threads)
            .all(|index| spawn_thread(sleep, 0).map(|tid| set_shared_word(index, tid)).is_ok());
        if !is_core_enabled || !is_signal_pending || !has_threads || arm().is_err() {
            return SETUP_FAILED;
        }
        let regs = pattern_registers();
        set_selector(selector);
        let _ = arch::gate().issue(&regs);
        0
    })?;
    let expected = WaitStatus::Killed { signal: libc::SIGSYS, core: true };
    expect_equal("the end of the process", wait_for_change(child)?, expected)?;
    Ok((child, read_core()?))
}

/// Creates an empty folder for a core dump.
pub(super) fn prepare_core_folder() -> Check {
    let _ = std::fs::remove_dir_all(CORE_FOLDER);
    std::fs::create_dir_all(CORE_FOLDER).map_err(broken("a folder"))
}

/// Makes the kernel write a core dump of this process to the folder, with headers and notes only and at most
/// `limit` bytes. Returns whether that succeeded.
pub(super) fn enable_core(limit: usize) -> bool {
    let limits = [limit as u64; 2];
    std::fs::write("/proc/self/coredump_filter", "0").is_ok()
        && std::env::set_current_dir(CORE_FOLDER).is_ok()
        // SAFETY: the structure is live.
        && unsafe {
            let core = u64::from(libc::RLIMIT_CORE);
            sys::call(libc::SYS_prlimit64, &[0, core, limits.as_ptr() as u64, 0]).is_ok()
        }
}

/// Reads the core dump in the folder.
pub(super) fn read_core() -> Result<Vec<u8>, Failure> {
    let entry = std::fs::read_dir(CORE_FOLDER)
        .ok()
        .and_then(|mut folder| folder.next())
        .and_then(Result::ok)
        .ok_or_else(|| mismatch("a core", "an empty folder"))?;
    std::fs::read(entry.path()).map_err(broken("reading the core"))
}

fn four_bytes(bytes: &[u8]) -> [u8; 4] {
    std::array::from_fn(|i| bytes[i])
}

fn eight_bytes(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|i| bytes[i])
}

/// The length of the header of a note (`Elf64_Nhdr`).
const NOTE_HEADER_LENGTH: usize = 12;

/// A note of a core (elf(5)).
pub(super) struct Note<'a> {
    /// The offset of its header in the core.
    start: usize,
    /// `NT_*` (include/uapi/linux/elf.h).
    pub(super) kind: u32,
    /// The name, with the zero that ends it.
    name: &'a [u8],
    content: &'a [u8],
}

impl Note<'_> {
    /// The offset of its content in the core.
    fn content_start(&self) -> usize {
        self.start + NOTE_HEADER_LENGTH + self.name.len().next_multiple_of(4)
    }
}

/// The content of the first note of a type.
pub(super) fn first_note<'a>(notes: &[Note<'a>], kind: u32) -> Result<&'a [u8], Failure> {
    let note = notes.iter().find(|note| note.kind == kind);
    note.map(|note| note.content)
        .ok_or_else(|| mismatch(format!("a note of type {kind:#x}"), "none"))
}

/// The notes of a core.
pub(super) fn notes_of(core: &[u8]) -> Result<Vec<Note<'_>>, Failure> {
    parse_notes(core).ok_or_else(|| mismatch("notes up to the end of their segment", "others"))
}

/// The notes of a core; `None` if they do not fill their segment.
fn parse_notes(core: &[u8]) -> Option<Vec<Note<'_>>> {
    const PT_NOTE: u32 = 4;
    /// The offset of `e_ident[EI_CLASS]`, and its value in `Elf32_Ehdr`.
    const EI_CLASS: usize = 4;
    const ELFCLASS32: u8 = 1;
    let is_32 = *core.get(EI_CLASS)? == ELFCLASS32;
    // Offsets of `e_phoff` and `e_phnum`, the length of a program header, and its `p_offset` and `p_filesz`.
    let [phoff, phnum, header_length, offset, file_size] =
        if is_32 { [28, 44, 32, 4, 16] } else { [32, 56, 56, 8, 32] };
    let u16_at = |at: usize| Some(u16::from_ne_bytes(core.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(core.get(at..at + 4)?.try_into().ok()?));
    let usize_at = |at: usize| {
        if is_32 {
            return u32_at(at).map(|value| value as usize);
        }
        usize::try_from(u64::from_ne_bytes(core.get(at..at + 8)?.try_into().ok()?)).ok()
    };
    let headers = usize_at(phoff)?;
    let segment = (0..usize::from(u16_at(phnum)?))
        .map(|i| headers + i * header_length)
        .find(|header| u32_at(*header) == Some(PT_NOTE))?;
    let mut note = usize_at(segment + offset)?;
    let end = note + usize_at(segment + file_size)?;
    let mut notes = Vec::new();
    while note < end {
        let (name_length, length) = (u32_at(note)? as usize, u32_at(note + 4)? as usize);
        let name = note + NOTE_HEADER_LENGTH;
        let content = name + name_length.next_multiple_of(4);
        notes.push(Note {
            start: note,
            kind: u32_at(note + 8)?,
            name: core.get(name..name + name_length)?,
            content: core.get(content..content + length)?,
        });
        note = content + length.next_multiple_of(4);
    }
    (note == end).then_some(notes)
}
