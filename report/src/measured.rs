// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A measurement, as the guest reported it.

use serde::{Deserialize, Serialize};
use sudbox_protocol::Measurement;

/// One measurement, as the guest reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Measured {
    /// Id of the measuring case.
    pub id: String,
    /// Number of operations in a batch.
    pub operations: u32,
    /// Ticks of each batch.
    pub batches: Vec<u64>,
    /// Ticks of each batch of the empty loop.
    pub empty: Vec<u64>,
    /// Ticks of the counter during the whole measurement.
    pub ticks: u64,
    /// Nanoseconds of the clock during the whole measurement.
    pub nanoseconds: u64,
}

impl Measured {
    /// Combines a measurement with the id of its case.
    #[must_use]
    pub fn of(id: &str, measurement: Measurement) -> Measured {
        let Measurement { operations, batches, empty_batches: empty, ticks, nanoseconds } =
            measurement;
        Measured { id: id.to_owned(), operations, batches, empty, ticks, nanoseconds }
    }
}
