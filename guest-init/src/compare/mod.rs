// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparisons. A comparison runs two scenarios on one kernel that must look the same to an observer: the
//! program itself, its tracer, or its parent with the core dump. It records all state that the observer can
//! read, and compares the two records. A comparison finds faults that no case describes.

mod allowed;
mod comparison;
mod comparisons;
mod core_dump;
mod death;
mod difference;
mod export;
mod proc;
mod process;
mod program;
mod record;
pub(crate) mod references;
mod scenario;
mod stacks;
mod tracer;
mod variants;

use crate::arch;
use crate::case::{Case, Check, Failure, Run, case};
use crate::probe;
use crate::support::broken;
use crate::sys;
use comparison::{Observer, X86_FRAMES_ONLY};
use comparisons::COMPARISONS;
pub(crate) use record::Record;
use scenario::PLAIN;

/// The cases, one for each comparison.
pub(crate) const CASES: &[Case] = &{
    let mut cases = [case("", "", "", placeholder_check); COMPARISONS.len()];
    let mut index = 0;
    while index < COMPARISONS.len() {
        let comparison = &COMPARISONS[index];
        cases[index] = Case {
            id: comparison.id,
            promise: comparison.promise,
            kernel_function: comparison.kernel_function,
            features: comparison.features,
            needs: comparison.needs,
            is_in_core: false,
            run: Run::Compare(index),
            only: match comparison.only {
                Some(only) => Some(only),
                None => Some(X86_FRAMES_ONLY),
            },
            ..cases[index]
        };
        index += 1;
    }
    cases
};

/// The check of the placeholders that the loop of [`CASES`] replaces.
fn placeholder_check() -> Check {
    Ok(())
}

/// Runs both scenarios of a comparison and compares the records.
pub(crate) fn check(index: usize) -> Check {
    let Some(comparison) = COMPARISONS.get(index) else {
        return Err(Failure::Broken(format!("there is no comparison {index}")));
    };
    if let Some(need) = probe::environment().first_unmet(arch::WATCH_NEEDS) {
        return Err(Failure::Unmet(need.to_string()));
    }
    let [reference, other] = &comparison.scenarios;
    let has_compat_code = reference.has_compat_code() || other.has_compat_code();
    stacks::map(has_compat_code)?;
    if has_compat_code {
        arch::map_compat_code().map_err(broken("mapping 32-bit code"))?;
    }
    // A core dump contains the name of its process. The reference record may come from the process of another
    // case, so the processes of all comparisons have the same name.
    // SAFETY: the name is terminated, and only read.
    unsafe { sys::prctl(libc::PR_SET_NAME, c"compare".as_ptr() as u64, 0, 0, 0) }
        .map_err(broken("PR_SET_NAME"))?;
    let expected = match references::reference_record(index) {
        Some(record) => record,
        None => Record::new()?,
    };
    let actual = Record::new()?;
    for (record, scenario) in [&expected, &actual].into_iter().zip(&comparison.scenarios) {
        if record.is_complete() {
            continue;
        }
        record.clear();
        program::in_environment(scenario, || match comparison.observer {
            Observer::Program => program::observe(record, scenario),
            Observer::Tracer(resumes) => tracer::observe(record, scenario, resumes),
            Observer::Parent(deaths) => death::observe(record, scenario, deaths),
        })?;
        record.mark_complete();
    }
    if references::is_first(index) {
        expected.export(comparison.id, "reference: ")?;
    }
    actual.export(comparison.id, "")?;
    difference::compare(comparison.id, &expected, &actual)?;
    match comparison.observer {
        Observer::Program => [&expected, &actual]
            .into_iter()
            .zip(&comparison.scenarios)
            .try_for_each(|(record, scenario)| difference::check_kept_state(record, scenario)),
        Observer::Tracer(_) | Observer::Parent(_) => Ok(()),
    }
}

/// Records all state of a stopped tracee that ptrace(2) and `/proc` return. `name` names the tracee in the
/// record.
pub(crate) fn record_stopped(record: &Record, name: &'static str, pid: i32) {
    let moment = record::Moment { variant: name, step: "idle", count: 0 };
    tracer::record_stop(record, moment, &PLAIN, pid);
    tracer::record_proc(record, moment, pid);
}

/// Checks that two records are the same, except for the allowed differences of the case `id`.
pub(crate) fn expect_same(id: &str, expected: &Record, actual: &Record) -> Check {
    difference::compare(id, expected, actual)
}
