// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtio-mmio vsock device of the microVM. This module does not depend on KVM, because
//! interrupts and queue notifications are eventfds.
//!
//! ```text
//! vCPU threads --registers--> mmio::Transport <--queues-- vsock::TransportQueues <--packets-- Device
//! ```
//!
//! Lock order: the lock of [`SharedDevice`](crate::vsock::shared_device::SharedDevice), then the
//! lock of the transport. To move packets, `SharedDevice` locks the device, then the transport for
//! each queue. The transport calls `SharedDevice` only while the transport holds no lock.

#[cfg(test)]
pub(crate) mod driver;
pub mod mmio;
pub mod vsock;
