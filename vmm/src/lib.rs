//! Boots a Linux kernel and carries what a test harness needs from it: one vsock byte stream,
//! the console, and how the VM ended. Knows nothing of what is being tested.
//!
//! ```text
//! Machine::boot(VmSpec) -> Session { next, send, console, finish }
//!      |
//!      +-- qemu    QEMU with a vhost-user vsock device in this process
//!            |
//!          vsock   the device core, shared by every backend
//! ```

pub mod console;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
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
