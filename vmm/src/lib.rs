// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boots a Linux kernel in a VM and gives a test harness a byte stream to the guest, the console and the VM's
//! end. This crate knows nothing of the tests.
//!
//! ```text
//! session   Session::boot(&dyn Machine, &VmSpec) -> next, send, console, finish
//!    |
//! machine   traits of a backend: Machine, Vm, HostStream
//!    |
//!    +-- kvm    the microVM: KVM, the devices and the vCPU threads in this process
//!    +-- qemu   a QEMU process; its vsock device is served by this process (vhost-user)
//!          |
//!        vsock, virtio   one vsock device, its virtqueues and its virtio-mmio registers
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)
)]

pub mod backend;
pub mod console;
#[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), path = "no_kvm.rs")]
pub mod kvm;
pub mod machine;
pub mod memfd;
pub mod poll;
pub mod probe;
pub mod process;
pub mod processor;
pub mod qemu;
pub mod session;
pub mod virtio;
pub mod vsock;
mod x86_64;
