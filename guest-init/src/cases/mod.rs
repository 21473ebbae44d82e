//! The case table.

use sudbox_protocol::{CaseResult, Feature};

/// Something a case needs of the machine; what is not there makes it `unmet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// May endanger the kernel it runs on: only in a VM.
    Vm,
    /// At least this many CPUs online; the harness boots such a VM for it.
    Cpus(u8),
    /// A CPU feature by its name in `/proc/cpuinfo`.
    CpuFeature(&'static str),
    /// A boot argument; the harness boots such a VM for it.
    BootArgument(&'static str),
}

/// One promise of the kernel and the code that checks it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `group/name`, stable for ever.
    pub id: &'static str,
    /// The promise in one line.
    pub promise: &'static str,
    /// Kernel function that makes it.
    pub kernel_function: &'static str,
    /// The features it is about: where the kernel lacks one, the case is absent.
    pub features: &'static [Feature],
    /// What it needs of the machine.
    pub needs: &'static [Need],
    /// Id of a recorded kernel bug that makes it fail on some kernels; the harness's table of
    /// expectations says which and cites it.
    pub known_bug: Option<&'static str>,
    /// Part of the named selection `core`.
    pub core: bool,
    /// The check, run in a child of its own.
    pub run: fn() -> CaseResult,
}

/// Every case, in the order in which they run.
pub const TABLE: &[&[Case]] = &[];
