// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages of a bisection that ends without a commit.

use super::differences::RunOutcomes;
use super::slowdown;
use super::state::BisectionState;
use sudbox_images::Commit;

/// The hint that names the command by which an interrupted bisection continues.
pub(super) fn resume_hint() -> String {
    let command = if std::env::var_os("SUDBOX_MAKE").is_some() {
        "make bisect RESUME=1"
    } else {
        "sudbox bisect --resume"
    };
    format!("the state is saved; `{command}` continues from here")
}

/// The message for ends on two branches whose common ancestor `base` behaves like the newer end.
pub(super) fn ancestor_message(state: &BisectionState, base: &Commit) -> String {
    let (old, new) = state.old_and_new_end();
    format!(
        "{:.12} and {:.12} are on two branches, and their common ancestor {:.12} has the outcomes of \
         the second: the change is on the branch of the first; bisect between {:.12} and {:.12}",
        old.id, new.id, base.id, base.id, old.id
    )
}

/// The message for ends with equal outcomes, or with an end that could not be judged.
pub(super) fn no_difference_message(state: &BisectionState) -> String {
    let [good, bad] = [state.args.good(), state.args.bad()];
    let (good_outcomes, bad_outcomes) = (&state.ends[0].runs[0], &state.ends[1].runs[0]);
    if let (Some(reason), _) | (_, Some(reason)) = (&good_outcomes.unjudged, &bad_outcomes.unjudged)
    {
        return format!("{good} and {bad} cannot be compared: {reason}");
    }
    if let Some(name) = &state.args.bench {
        let cost_text = |outcomes: &RunOutcomes| {
            outcomes
                .case(&slowdown::case_id(name))
                .map_or_else(|| "nothing".to_owned(), |case| case.actual.clone())
        };
        return format!(
            "{name} is not slower at {bad} by more than {}: it takes {}, and {} at {good}",
            state.args.threshold,
            cost_text(bad_outcomes),
            cost_text(good_outcomes)
        );
    }
    let failed_cases = bad_outcomes.cases.iter().filter(|case| case.outcome.is_failure());
    let failed_ids: Vec<&str> = failed_cases.map(|case| case.id.as_str()).collect();
    let case_count = bad_outcomes.cases.len() - 1;
    let failures = if failed_ids.is_empty() {
        "and none fails".to_owned()
    } else {
        format!("and these fail: {}", failed_ids.join(" "))
    };
    format!(
        "nothing differs between {good} and {bad}: all {case_count} cases have the same outcome at both \
         ends, {failures}; there is no commit to find"
    )
}
