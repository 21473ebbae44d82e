// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The measurement of a case, as the guest reported it.

use serde::{Deserialize, Serialize};
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
}

impl CaseMeasurement {
    /// Combines a measurement with the id of its case.
    #[must_use]
    pub fn new(case_id: &str, measurement: Measurement) -> CaseMeasurement {
        let Measurement { operations, batches, empty_batches, ticks, nanoseconds } = measurement;
        CaseMeasurement {
            id: case_id.to_owned(),
            operations,
            batches,
            empty_batches,
            ticks,
            nanoseconds,
        }
    }
}
