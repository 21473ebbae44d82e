// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio-vsock (virtio 1.2, section 5.10): one device for every backend, without I/O of its own.
//!
//! ```text
//! guest memory <--queue--> Device (in a SharedDevice) <--> stream <--> session
//!                packets                              bytes
//! ```
//!
//! [`device::Device`] takes packets and returns packets; [`queue`] moves them between the device and
//! the guest's virtqueues; [`shared_device::SharedDevice`] shares the device between threads; [`stream::VsockStream`]
//! is the guest's connection as bytes. The guest is not trusted: buffers and tables have limits, and
//! every length and index from the guest is checked where it is read.
//!
//! # The protocol
//!
//! Every packet is a header of 44 bytes and, for `RW`, data. A connection is named by its two CIDs
//! (the host's is 2, the guest's 3) and two ports.
//!
//! Connecting: only the guest does it. The host answers on a port on which it listens with
//! `RESPONSE`, on any other with `RST`.
//!
//! ```text
//! guest                              host
//!   | REQUEST  1000 -> 1024           |
//!   |-------------------------------->|  a connection waits for Device::accept
//!   |           RESPONSE 1024 -> 1000 |
//!   |<--------------------------------|
//!   | RW (data)                       |
//!   |-------------------------------->|  Device::read
//!   |                       RW (data) |
//!   |<--------------------------------|  Device::write
//! ```
//!
//! Credit: each side has a buffer for the data that it receives. In *every* packet it tells the
//! buffer's size (`buf_alloc`) and how many bytes its reader has taken out of it since the connection
//! began, modulo 2^32 (`fwd_cnt`). The sender counts the bytes that it has sent, and may have at most
//! this many more in flight:
//!
//! ```text
//! credit = peer's buf_alloc - (bytes sent - peer's fwd_cnt)
//! ```
//!
//! A sender without credit asks for news of it with `CREDIT_REQUEST`; a reader that has freed a good
//! part of its buffer announces that with `CREDIT_UPDATE`. A guest that sends more than its credit is
//! reset.
//!
//! Closing: `SHUTDOWN` ends one half of a connection (the sender will receive, or send, no more) or
//! both. After both, the other side answers with `RST`, and the connection is gone. `RST` also ends a
//! connection at once, and refuses one.

mod connection;
pub mod device;
pub mod packet;
pub mod queue;
pub mod shared_device;
pub mod stream;

pub use connection::BUFFER;
