// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio-vsock (virtio 1.2, section 5.10): one device for every backend, without I/O of its own.
//!
//! ```text
//! guest memory <--queue--> Device (in a SharedDevice) <--> stream <--> session
//!                packets                              bytes
//! ```
//!
//! [`device::Device`] takes packets and returns packets; [`queue`] moves them between the device
//! and the guest's virtqueues; [`shared_device::SharedDevice`] shares the device between threads;
//! [`stream::VsockStream`] is the guest's connection as bytes. The guest is not trusted: buffers
//! and tables have limits, and every length and index from the guest is checked where it is read.
//!
//! # The protocol
//!
//! Every packet is a header of 44 bytes and, for `RW`, data. A connection is identified by its two
//! CIDs (the host's CID is 2, the guest's CID is 3) and two ports.
//!
//! Connecting: only the guest connects. The host answers a `REQUEST` for a port on which the host
//! listens with `RESPONSE`, and a `REQUEST` for another port with `RST`.
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
//! Credit: each side has a buffer for received data. In *every* packet, a side sends the size of its
//! buffer (`buf_alloc`), and the number of bytes that its reader has taken out of the buffer since
//! the connection began, modulo 2^32 (`fwd_cnt`). The other side counts the bytes that it has sent,
//! and may send at most this number of further bytes:
//!
//! ```text
//! credit = receiver's buf_alloc - (bytes sent - receiver's fwd_cnt)
//! ```
//!
//! A sender without credit asks for the receiver's values with `CREDIT_REQUEST`. A receiver that
//! has freed a large part of its buffer sends its values with `CREDIT_UPDATE`. The host resets a
//! connection on which the guest sends more than its credit.
//!
//! Closing: `SHUTDOWN` ends one half of a connection (its sender will receive, or send, no more) or
//! both halves. When both halves have ended, the other side answers with `RST`, and the connection
//! no longer exists. `RST` also ends a connection at once, and refuses a new connection.

mod connection;
pub mod device;
pub mod packet;
pub mod queue;
pub mod shared_device;
pub mod stream;

pub use connection::BUFFER_SIZE;
