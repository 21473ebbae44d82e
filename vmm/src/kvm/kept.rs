//! A VM that was kept: what other VMs begin as.

use std::fs::File;
use std::sync::Arc;

use super::arch::{VcpuState, VmState};
use super::memory::Ranges;
use super::serial::SerialState;
use super::vm::Begin;
use crate::machine::{BootError, Resume};
use crate::session::Session;
use crate::virtio::mmio::TransportState;

/// Everything of a VM at one moment: when its guest had put its first packet into the queue and
/// nobody had looked at it.
#[derive(Debug)]
pub(super) struct KeptVm {
    pub(super) ranges: Ranges,
    /// The memory; written by nobody any more.
    pub(super) memory: Arc<File>,
    pub(super) vm: VmState,
    pub(super) vcpus: Vec<Arc<VcpuState>>,
    pub(super) serial: SerialState,
    pub(super) vsock: TransportState,
    pub(super) port: u32,
}

impl Resume for KeptVm {
    fn resume(&self) -> Result<Session, BootError> {
        super::start(Begin::Resume(self), self.port, false).map_err(BootError::from)
    }
}
