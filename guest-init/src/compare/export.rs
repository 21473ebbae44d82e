// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The export of a record: its fields as observations, which the host compares between kernels, and their
//! digest.

use super::allowed::AllowedDifference;
use super::record::{Field, Moment, Record};
use super::{allowed, core_dump};
use crate::arch::{self, Part};
use crate::case::Check;
use crate::digest::Digest;
use crate::program_addresses::ProgramAddresses;
use crate::recording;
use std::borrow::Cow;
use std::ops::Range;
use sudbox_protocol::{Observation, ObservedPart};

/// A part of a field: its name, empty if the field is not divided, and its bytes.
type NamedBytes<'a> = (Cow<'static, str>, &'a [u8]);

impl Record {
    /// Adds the fields to the digest of the case `id`, and to the case's observations if the host asked for
    /// observations. Leaves out the parts that differ between kernels for reasons other than dispatch.
    /// `prefix` precedes the names of the variants.
    ///
    /// # Errors
    /// As [`Record::fields`] and [`recording::add_observation`].
    pub(crate) fn export(&self, id: &str, prefix: &str) -> Check {
        let mut selector = PartSelector::new(allowed::unrecorded_rows(id));
        let mut digest = recording::digest_so_far();
        digest.add(prefix.as_bytes());
        for field in self.fields()? {
            let rows = selector.rows(&field);
            selector.add_to_digest(&field, rows, &mut digest);
            if recording::is_recording() {
                let parts = selector.recorded_parts(&field);
                if !parts.is_empty() {
                    recording::add_observation(observation(prefix, &field, &parts))?;
                }
            }
        }
        recording::set_digest(digest);
        Ok(())
    }
}

/// Selects the recorded parts of fields. A comparison has thousands of fields with a few dozen names, so
/// the facts about each name are kept.
struct PartSelector {
    /// The rows for parts that are not recorded.
    unrecorded: Vec<&'static AllowedDifference>,
    names: Vec<NameEntry>,
    /// The index in `names` of the last field's name.
    last: usize,
    /// The last variant and the last step, each with its digest.
    last_variant_and_step: [(&'static str, u64); 2],
}

/// The facts about fields of one name.
struct NameEntry {
    name: &'static str,
    name_digest: u64,
    /// Whether fields of this name may have addresses of this program.
    has_addresses: bool,
    /// The rows about fields of this name.
    rows: Vec<&'static AllowedDifference>,
    /// The ranges of recorded bytes, for each set of rows that hold at some moment.
    ranges: Vec<(RowSet, Vec<Range<usize>>)>,
}

/// A set of rows of a [`NameEntry`]: bit N stands for row N.
type RowSet = u32;

impl PartSelector {
    fn new(unrecorded: Vec<&'static AllowedDifference>) -> PartSelector {
        PartSelector { unrecorded, names: Vec::new(), last: 0, last_variant_and_step: [("", 0); 2] }
    }

    /// The rows that hold for this field. The other methods must be called for the same field next, since they
    /// use `last`.
    fn rows(&mut self, field: &Field<'_>) -> RowSet {
        // The names of fields repeat in the same order, so the search begins after the last name.
        let is_same = |entry: &NameEntry| std::ptr::eq(entry.name, field.name);
        let mut indices = (self.last + 1..self.names.len()).chain(0..self.names.len());
        let found = indices.find(|index| is_same(&self.names[*index]));
        self.last = found.unwrap_or_else(|| {
            let is_about_field = |row: &&AllowedDifference| row.is_about_field(field.name);
            let rows = self.unrecorded.iter().copied().filter(is_about_field).collect();
            let name_digest = Digest::of(field.name.as_bytes());
            let has_addresses = allowed::FIELDS_WITH_ADDRESSES.contains(&field.name);
            let ranges = Vec::new();
            let name = field.name;
            self.names.push(NameEntry { name, name_digest, has_addresses, rows, ranges });
            self.names.len() - 1
        });
        let rows = (0..).zip(&self.names[self.last].rows);
        rows.filter(|(_, row)| row.is_about_moment(field.moment))
            .fold(0, |set, (index, _): (u32, _)| set | 1 << index)
    }

    /// Adds the recorded bytes of a field to a digest. `rows` is the result of [`PartSelector::rows`].
    fn add_to_digest(&mut self, field: &Field<'_>, rows: RowSet, digest: &mut Digest) {
        if rows == 0 {
            self.add_names_to_digest(field, digest);
            self.names[self.last].add_bytes(field.bytes, digest);
        } else if field.name == core_dump::AUXILIARY_VECTOR {
            self.add_names_to_digest(field, digest);
            for (name, bytes) in self.recorded_parts(field) {
                digest.add(name.as_bytes());
                self.names[self.last].add_bytes(bytes, digest);
            }
        } else if !self.names[self.last].recorded_ranges(rows, field.moment).is_empty() {
            self.add_names_to_digest(field, digest);
            let entry = &self.names[self.last];
            let ranges = entry.ranges.iter().filter(|(set, _)| *set == rows);
            for range in ranges.flat_map(|(_, ranges)| ranges) {
                let end = range.end.min(field.bytes.len());
                entry.add_bytes(&field.bytes[range.start.min(end)..end], digest);
            }
        }
    }

    /// Adds the moment and the name of a field to a digest.
    fn add_names_to_digest(&mut self, field: &Field<'_>, digest: &mut Digest) {
        let Moment { variant, step, count } = field.moment;
        for (text, last) in [variant, step].into_iter().zip(&mut self.last_variant_and_step) {
            let (last_text, last_digest) = last;
            if !std::ptr::eq(text, *last_text) {
                (*last_text, *last_digest) = (text, Digest::of(text.as_bytes()));
            }
            digest.add_word(*last_digest);
        }
        digest.add_word(self.names[self.last].name_digest ^ u64::from(count));
    }

    /// The recorded parts of a field.
    fn recorded_parts<'a>(&self, field: &Field<'a>) -> Vec<NamedBytes<'a>> {
        let mut parts = split_into_parts(field);
        let is_unrecorded = |name: &str, bytes: &[u8]| {
            let rows = &self.names[self.last].rows;
            rows.iter().any(|row| row.allows(field.moment, field.name, name, bytes))
        };
        parts.retain(|(name, bytes)| !is_unrecorded(name, bytes));
        parts
    }
}

