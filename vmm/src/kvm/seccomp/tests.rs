// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

#[test]
fn every_system_call_is_listed_once_with_a_reason() {
    for list in [VCPU_SYSCALLS, DEVICE_SYSCALLS] {
        let mut numbers = Vec::new();
        for allowed in COMMON_SYSCALLS.iter().chain(filter::ARCH_SYSCALLS).chain(list) {
            assert!(!allowed.reason.is_empty());
            assert!(!numbers.contains(&allowed.number), "{} twice", allowed.number);
            numbers.push(allowed.number);
        }
    }
}

/// Exit status of a child that was not ended by its filter.
const SURVIVED: i32 = 7;
/// Exit status of a process that the handler of denied calls ends.
const DENIED: i32 = 128;

/// Runs `work` in a child process under a filter. Returns the exit status of the child.
fn status_under_filter(thread: ThreadKind, work: fn()) -> i32 {
    // SAFETY: the child makes system calls and ends; the parent waits for it.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::close(2);
            if confine(thread).is_ok() {
                work();
                libc::_exit(SURVIVED);
            }
            libc::_exit(1);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        libc::WEXITSTATUS(status)
    }
}

#[test]
fn only_calls_that_are_not_listed_end_the_process() {
    assert_eq!(status_under_filter(ThreadKind::Device, || ()), SURVIVED);
    // SAFETY: touches no memory.
    let socket = || unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
    };
    assert_eq!(status_under_filter(ThreadKind::Vcpu, socket), DENIED);
    // SAFETY: an ioctl of an invalid descriptor fails without another effect.
    let other_ioctl = || unsafe {
        libc::ioctl(-1, libc::TCGETS, 0);
    };
    assert_eq!(status_under_filter(ThreadKind::Vcpu, other_ioctl), DENIED);
    // SAFETY: an ioctl of an invalid descriptor fails without another effect.
    let run = || unsafe {
        libc::ioctl(-1, KVM_RUN, 0);
    };
    assert_eq!(status_under_filter(ThreadKind::Vcpu, run), SURVIVED);
    assert_eq!(status_under_filter(ThreadKind::Device, run), DENIED);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let map_executable = || unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC, flags, -1, 0);
    };
    assert_eq!(status_under_filter(ThreadKind::Vcpu, map_executable), DENIED);
}
