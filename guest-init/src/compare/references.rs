// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The records of reference scenarios. Many comparisons have the same reference scenario, which the runner
//! observes once for all of them.

use super::comparisons::COMPARISONS;
use super::record::Record;
use crate::case::Failure;
use std::sync::OnceLock;

/// The records of the reference scenarios, each at the index of the first comparison with that
/// scenario. The other elements are `None`.
static RECORDS: OnceLock<Vec<Option<Record>>> = OnceLock::new();

/// Maps the records. The runner calls this function before it forks the child of a comparison, so that all
/// children share the records at the same addresses.
///
/// # Errors
/// If the memory cannot be mapped.
pub(crate) fn map() -> Result<(), Failure> {
    if RECORDS.get().is_none() {
        let records: Result<Vec<_>, Failure> = (0..COMPARISONS.len())
            .map(|index| is_first(index).then(Record::new).transpose())
            .collect();
        let _ = RECORDS.set(records?);
    }
    Ok(())
}

/// The record of the reference scenario of the comparison with this index. `None` before [`map`].
pub(super) fn reference_record(index: usize) -> Option<Record> {
    *RECORDS.get()?.get(first_with_same_reference(index))?
}

/// Whether no earlier comparison has the same reference and the same observer.
pub(super) fn is_first(index: usize) -> bool {
    first_with_same_reference(index) == index
}

/// The index of the first comparison with the same reference and the same observer.
fn first_with_same_reference(index: usize) -> usize {
    let has_same_reference = |other: &usize| {
        let (one, other) = (&COMPARISONS[index], &COMPARISONS[*other]);
        (&one.observer, &one.scenarios[0]) == (&other.observer, &other.scenarios[0])
    };
    (0..index).find(has_same_reference).unwrap_or(index)
}
