// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a measurement in the guest came to: raw, so that the host decides what it means.

use crate::codec::{DecodeError, Reader, Writer};

/// Batches of one operation, each timed by the processor's counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    /// How often a batch does the operation.
    pub operations: u32,
    /// Ticks of each batch that did the operation, in the order in which they were taken.
    pub batches: Vec<u64>,
    /// Ticks of each batch that was the loop alone.
    pub empty: Vec<u64>,
    /// How long all of it took by the counter, in ticks,
    pub ticks: u64,
    /// and by `CLOCK_MONOTONIC_RAW`, in nanoseconds: what a tick is.
    pub nanoseconds: u64,
}

impl Measurement {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u32(self.operations);
        out.list(&self.batches, |out, ticks| out.u64(*ticks));
        out.list(&self.empty, |out, ticks| out.u64(*ticks));
        out.u64(self.ticks);
        out.u64(self.nanoseconds);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Measurement {
            operations: input.u32()?,
            batches: input.list(Reader::u64)?,
            empty: input.list(Reader::u64)?,
            ticks: input.u64()?,
            nanoseconds: input.u64()?,
        })
    }
}
