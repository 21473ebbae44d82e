// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for a browser: one HTML page without a script. It has, in this order, failures with their logs
//! and consoles, recorded bugs with explanations, cases that were not tested, and passes.

use std::fmt::Write as _;

use super::table::success_claim;
use crate::form::Form;
use crate::html_page::{self, CASES_STYLE, escape_html};
use crate::judgement::Judgement;
use crate::{CaseReport, Outcome, Printable, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "html",
    about: "A page for a browser",
    file_name: "report.html",
    render: |verdict, _| render(verdict),
};

fn render(verdict: &Verdict) -> Printable {
    let kernel = &verdict.kernel;
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let title = format!("Syscall User Dispatch on Linux {}", text::escaped_line(name));
    let mut body = String::new();
    push_conclusion(&mut body, verdict);
    push_facts(&mut body, verdict);
    push_section(&mut body, "failures", "What failed", &failure_elements(verdict));
    push_section(
        &mut body,
        "known",
        "Recorded bugs of this kernel",
        &bug_elements(verdict, Outcome::Known),
    );
    push_section(
        &mut body,
        "fixed",
        "Recorded bugs that no longer show",
        &bug_elements(verdict, Outcome::Fixed),
    );
    let unmet = cases_by_reason(verdict, Outcome::Unmet);
    push_section(&mut body, "unmet", "Not tested: the machine lacks what it needs", &unmet);
    let absent = cases_by_reason(verdict, Outcome::Absent);
    push_section(
        &mut body,
        "absent",
        "Not tested: the kernel does not offer it, as expected",
        &absent,
    );
    push_section(&mut body, "passes", "What passed", &passes_by_group(verdict));
    html_page::render_page(&title, CASES_STYLE, None, &body)
}

/// Escapes text of the guest into one line of HTML.
fn escaped_html_line(text: &str) -> String {
    escape_html(&text::escaped_line(text))
}

/// Adds a heading and its content. Adds nothing if the content is empty.
fn push_section(body: &mut String, id: &str, heading: &str, content: &str) {
    if !content.is_empty() {
        let _ = write!(body, "<h2>{heading}</h2>\n<div id=\"{id}\">\n{content}</div>\n");
    }
}

fn push_conclusion(body: &mut String, verdict: &Verdict) {
    let judgement = Judgement::from_verdict(verdict);
    let class = judgement.as_str();
    let (headline, details) = match &judgement {
        Judgement::AsExpected => ("as expected".to_owned(), success_claim(verdict)),
        Judgement::Broken(count) => (format!("{count} broken"), verdict.coverage().to_string()),
        Judgement::NotAsExpected(count) => {
            (format!("{count} not as expected"), "fixed or unmet, with --strict".to_owned())
        }
        Judgement::NotJudged(reason) => ("not judged".to_owned(), text::escaped_line(reason)),
    };
    let details = escape_html(&details);
    let _ = writeln!(
        body,
        r#"<p id="verdict" class="wrap"><span class="word {class}">{headline}</span> {details}</p>"#
    );
}

/// Renders a definition list. Leaves out rows without a value.
fn definition_list(pairs: &[(&str, String)]) -> String {
    let mut out = String::from("<dl>\n");
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "<dt>{name}</dt><dd class=\"wrap\">{value}</dd>");
    }
    out + "</dl>\n"
}

/// A preformatted block of lines; empty if there are no lines.
fn preformatted(lines: &[String]) -> String {
    if lines.is_empty() {
        String::new()
    } else {
        format!("<pre>{}</pre>", escape_html(&lines.join("\n")))
    }
}

fn push_facts(body: &mut String, verdict: &Verdict) {
    let kernel = &verdict.kernel;
    let guest: Vec<String> =
        verdict.guest_facts.iter().map(|fact| text::escaped_line(fact)).collect();
    let vms = format!(
        "{} booted, {} restored, {} ms; sudbox {}",
        verdict.boots,
        verdict.restored,
        verdict.duration_millis,
        escaped_html_line(&verdict.sudbox_version)
    );
    let recorded =
        verdict.comparison.as_ref().map(|comparison| escaped_html_line(&comparison.summary()));
    body.push_str(&definition_list(&[
        ("date", escaped_html_line(&verdict.start_time)),
        ("kernel", escaped_html_line(&kernel.reference)),
        ("architecture", escaped_html_line(&kernel.arch)),
        ("flavour", escaped_html_line(&kernel.flavour)),
        ("stands in", escaped_html_line(kernel.substitution_note.as_deref().unwrap_or_default())),
        ("source", escaped_html_line(&kernel.source)),
        ("options", escaped_html_line(&verdict.options)),
        ("machine", escaped_html_line(&verdict.machine)),
        ("guest", preformatted(&guest)),
        ("recorded", recorded.unwrap_or_default()),
        ("VMs", vms),
    ]));
}

