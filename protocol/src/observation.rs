// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Observations of a kernel's behaviour, which a guest records on request.

use crate::codec::{DecodeError, Reader, Writer};

/// A field that a case recorded at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The scenario within the case: a variant of the call, a point of the grid.
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
    /// The bytes that were seen.
    pub bytes: Vec<u8>,
}

impl Observation {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.str(&self.scenario);
        out.str(&self.step);
        out.str(&self.field);
        out.str(&self.function);
        out.list(&self.parts, |out, part| {
            out.str(&part.name);
            out.bytes(&part.bytes);
        });
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Observation {
            scenario: input.str()?,
            step: input.str()?,
            field: input.str()?,
            function: input.str()?,
            parts: input
                .list(|input| Ok(ObservedPart { name: input.str()?, bytes: input.bytes()? }))?,
        })
    }
}
