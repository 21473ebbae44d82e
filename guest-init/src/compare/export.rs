// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The export of a record: its fields as observations, which the host compares between kernels.

use super::record::{Field, Moment, Record};
use super::{allowed, core_dump};
use crate::arch::{self, Part};
use crate::case::Check;
use crate::recording;
use sudbox_protocol::{Observation, ObservedPart};

impl Record {
    /// Adds the fields to the observations of the case `id`, except for parts that differ between
    /// kernels for reasons other than dispatch. `prefix` precedes the names of the variants.
    ///
    /// # Errors
    /// As [`Record::fields`] and [`recording::add`].
    pub(crate) fn export(&self, id: &str, prefix: &str) -> Check {
        let unrecorded = allowed::unrecorded_rows(id);
        for field in self.fields()? {
            let Moment { variant, step, count } = field.moment;
            let mut parts = split_into_parts(&field);
            parts.retain(|part| {
                !unrecorded
                    .iter()
                    .any(|row| row.allows(field.moment, field.name, &part.name, &part.bytes))
            });
            if parts.is_empty() {
                continue;
            }
            recording::add_observation(Observation {
                scenario: format!("{prefix}{variant}"),
                step: format!("{step} {count}"),
                field: field.name.to_owned(),
                function: allowed::kernel_function_of(field.name).to_owned(),
                parts,
            })?;
        }
        Ok(())
    }
}

/// The parts of a field, by [`arch::parts_of_field`]. Bytes after the last part have no name.
fn split_into_parts(field: &Field<'_>) -> Vec<ObservedPart> {
    if field.name == core_dump::AUXILIARY_VECTOR {
        return core_dump::auxiliary_vector_parts(field.bytes);
    }
    let mut parts = Vec::new();
    let mut rest = field.bytes;
    for Part(name, length) in arch::parts_of_field(field.name) {
        let (part, after) = rest.split_at((*length).min(rest.len()));
        rest = after;
        if !part.is_empty() {
            // Some structures have several parts with the same name, such as padding.
            let earlier = parts
                .iter()
                .filter(|other: &&ObservedPart| other.name.split(" no. ").next() == Some(*name));
            let name = match earlier.count() {
                0 => (*name).to_owned(),
                count => format!("{name} no. {}", count + 1),
            };
            parts.push(ObservedPart { name, bytes: part.to_vec() });
        }
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(ObservedPart { name: String::new(), bytes: rest.to_vec() });
    }
    parts
}