/// A foldable element with all fields of a case.
fn case_element(case: &CaseReport, open: bool) -> String {
    let log: Vec<String> = case.log.iter().flat_map(|entry| text::escaped_lines(entry)).collect();
    let console = case.console.as_deref().map(text::escaped_lines).unwrap_or_default();
    let outcome = case.outcome.as_str();
    let rows = definition_list(&[
        ("promise", escaped_html_line(&case.promise)),
        ("kernel", escaped_html_line(&case.kernel_function)),
        ("expected", escaped_html_line(&case.expected)),
        ("got", escaped_html_line(&case.detail)),
        ("log", preformatted(&log)),
        ("console", preformatted(&console)),
        ("again", format!("<code>{}</code>", escaped_html_line(&case.rerun))),
    ]);
    let open = if open { " open" } else { "" };
    let id = escaped_html_line(&case.id);
    format!(
        "<details{open}><summary><span class=\"word {outcome}\">{outcome}</span> {id}</summary>\n\
         {rows}</details>\n"
    )
}

/// The cases with an outcome.
fn cases_with_outcome(verdict: &Verdict, outcome: Outcome) -> impl Iterator<Item = &CaseReport> {
    verdict.cases.iter().filter(move |case| case.outcome == outcome)
}

fn failure_elements(verdict: &Verdict) -> String {
    let failures = Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure());
    failures
        .flat_map(|outcome| cases_with_outcome(verdict, outcome))
        .map(|case| case_element(case, true))
        .collect()
}

/// The recorded bugs of the cases with an outcome, each with its citation and its cases.
fn bug_elements(verdict: &Verdict, outcome: Outcome) -> String {
    let mut bugs: Vec<(String, String, Vec<&CaseReport>)> = Vec::new();
    for case in cases_with_outcome(verdict, outcome) {
        // Reports of older versions have the bug only in the text of the actual result.
        let (id, citation) = match &case.bug {
            Some(bug) => (escaped_html_line(&bug.id), escaped_html_line(&bug.citation)),
            None => (String::new(), escaped_html_line(&case.detail)),
        };
        match bugs.iter_mut().find(|bug| bug.0 == id && bug.1 == citation) {
            Some(bug) => bug.2.push(case),
            None => bugs.push((id, citation, vec![case])),
        }
    }
    let mut out = String::new();
    for (id, citation, cases) in bugs {
        let _ = writeln!(out, "<h3>{id}</h3>\n<p class=\"wrap\">{citation}</p>");
        out.extend(cases.into_iter().map(|case| case_element(case, false)));
    }
    out
}

/// The cases with an outcome, grouped by reason.
fn cases_by_reason(verdict: &Verdict, outcome: Outcome) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for case in cases_with_outcome(verdict, outcome) {
        let entry = format!(
            "<li class=\"wrap\">{}: {}</li>\n",
            escaped_html_line(&case.id),
            escaped_html_line(&case.promise)
        );
        match reasons.iter_mut().find(|(reason, _)| *reason == case.detail) {
            Some((_, entries)) => entries.push(entry),
            None => reasons.push((&case.detail, vec![entry])),
        }
    }
    let mut out = String::new();
    for (reason, entries) in reasons {
        let reason = escaped_html_line(reason);
        let _ = writeln!(out, "<p class=\"wrap\">{reason}</p>\n<ul>\n{}</ul>", entries.concat());
    }
    out
}

/// The passed cases, folded by group.
fn passes_by_group(verdict: &Verdict) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for case in cases_with_outcome(verdict, Outcome::Pass) {
        let entry = format!(
            "<li class=\"wrap\">{}: {}</li>\n",
            escaped_html_line(&case.id),
            escaped_html_line(&case.promise)
        );
        match groups.iter_mut().find(|(group, _)| *group == case.group()) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((case.group(), vec![entry])),
        }
    }
    let mut out = String::new();
    for (group, entries) in groups {
        let (group, count) = (escaped_html_line(group), entries.len());
        let _ = writeln!(
            out,
            "<details><summary><span class=\"word pass\">pass</span> {group}: {count}</summary>\n\
             <ul>\n{}</ul></details>",
            entries.concat()
        );
    }
    out
}
