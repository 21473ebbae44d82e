// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Failing execs, at each stage of execve(2).

use super::inheritance::EXECUTED;
use crate::arch;
use crate::case::{Case, Check, Failure, case};
use crate::support::*;
use crate::sys::{self, Errno};

pub(super) const CASES: &[Case] = &[
    case(
        "inheritance/failed-exec-keeps-late",
        "an exec that fails because of its arguments, file or interpreter leaves dispatch unchanged",
        "load_elf_binary()",
        failed_exec_keeps,
    ),
    case(
        "inheritance/exec-past-return-kills",
        "an exec that fails after the kernel has released the old program kills with SIGSEGV, whatever the \
         selector's value",
        "bprm_execve()",
        exec_past_return_kills,
    ),
];

// Lengths, offsets of fields in bytes, and a segment type of ELF (elf(5)).
const ELF_HEADER_LENGTH: usize = 64;
const PROGRAM_HEADER_LENGTH: usize = 56;
const PT_INTERP: u32 = 3;
const PF_R: u32 = 4;
const MACHINE_OFFSET: usize = 18;
const PROGRAM_HEADERS_OFFSET: usize = 32;
const PROGRAM_HEADER_SIZE_OFFSET: usize = 54;
const PROGRAM_HEADER_COUNT_OFFSET: usize = 56;
/// The offset of the first segment's address.
const SEGMENT_ADDRESS_OFFSET: usize = ELF_HEADER_LENGTH + 16;

/// Creates an executable file with this content.
fn create_file(content: &[u8]) -> Result<i32, Failure> {
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let words = [u64::from(fd.cast_unsigned()), content.as_ptr() as u64, content.len() as u64];
    // SAFETY: the content is live.
    unsafe { sys::call(libc::SYS_write, &words) }.map_err(broken("write"))?;
    Ok(fd)
}

/// Creates a file with [`arch::tiny_program`] in which the bytes at an offset are replaced.
fn create_changed_program(offset: usize, bytes: &[u8]) -> Result<i32, Failure> {
    let mut image = arch::tiny_program(EXECUTED);
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
    create_file(&image)
}

/// Creates a file with [`arch::tiny_program`] and a `PT_INTERP` header with this path.
fn create_interpreted_program(path: &[u8]) -> Result<i32, Failure> {
    let mut image = arch::tiny_program(EXECUTED);
    let segment = image[ELF_HEADER_LENGTH..ELF_HEADER_LENGTH + PROGRAM_HEADER_LENGTH].to_vec();
    image.resize(image.len().next_multiple_of(8), 0);
    // The new program headers are at the end of the file: the old one and the new one, then the path.
    let headers = image.len() as u64;
    let path_offset = headers + 2 * PROGRAM_HEADER_LENGTH as u64;
    let length = path.len() as u64;
    image.extend(segment);
    image.extend([PT_INTERP, PF_R].map(u32::to_ne_bytes).concat());
    // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    let words = [path_offset, path_offset, path_offset, length, length, 1];
    image.extend(words.map(u64::to_ne_bytes).concat());
    image.extend(path);
    image[PROGRAM_HEADERS_OFFSET..PROGRAM_HEADERS_OFFSET + 8]
        .copy_from_slice(&headers.to_ne_bytes());
    image[PROGRAM_HEADER_COUNT_OFFSET..PROGRAM_HEADER_COUNT_OFFSET + 2]
        .copy_from_slice(&2u16.to_ne_bytes());
    create_file(&image)
}

/// Executes a file with the list of arguments at this address. Returns only if the execveat(2) fails.
fn execute(fd: i32, arguments: u64) -> sys::Result<u64> {
    let flags = libc::AT_EMPTY_PATH.cast_unsigned().into();
    let words = [fd.cast_unsigned().into(), c"".as_ptr() as u64, arguments, 0, flags];
    // SAFETY: the path is terminated; the kernel checks the address of the arguments.
    unsafe { sys::call(libc::SYS_execveat, &words) }
}

fn failed_exec_keeps() -> Check {
    /// An address that is never mapped.
    const UNMAPPED: u64 = 8;
    // The longest argument has 32 pages (`MAX_ARG_STRLEN`).
    let long_argument = vec![b'a'; 40 * PAGE_SIZE];
    let list_with_long_argument = [long_argument.as_ptr() as u64, 0];
    let long_list = list_with_long_argument.as_ptr() as u64;
    let list_with_unmapped_argument = [UNMAPPED, 0];
    let unmapped_list = list_with_unmapped_argument.as_ptr() as u64;
    let zeros = create_file(&[0; 128])?;
    let path_of_zeros = format!("/proc/self/fd/{zeros}\0");
    let valid = create_changed_program(0, b"\x7fELF")?;
    let failing_execs = [
        ("a list of arguments that cannot be read", valid, UNMAPPED, libc::EFAULT),
        ("an argument that cannot be read", valid, unmapped_list, libc::EFAULT),
        ("an argument that is too long", valid, long_list, libc::E2BIG),
        ("an empty file", create_file(b"")?, 0, libc::ENOEXEC),
        ("a file of no format", zeros, 0, libc::ENOEXEC),
        (
            "a program of another machine",
            create_changed_program(MACHINE_OFFSET, &[0xff; 2])?,
            0,
            libc::ENOEXEC,
        ),
        (
            "program headers of a wrong size",
            create_changed_program(PROGRAM_HEADER_SIZE_OFFSET, &[1, 1])?,
            0,
            libc::ENOEXEC,
        ),
        ("an interpreter without an end", create_interpreted_program(b"/no")?, 0, libc::ENOEXEC),
        (
            "an interpreter that is not there",
            create_interpreted_program(b"/no/such\0")?,
            0,
            libc::ENOENT,
        ),
        ("a folder for an interpreter", create_interpreted_program(b"/\0")?, 0, libc::EACCES),
        (
            "no program for an interpreter",
            create_interpreted_program(path_of_zeros.as_bytes())?,
            0,
            libc::ELIBBAD,
        ),
    ];
    handle_dispatches(do_nothing)?;
    arm()?;
    for (what, fd, arguments, errno) in failing_execs {
        expect_equal(&format!("an exec with {what}"), execute(fd, arguments), Err(Errno(errno)))?;
        expect_dispatched(&arch::gate())?;
        expect_executed(&arch::gate())?;
    }
    disarm()
}

fn exec_past_return_kills() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    // The segment has a kernel address. The kernel tries to map the segment, and fails, only after it has
    // released the old memory.
    let fd = create_changed_program(SEGMENT_ADDRESS_OFFSET, &arch::KERNEL_ADDRESS.to_ne_bytes())?;
    for selector in [ALLOW, BLOCK] {
        let status = run_vforked(|| {
            if arm().is_err() {
                return SETUP_FAILED;
            }
            set_selector(selector);
            let _ = execute(fd, 0);
            0
        })?;
        expect_killed(status, libc::SIGSEGV, 0)?;
    }
    Ok(())
}
