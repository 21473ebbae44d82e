// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtio-mmio vsock device of the microVM. It does not depend on KVM: interrupts and queue
//! notifications are eventfds.
//!
//! ```text
//! vCPU threads --registers--> mmio::Transport <--queues-- vsock::TransportQueues <--packets-- Device
//! ```
//!
//! Lock order: the device's lock ([`crate::vsock::link::Link`]), then the transport's. The link locks
//! the device, then the transport for each queue on which it moves packets; the transport calls the
//! link only while it holds no lock itself.

#[cfg(test)]
pub(crate) mod driver;
pub mod mmio;
pub mod vsock;
