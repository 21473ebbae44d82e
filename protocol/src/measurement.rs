// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The raw result of a benchmark in the guest; the host evaluates it.

use crate::codec::{DecodeError, Reader, Writer};

/// The durations of batches that repeat one operation, in ticks of the processor's counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    /// The number of operations in a batch.
    pub operations: u32,
    /// The ticks of each batch, in the order of measurement.
    pub batches: Vec<u64>,
    /// Ticks of each batch of the empty loop.
    pub empty: Vec<u64>,
    /// The duration of the whole measurement in ticks.
    pub ticks: u64,
    /// The same duration by `CLOCK_MONOTONIC_RAW`, in nanoseconds. The host computes the length of a tick
    /// from both.
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
