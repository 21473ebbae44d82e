// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The records of reference scenarios. Many comparisons have the same reference, which is observed once
//! for all cases of a runner.

use super::comparisons::COMPARISONS;
use super::record::Record;
use crate::case::Failure;
use std::sync::OnceLock;

/// The records, by the index of the first comparison with the reference.
static RECORDS: OnceLock<Vec<Option<Record>>> = OnceLock::new();

/// Maps the records. The runner calls it before it forks the child of a comparison, so that all
/// children share them at the same addresses.
///
/// # Errors
/// If the memory cannot be mapped.
pub(crate) fn map() -> Result<(), Failure> {
    if RECORDS.get().is_none() {
        let records: Result<Vec<_>, Failure> = (0..COMPARISONS.len())
            .map(|index| (first(index) == index).then(Record::new).transpose())
            .collect();
        let _ = RECORDS.set(records?);
    }
    Ok(())
}

/// The record of the reference of a comparison.
pub(super) fn of(index: usize) -> Option<Record> {
    *RECORDS.get()?.get(first(index))?
}

/// The index of the first comparison with the same reference and the same observer.
fn first(index: usize) -> usize {
    let same = |other: &usize| {
        let (one, other) = (&COMPARISONS[index], &COMPARISONS[*other]);
        (&one.observer, &one.scenarios[0]) == (&other.observer, &other.scenarios[0])
    };
    (0..index).find(same).unwrap_or(index)
}
