// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

#[test]
fn every_system_call_is_listed_once_with_a_reason() {
    for list in [VCPU_SYSCALLS, DEVICE_SYSCALLS] {
        let mut seen = Vec::new();
        for allowed in COMMON_SYSCALLS.iter().chain(filter::ARCH_SYSCALLS).chain(list) {
            assert!(!allowed.reason.is_empty());
            assert!(!seen.contains(&allowed.number), "{} twice", allowed.number);
            seen.push(allowed.number);
        }
    }
}

/// Runs `work` in a child under a filter and returns its status.
fn confined(thread: ThreadKind, work: fn()) -> i32 {
    // SAFETY: the child makes system calls and ends; the parent waits for it.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::close(2);
            if confine(thread).is_ok() {
                work();
                libc::_exit(7);
            }
            libc::_exit(8);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        libc::WEXITSTATUS(status)
    }
}

#[test]
fn only_calls_that_are_not_listed_end_the_process() {
    assert_eq!(confined(ThreadKind::Device, || ()), 7);
    // SAFETY: touches no memory.
    let socket = || unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
    };
    assert_eq!(confined(ThreadKind::Vcpu, socket), 128);
    // SAFETY: an invalid descriptor: nothing happens but the look of the filter.
    let other_ioctl = || unsafe {
        libc::ioctl(-1, 0x5401, 0);
    };
    assert_eq!(confined(ThreadKind::Vcpu, other_ioctl), 128);
    // SAFETY: as above.
    let run = || unsafe {
        libc::ioctl(-1, KVM_RUN, 0);
    };
    assert_eq!(confined(ThreadKind::Vcpu, run), 7);
    assert_eq!(confined(ThreadKind::Device, run), 128);
    // SAFETY: new memory that nobody uses.
    let exec = || unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC, flags, -1, 0);
    };
    assert_eq!(confined(ThreadKind::Vcpu, exec), 128);
}
