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
        let mut filter = PartFilter::new(allowed::unrecorded_rows(id));
        let mut digest = recording::digest_so_far();
        digest.add(prefix.as_bytes());
        for field in self.fields()? {
            let rows = filter.select_field(&field);
            filter.add_to_digest(&field, rows, &mut digest);
            if recording::is_recording() {
                let parts = filter.recorded_parts(&field);
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
struct PartFilter {
    /// The rows for parts that are not recorded.
    unrecorded: Vec<&'static AllowedDifference>,
    entries: Vec<NameEntry>,
    /// The index in `entries` of the current field's name.
    current: usize,
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

impl PartFilter {
    fn new(unrecorded: Vec<&'static AllowedDifference>) -> PartFilter {
        PartFilter {
            unrecorded,
            entries: Vec::new(),
            current: 0,
            last_variant_and_step: [("", 0); 2],
        }
    }

    /// Makes this field the current one, to which the other methods apply. Returns the rows that hold for the
    /// field at its moment.
    fn select_field(&mut self, field: &Field<'_>) -> RowSet {
        // The names of fields repeat in the same order, so the search begins after the last name.
        let is_same = |entry: &NameEntry| std::ptr::eq(entry.name, field.name);
        let mut indices = (self.current + 1..self.entries.len()).chain(0..self.entries.len());
        let found = indices.find(|index| is_same(&self.entries[*index]));
        self.current = found.unwrap_or_else(|| {
            let is_about_field = |row: &&AllowedDifference| row.is_about_field(field.name);
            let rows = self.unrecorded.iter().copied().filter(is_about_field).collect();
            let name_digest = Digest::of(field.name.as_bytes());
            let has_addresses = allowed::FIELDS_WITH_ADDRESSES.contains(&field.name);
            let ranges = Vec::new();
            let name = field.name;
            self.entries.push(NameEntry { name, name_digest, has_addresses, rows, ranges });
            self.entries.len() - 1
        });
        let rows = (0..).zip(&self.entries[self.current].rows);
        rows.filter(|(_, row)| row.is_about_moment(field.moment))
            .fold(0, |set, (index, _): (u32, _)| set | 1 << index)
    }

    /// Adds the recorded bytes of the current field to a digest. `rows` are the rows that hold for the field.
    fn add_to_digest(&mut self, field: &Field<'_>, rows: RowSet, digest: &mut Digest) {
        if rows == 0 {
            self.add_names_to_digest(field, digest);
            self.entries[self.current].add_bytes(field.bytes, digest);
        } else if field.name == core_dump::AUXILIARY_VECTOR {
            self.add_names_to_digest(field, digest);
            for (name, bytes) in self.recorded_parts(field) {
                digest.add(name.as_bytes());
                self.entries[self.current].add_bytes(bytes, digest);
            }
        } else if !self.entries[self.current].recorded_ranges(rows, field.moment).is_empty() {
            self.add_names_to_digest(field, digest);
            let entry = &self.entries[self.current];
            let ranges = entry.ranges.iter().filter(|(set, _)| *set == rows);
            for range in ranges.flat_map(|(_, ranges)| ranges) {
                let end = range.end.min(field.bytes.len());
                entry.add_bytes(&field.bytes[range.start.min(end)..end], digest);
            }
        }
    }

    /// Adds the moment and the name of the current field to a digest.
    fn add_names_to_digest(&mut self, field: &Field<'_>, digest: &mut Digest) {
        let Moment { variant, step, count } = field.moment;
        for (text, last) in [variant, step].into_iter().zip(&mut self.last_variant_and_step) {
            let (last_text, last_digest) = last;
            if !std::ptr::eq(text, *last_text) {
                (*last_text, *last_digest) = (text, Digest::of(text.as_bytes()));
            }
            digest.add_word(*last_digest);
        }
        digest.add_word(self.entries[self.current].name_digest ^ u64::from(count));
    }

    /// The recorded parts of the current field.
    fn recorded_parts<'a>(&self, field: &Field<'a>) -> Vec<NamedBytes<'a>> {
        let mut parts = split_into_parts(field);
        let is_unrecorded = |name: &str, bytes: &[u8]| {
            let rows = &self.entries[self.current].rows;
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
