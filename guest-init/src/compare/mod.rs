// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparisons: two scenarios that must look the same are run in one kernel, and everything that the
//! program, its tracer, its parent and a reader of its core dump can see is recorded and compared. A
//! comparison finds faults that no case describes.

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
    if let Some(need) = probe::machine().first_unmet(arch::WATCH_NEEDS) {
        return Err(Failure::Unmet(need.to_string()));
    }
    let [reference, other] = &comparison.scenarios;
    let has_compat_code = reference.has_compat_code() || other.has_compat_code();
    stacks::map(has_compat_code)?;
    if has_compat_code {
        arch::map_compat_code().map_err(broken("mapping 32-bit code"))?;
    }
    // A core dump contains the name of its process. The record of the reference may come from another
    // case, whose process has another name, so all get the same name. SAFETY: the name is terminated,
    // and only read.
    unsafe { sys::prctl(libc::PR_SET_NAME, c"compare".as_ptr() as u64, 0, 0, 0) }
        .map_err(broken("PR_SET_NAME"))?;
    let expected = match references::reference_record(index) {
        Some(record) => record,
        None => Record::new()?,
    };
    let seen = Record::new()?;
    for (record, scenario) in [&expected, &seen].into_iter().zip(&comparison.scenarios) {
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
    seen.export(comparison.id, "")?;
    difference::compare(comparison.id, &expected, &seen)?;
    match comparison.observer {
        Observer::Program => {
            let runs = [&expected, &seen].into_iter().zip(&comparison.scenarios);
            runs.into_iter()
                .try_for_each(|(record, scenario)| difference::check_kept_state(record, scenario))
        }
        Observer::Tracer(_) | Observer::Parent(_) => Ok(()),
    }
}

/// Records everything that ptrace(2) and `/proc` show of a stopped tracee.
pub(crate) fn record_stopped(record: &Record, name: &'static str, pid: i32) {
    let moment = record::Moment { variant: name, step: "idle", count: 0 };
    tracer::record_stop(record, moment, &PLAIN, pid);
    tracer::record_proc(record, moment, pid);
}

/// Checks that two records are the same, except for the allowed differences of the case `id`.
pub(crate) fn expect_same(id: &str, expected: &Record, seen: &Record) -> Check {
    difference::compare(id, expected, seen)
}
