// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A snapshot of a VM, from which other VMs are resumed.

use std::fs::File;
use std::sync::Arc;

use super::arch::{VcpuState, VmState};
use super::memory::MemoryRanges;
use super::serial::SerialState;
use crate::virtio::mmio::TransportState;

/// The state of a VM after the guest has put its first packet into the transmit queue, and before the
/// device takes that packet.
#[derive(Debug)]
pub(super) struct KvmSnapshot {
    pub(super) ranges: MemoryRanges,
    /// Contents of guest memory; never modified.
    pub(super) memory: Arc<File>,
    pub(super) vm: VmState,
    pub(super) vcpus: Vec<Arc<VcpuState>>,
    pub(super) serial: SerialState,
    pub(super) vsock: TransportState,
    pub(super) port: u32,
}
