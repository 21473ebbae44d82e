//! The virtio device of the microVM, without KVM: interrupts and notifications are event
//! descriptors.
//!
//! ```text
//! vCPU threads --registers--> mmio::Transport <--queues-- vsock::TransportQueues <--packets-- Device
//! ```
//!
//! Lock order: the device's lock ([`crate::vsock::link::Link`]), then the transport's. The link
//! moves packets with the device locked and takes the transport's lock for each queue; the
//! transport calls the link only when it holds no lock of its own.

#[cfg(test)]
pub(crate) mod driver;
pub mod mmio;
pub mod vsock;