impl NameEntry {
    /// Adds bytes of a field to a digest, with placeholders in place of addresses.
    fn add_bytes(&self, bytes: &[u8], digest: &mut Digest) {
        if self.has_addresses {
            let addresses = ProgramAddresses::of_this_program();
            digest.add_mapped(bytes, |word| addresses.replaced(word));
        } else {
            digest.add(bytes);
        }
    }

    /// The ranges of a field's recorded bytes at this moment, at which these rows hold.
    fn recorded_ranges(&mut self, rows: RowSet, moment: Moment) -> &[Range<usize>] {
        let known = self.ranges.iter().position(|(set, _)| *set == rows);
        let index = known.unwrap_or_else(|| {
            let is_recorded =
                |part: &str| !self.rows.iter().any(|row| row.allows(moment, self.name, part, &[]));
            let mut ranges = Vec::new();
            let mut start = 0;
            for Part(name, length) in arch::parts_of_field(self.name) {
                if is_recorded(name) {
                    ranges.push(start..start + length);
                }
                start += length;
            }
            if is_recorded("") {
                ranges.push(start..usize::MAX);
            }
            self.ranges.push((rows, ranges));
            self.ranges.len() - 1
        });
        &self.ranges[index].1
    }
}

/// A field with these parts as an observation.
fn observation(prefix: &str, field: &Field<'_>, parts: &[NamedBytes<'_>]) -> Observation {
    let Moment { variant, step, count } = field.moment;
    let mut observed: Vec<ObservedPart> = Vec::new();
    for (index, (name, bytes)) in parts.iter().enumerate() {
        // Some structures have several parts with the same name, such as padding.
        let earlier = parts[..index].iter().filter(|(other, _)| other == name).count();
        let name = match earlier {
            0 => name.to_string(),
            count => format!("{name} no. {}", count + 1),
        };
        let bytes = match allowed::FIELDS_WITH_ADDRESSES.contains(&field.name) {
            true => ProgramAddresses::of_this_program().replaced_in(bytes),
            false => bytes.to_vec(),
        };
        observed.push(ObservedPart { name, bytes });
    }
    Observation {
        scenario: format!("{prefix}{variant}"),
        step: format!("{step} {count}"),
        field: field.name.to_owned(),
        function: allowed::kernel_function_of(field.name).to_owned(),
        parts: observed,
    }
}

/// The parts of a field ([`arch::parts_of_field`]). The bytes after the last part have the empty name.
fn split_into_parts<'a>(field: &Field<'a>) -> Vec<NamedBytes<'a>> {
    if field.name == core_dump::AUXILIARY_VECTOR {
        return core_dump::auxiliary_vector_parts(field.bytes);
    }
    let layout = arch::parts_of_field(field.name);
    let mut parts = Vec::with_capacity(layout.len() + 1);
    let mut rest = field.bytes;
    for Part(name, length) in layout {
        let (part, after) = rest.split_at((*length).min(rest.len()));
        rest = after;
        if !part.is_empty() {
            parts.push((Cow::Borrowed(*name), part));
        }
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push((Cow::Borrowed(""), rest));
    }
    parts
}
