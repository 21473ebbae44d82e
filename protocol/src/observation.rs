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
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.write_str(&self.scenario);
        out.write_str(&self.step);
        out.write_str(&self.field);
        out.write_str(&self.function);
        out.write_list(&self.parts, |out, part| {
            out.write_str(&part.name);
            out.write_bytes(&part.bytes);
        });
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Observation {
            scenario: input.read_str()?,
            step: input.read_str()?,
            field: input.read_str()?,
            function: input.read_str()?,
            parts: input.read_list(|input| {
                Ok(ObservedPart { name: input.read_str()?, bytes: input.read_bytes()? })
            })?,
        })
    }
}
