// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The raw result of a benchmark in the guest, which the host evaluates.

use crate::codec::{DecodeError, Reader, Writer};

/// The durations of batches that repeat one operation, in ticks of the processor's counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    /// The number of operations in a batch.
    pub operations: u32,
    /// The ticks of each batch, in the order of measurement.
    pub batches: Vec<u64>,
    /// The ticks of each batch in which the loop had no operation. The host subtracts these ticks
    /// from the ticks of `batches`.
    pub empty_batches: Vec<u64>,
    /// The duration of the whole measurement in ticks.
    pub ticks: u64,
    /// The duration of the whole measurement by `CLOCK_MONOTONIC_RAW`, in nanoseconds. The host
    /// computes the length of a tick from `ticks` and `nanoseconds`.
    pub nanoseconds: u64,
    /// The number of operations during the whole measurement: batches, warm-up and marked
    /// operations.
    pub total_operations: u64,
    /// The number of interrupts of all CPUs during the whole measurement, except those of timers.
    pub interrupts: u64,
}

impl Measurement {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.write_u32(self.operations);
        writer.write_list(&self.batches, |writer, ticks| writer.write_u64(*ticks));
        writer.write_list(&self.empty_batches, |writer, ticks| writer.write_u64(*ticks));
        writer.write_u64(self.ticks);
        writer.write_u64(self.nanoseconds);
        writer.write_u64(self.total_operations);
        writer.write_u64(self.interrupts);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Measurement {
            operations: reader.read_u32()?,
            batches: reader.read_list(Reader::read_u64)?,
            empty_batches: reader.read_list(Reader::read_u64)?,
            ticks: reader.read_u64()?,
            nanoseconds: reader.read_u64()?,
            total_operations: reader.read_u64()?,
            interrupts: reader.read_u64()?,
        })
    }
}
