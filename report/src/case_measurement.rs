// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The measurement of a case, as the guest reported it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sudbox_protocol::Measurement;

/// One measurement, as the guest reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Measured"))]
pub struct CaseMeasurement {
    /// Id of the measuring case.
    pub id: String,
    /// Number of operations in a batch.
    pub operations: u32,
    /// Ticks of each batch.
    pub batches: Vec<u64>,
    /// Ticks of each batch of the empty loop.
    #[serde(rename = "empty")]
    pub empty_batches: Vec<u64>,
    /// Ticks of the counter during the whole measurement.
    pub ticks: u64,
    /// Nanoseconds of the clock during the whole measurement.
    pub nanoseconds: u64,
    /// Number of operations during the whole measurement.
    #[serde(default)]
    pub total_operations: u64,
    /// Interrupts of all CPUs during the whole measurement, except those of timers.
    #[serde(default)]
    pub interrupts: u64,
    /// The instructions of one operation by function, if they were traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionCost>,
}

/// The instructions that a function executed in one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FunctionCost {
    /// Name of the function of the kernel, or `program`.
    pub function: String,
    /// Number of executed instructions.
    pub instructions: u64,
    /// Number of executed instructions by kind, for the kinds that take far longer than others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costly: BTreeMap<String, u64>,
}

impl CaseMeasurement {
    /// Combines a measurement with the id of its case.
    #[must_use]
    pub fn new(case_id: &str, measurement: Measurement) -> CaseMeasurement {
        let Measurement {
            operations,
            batches,
            empty_batches,
            ticks,
            nanoseconds,
            total_operations,
            interrupts,
        } = measurement;
        CaseMeasurement {
            id: case_id.to_owned(),
            operations,
            batches,
            empty_batches,
            ticks,
            nanoseconds,
            total_operations,
            interrupts,
            functions: Vec::new(),
        }
    }
}
