//! virtio-vsock: one device core for every backend, without I/O of its own.
//!
//! ```text
//! guest memory --queue--> Device <--link-- session
//!                packets           bytes
//! ```
//!
//! [`device::Device`] takes packets and gives packets (virtio 1.2, section 5.10); [`queue`] moves
//! them between it and the guest's virtqueues; [`link::Link`] is the host's end, shared between
//! threads. Nothing here trusts the guest: buffers and tables are bounded, and every length and
//! index that comes from it is checked where it is read.

mod connection;
pub mod device;
pub mod link;
pub mod packet;
pub mod queue;
pub mod stream;

pub use connection::BUFFER;
