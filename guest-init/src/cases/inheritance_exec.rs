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
        "an exec that fails by its arguments, file or interpreter leaves dispatch unchanged",
        "load_elf_binary()",
        keeps_late,
    ),
    case(
        "inheritance/exec-past-return-kills",
        "an exec that fails after the old program is gone kills with SIGSEGV, whatever the selector's value",
        "bprm_execve()",
        past_return,
    ),
];

/// The lengths of an ELF header and of a program header (elf(5)).
const ELF_HEADER_LENGTH: usize = 64;
const PROGRAM_HEADER_LENGTH: usize = 56;
const PT_INTERP: u32 = 3;
/// The offsets of the fields that the cases change.
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

/// Creates a file with the program in which the bytes at an offset are replaced.
fn create_changed_program(at: usize, bytes: &[u8]) -> Result<i32, Failure> {
    let mut image = arch::tiny_program(EXECUTED);
    image[at..at + bytes.len()].copy_from_slice(bytes);
    create_file(&image)
}

/// Creates a file with the program and a `PT_INTERP` header with this path.
fn create_interpreted_program(path: &[u8]) -> Result<i32, Failure> {
    let mut image = arch::tiny_program(EXECUTED);
    let first = image[ELF_HEADER_LENGTH..ELF_HEADER_LENGTH + PROGRAM_HEADER_LENGTH].to_vec();
    image.resize(image.len().next_multiple_of(8), 0);
    let headers = image.len() as u64;
    let name = headers + 2 * PROGRAM_HEADER_LENGTH as u64;
    let length = path.len() as u64;
    image.extend(first);
    image.extend([PT_INTERP, 4].map(u32::to_ne_bytes).concat());
    image.extend([name, name, name, length, length, 1].map(u64::to_ne_bytes).concat());
    image.extend(path);
    image[PROGRAM_HEADERS_OFFSET..PROGRAM_HEADERS_OFFSET + 8]
        .copy_from_slice(&headers.to_ne_bytes());
    image[PROGRAM_HEADER_COUNT_OFFSET..PROGRAM_HEADER_COUNT_OFFSET + 2]
        .copy_from_slice(&2u16.to_ne_bytes());
    create_file(&image)
}

/// Executes a file with these arguments. Returns only the error of a failure.
fn execute(fd: i32, arguments: u64) -> sys::Result<u64> {
    let empty = libc::AT_EMPTY_PATH.cast_unsigned().into();
    let words = [fd.cast_unsigned().into(), c"".as_ptr() as u64, arguments, 0, empty];
    // SAFETY: the path is terminated; the kernel checks the address of the arguments.
    unsafe { sys::call(libc::SYS_execveat, &words) }
}

fn keeps_late() -> Check {
    // Longer than an argument may be (`MAX_ARG_STRLEN`).
    let long = vec![b'a'; 40 * PAGE_SIZE];
    let arguments = [long.as_ptr() as u64, 0];
    let too_long = arguments.as_ptr() as u64;
    let dangling = [8u64, 0];
    let dangling = dangling.as_ptr() as u64;
    let nothing = create_file(&[0; 128])?;
    let by_descriptor = format!("/proc/self/fd/{nothing}\0");
    let good = create_changed_program(0, b"\x7fELF")?;
    let stages = [
        ("a list of arguments that cannot be read", good, 8, libc::EFAULT),
        ("an argument that cannot be read", good, dangling, libc::EFAULT),
        ("an argument that is too long", good, too_long, libc::E2BIG),
        ("an empty file", create_file(b"")?, 0, libc::ENOEXEC),
        ("a file of no format", nothing, 0, libc::ENOEXEC),
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
            create_interpreted_program(by_descriptor.as_bytes())?,
            0,
            libc::ELIBBAD,
        ),
    ];
    handle_dispatches(do_nothing)?;
    arm()?;
    for (what, fd, arguments, errno) in stages {
        expect_equal(&format!("an exec with {what}"), execute(fd, arguments), Err(Errno(errno)))?;
        expect_dispatched(&arch::gate())?;
        expect_executed(&arch::gate())?;
    }
    disarm()
}

fn past_return() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    // The kernel notices an impossible segment only after it has released the old memory.
    let fd = create_changed_program(SEGMENT_ADDRESS_OFFSET, &arch::KERNEL_ADDRESS.to_ne_bytes())?;
    for selector in [ALLOW, BLOCK] {
        let end = run_vforked(|| {
            if arm().is_err() {
                return SETUP_FAILED;
            }
            set_selector(selector);
            let _ = execute(fd, 0);
            98
        })?;
        expect_killed(end, libc::SIGSEGV, 0)?;
    }
    Ok(())
}
