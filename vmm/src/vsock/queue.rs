//! Moves packets between the device core and the guest's virtqueues (virtio 1.2, section 2.7).
//!
//! Descriptors, ring indices and lengths are the guest's and may be anything. virtio-queue and
//! vm-memory keep every access inside guest memory and every chain finite; this module checks what
//! they leave open: an available index that runs away, a buffer too small for a header, a header
//! that promises more than its buffer holds.
//!
//! The event queue needs no code: it would only carry a transport reset, which is sent when a VM
//! is restored from a snapshot.

use std::io::{Read, Write};

use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use super::BUFFER;
use super::device::Device;
use super::packet::{HEADER_LEN, Header};

/// Index of the queue with buffers for packets to the guest.
pub const RX: usize = 0;

/// Index of the queue with packets from the guest.
pub const TX: usize = 1;

/// What one round left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The guest wants an interrupt for what was used.
    pub interrupt: bool,
    /// The round ended at its limit; call again. Rounds are limited so that a guest which never
    /// stops sending cannot keep the device's lock.
    pub more: bool,
}

/// Gives the packets in the guest's transmit queue to the device.
pub fn from_guest(device: &mut Device, queue: &mut Queue, mem: &GuestMemoryMmap) -> Moved {
    let mut payload = Vec::new();
    let mut used = 0;
    while used < queue.size() {
        let Some(chain) = pop(queue, mem) else { return moved(queue, mem, used, false) };
        let head = chain.head_index();
        if let Some(header) = read_packet(chain, mem, &mut payload) {
            device.receive(&header, &payload);
        }
        give_back(queue, mem, head, 0);
        used += 1;
    }
    moved(queue, mem, used, true)
}

/// Fills the guest's receive buffers with the device's packets.
pub fn to_guest(device: &mut Device, queue: &mut Queue, mem: &GuestMemoryMmap) -> Moved {
    let mut used = 0;
    while device.has_packet() {
        if used >= queue.size() {
            return moved(queue, mem, used, true);
        }
        let Some(chain) = pop(queue, mem) else { break };
        let head = chain.head_index();
        let written = write_packet(chain, mem, device);
        give_back(queue, mem, head, written);
        used += 1;
    }
    moved(queue, mem, used, false)
}

/// The next chain that the guest made available. If there is none, the guest is to notify of the
/// next one.
fn pop<'m>(
    queue: &mut Queue,
    mem: &'m GuestMemoryMmap,
) -> Option<DescriptorChain<&'m GuestMemoryMmap>> {
    if let Some(chain) = queue.pop_descriptor_chain(mem) {
        return Some(chain);
    }
    // A chain may have come between the look and the request to be notified. Only one more look:
    // with an index that is out of range, the queue claims for ever that there is more.
    match queue.enable_notification(mem) {
        Ok(true) => queue.pop_descriptor_chain(mem),
        _ => None,
    }
}

/// Puts a chain on the used ring. A guest that made an index available which is not in the queue,
/// or put the ring outside its memory, gets nothing back.
fn give_back(queue: &mut Queue, mem: &GuestMemoryMmap, head: u16, written: u32) {
    let _ = queue.add_used(mem, head, written);
}

fn moved(queue: &mut Queue, mem: &GuestMemoryMmap, used: u16, more: bool) -> Moved {
    // Where the guest's wish cannot be read, an interrupt too many does no harm.
    Moved { interrupt: used > 0 && queue.needs_notification(mem).unwrap_or(true), more }
}

/// Reads the packet in a chain; its payload replaces what is in `payload`. `None` if there is not
/// even a header. A payload that is shorter than the header says, because the chain is or because
/// no connection could have credit for it, is left to the device to judge.
fn read_packet(
    chain: DescriptorChain<&GuestMemoryMmap>,
    mem: &GuestMemoryMmap,
    payload: &mut Vec<u8>,
) -> Option<Header> {
    let mut reader = chain.reader(mem).ok()?;
    let mut wire = [0; HEADER_LEN];
    reader.read_exact(&mut wire).ok()?;
    let header = Header::decode(&wire);
    payload.clear();
    let len = header.len as usize;
    if len <= BUFFER && len <= reader.available_bytes() {
        payload.resize(len, 0);
        reader.read_exact(payload).ok()?;
    }
    Some(header)
}

/// Writes a packet of the device into a chain and returns the bytes written: none if the chain is
/// too small for any.
fn write_packet(
    chain: DescriptorChain<&GuestMemoryMmap>,
    mem: &GuestMemoryMmap,
    device: &mut Device,
) -> u32 {
    let Ok(mut writer) = chain.writer(mem) else { return 0 };
    let Some(room) = writer.available_bytes().checked_sub(HEADER_LEN) else { return 0 };
    let Some(packet) = device.next_packet(room) else { return 0 };
    let written = writer
        .write_all(&packet.header.encode())
        .and_then(|()| writer.write_all(&packet.payload))
        .map(|()| writer.bytes_written());
    written.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
