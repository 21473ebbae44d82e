// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Observations of a kernel's behaviour, which a guest records on request.

use crate::codec::{DecodeError, Reader, Writer};

/// A field that a case recorded at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The scenario within the case, such as a variant of the system call or a point of the grid.
    pub scenario: String,
    /// The step within the scenario, such as `handler` or `stop 2`.
    pub step: String,
    /// The name of the field, such as `frame`.
    pub field: String,
    /// The kernel function that writes the field.
    pub function: String,
    /// The field's bytes, part by part, in the order of the kernel's structure.
    pub parts: Vec<ObservedPart>,
}

/// A part of an observed field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPart {
    /// The part's name, such as `si_code`; empty if the field is not divided.
    pub name: String,
    /// The observed bytes.
    pub bytes: Vec<u8>,
}

impl Observation {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.write_str(&self.scenario);
        writer.write_str(&self.step);
        writer.write_str(&self.field);
        writer.write_str(&self.function);
        writer.write_list(&self.parts, |writer, part| {
            writer.write_str(&part.name);
            writer.write_bytes(&part.bytes);
        });
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Observation {
            scenario: reader.read_str()?,
            step: reader.read_str()?,
            field: reader.read_str()?,
            function: reader.read_str()?,
            parts: reader.read_list(|reader| {
                Ok(ObservedPart { name: reader.read_str()?, bytes: reader.read_bytes()? })
            })?,
        })
    }
}
