// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves packets between the device core and the guest's virtqueues (virtio 1.2, section 2.7).
//!
//! Descriptors, ring indices and lengths come from the guest and may have any value. The crates
//! virtio-queue and vm-memory keep every access inside guest memory and every chain finite. This
//! module handles an available index out of range, a buffer too small for a header, and a header
//! whose `len` exceeds its buffer.
//!
//! The event queue needs no code. Its only event is the transport reset after a migration, and
//! snapshots are taken before the guest has a connection.

use std::io::{Read, Write};

use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use super::BUFFER_SIZE;
use super::device::Device;
use super::packet::{HEADER_LEN, Header};

/// Index of the receive queue: buffers for packets to the guest.
pub const RX: usize = 0;

/// Index of the transmit queue: packets from the guest.
pub const TX: usize = 1;

/// Result of one step, a limited amount of work on a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepResult {
    /// Whether the guest wants an interrupt for the used buffers.
    pub wants_interrupt: bool,
    /// Whether the step ended at its limit and must be repeated. Steps are limited so that a guest
    /// that sends without end cannot keep the device locked.
    pub has_more: bool,
}

/// Moves packets from the guest's transmit queue to the device.
pub fn receive_packets(
    device: &mut Device,
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
) -> StepResult {
    let mut payload = Vec::new();
    let mut used_count = 0;
    while used_count < queue.size() {
        let Some(chain) = pop(queue, memory) else {
            return step_result(queue, memory, used_count, false);
        };
        let head = chain.head_index();
        if let Some(header) = read_packet(chain, memory, &mut payload) {
            device.receive(&header, &payload);
        }
        add_used(queue, memory, head, 0);
        used_count += 1;
    }
    step_result(queue, memory, used_count, true)
}

/// Moves packets from the device to the guest's receive queue.
pub fn send_packets(
    device: &mut Device,
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
) -> StepResult {
    let mut used_count = 0;
    while device.has_packet() {
        if used_count >= queue.size() {
            return step_result(queue, memory, used_count, true);
        }
        let Some(chain) = pop(queue, memory) else { break };
        let head = chain.head_index();
        let written = write_packet(chain, memory, device);
        add_used(queue, memory, head, written);
        used_count += 1;
    }
    step_result(queue, memory, used_count, false)
}

/// Returns the next chain that the guest made available. If there is none, enables the guest's
/// notification of the next chain.
fn pop<'mem>(
    queue: &mut Queue,
    memory: &'mem GuestMemoryMmap,
) -> Option<DescriptorChain<&'mem GuestMemoryMmap>> {
    if let Some(chain) = queue.pop_descriptor_chain(memory) {
        return Some(chain);
    }
    // The guest may have added a chain before it saw that notifications are enabled, so pop once
    // more. Do not pop in a loop: a queue with an invalid available index always claims to have
    // another chain (`Ok(true)`).
    match queue.enable_notification(memory) {
        Ok(true) => queue.pop_descriptor_chain(memory),
        _ => None,
    }
}

/// Puts a chain on the used ring. Has no effect if the guest made an invalid index available or
/// placed the ring outside its memory.
fn add_used(queue: &mut Queue, memory: &GuestMemoryMmap, head: u16, written: u32) {
    let _ = queue.add_used(memory, head, written);
}

/// Returns the result of a step that used this number of buffers.
fn step_result(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    used_count: u16,
    has_more: bool,
) -> StepResult {
    // Interrupt the guest if the used_event field, by which the guest suppresses interrupts, cannot
    // be read: a redundant interrupt does no harm.
    StepResult {
        wants_interrupt: used_count > 0 && queue.needs_notification(memory).unwrap_or(true),
        has_more,
    }
}

/// Reads the packet in a chain: returns the header and stores the data in `payload`. Returns `None`
/// if the chain is too short for a header. If the chain is shorter than the header's `len`, or
/// `len` exceeds the largest possible credit, `payload` stays empty, and the device rejects the
/// packet.
fn read_packet(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
    payload: &mut Vec<u8>,
) -> Option<Header> {
    let mut reader = chain.reader(memory).ok()?;
    let mut header_bytes = [0; HEADER_LEN];
    reader.read_exact(&mut header_bytes).ok()?;
    let header = Header::decode(&header_bytes);
    payload.clear();
    let len = header.len as usize;
    if len <= BUFFER_SIZE && len <= reader.available_bytes() {
        payload.resize(len, 0);
        reader.read_exact(payload).ok()?;
    }
    Some(header)
}

/// Writes a packet of the device into a chain and returns the number of bytes written: 0 if the
/// chain is too small.
fn write_packet(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
    device: &mut Device,
) -> u32 {
    let Ok(mut writer) = chain.writer(memory) else { return 0 };
    let Some(max_payload) = writer.available_bytes().checked_sub(HEADER_LEN) else { return 0 };
    let Some(packet) = device.next_packet(max_payload) else { return 0 };
    let written = writer
        .write_all(&packet.header.encode())
        .and_then(|()| writer.write_all(&packet.payload))
        .map(|()| writer.bytes_written());
    written.ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
