// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for a browser: one HTML page without a script. It has, in this order, failures with their logs
//! and consoles, recorded bugs with explanations, cases that were not tested, and passes.

use std::fmt::Write as _;

use super::table::claim;
use crate::form::Form;
use crate::html_page::{self, STYLE, escaped};
use crate::judgement::Judgement;
use crate::{CaseReport, Outcome, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "html",
    about: "A page for a browser",
    file_name: "report.html",
    render: |verdict, _| render(verdict),
};

fn render(verdict: &Verdict) -> String {
    let kernel = &verdict.kernel;
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let title = format!("Syscall User Dispatch on Linux {}", text::line(name));
    let mut body = String::new();
    conclusion(&mut body, verdict);
    facts(&mut body, verdict);
    section(&mut body, "failures", "What failed", &failures(verdict));
    section(&mut body, "known", "Recorded bugs of this kernel", &bugs(verdict, Outcome::Known));
    section(
        &mut body,
        "fixed",
        "Recorded bugs that no longer show",
        &bugs(verdict, Outcome::Fixed),
    );
    let unmet = by_reason(verdict, Outcome::Unmet);
    section(&mut body, "unmet", "Not tested: the machine lacks what it needs", &unmet);
    let absent = by_reason(verdict, Outcome::Absent);
    section(&mut body, "absent", "Not tested: the kernel does not offer it, as expected", &absent);
    section(&mut body, "passes", "What passed", &passes(verdict));
    html_page::page(&title, STYLE, None, &body)
}

/// Escapes text of the guest into one line of HTML.
fn line(text: &str) -> String {
    escaped(&text::line(text))
}

/// Adds a heading and its content; nothing if the content is empty.
fn section(body: &mut String, id: &str, heading: &str, content: &str) {
    if !content.is_empty() {
        let _ = write!(body, "<h2>{heading}</h2>\n<div id=\"{id}\">\n{content}</div>\n");
    }
}

fn conclusion(body: &mut String, verdict: &Verdict) {
    let judgement = Judgement::of(verdict);
    let class = judgement.as_str();
    let (word, rest) = match &judgement {
        Judgement::Kept => ("as expected".to_owned(), claim(verdict)),
        Judgement::Broken(n) => (format!("{n} broken"), verdict.coverage().to_string()),
        Judgement::Surprised(n) => {
            (format!("{n} not as expected"), "fixed or unmet, with --strict".to_owned())
        }
        Judgement::NotJudged(reason) => ("not judged".to_owned(), text::line(reason)),
    };
    let rest = escaped(&rest);
    let _ = writeln!(
        body,
        r#"<p id="verdict" class="wrap"><span class="word {class}">{word}</span> {rest}</p>"#
    );
}

/// A definition list. Leaves out rows without a value.
fn rows(pairs: &[(&str, String)]) -> String {
    let mut out = String::from("<dl>\n");
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "<dt>{name}</dt><dd class=\"wrap\">{value}</dd>");
    }
    out + "</dl>\n"
}

/// A preformatted block of lines; empty if there are no lines.
fn block(lines: &[String]) -> String {
    if lines.is_empty() {
        String::new()
    } else {
        format!("<pre>{}</pre>", escaped(&lines.join("\n")))
    }
}

fn facts(body: &mut String, verdict: &Verdict) {
    let kernel = &verdict.kernel;
    let guest: Vec<String> = verdict.guest.iter().map(|fact| text::line(fact)).collect();
    let vms = format!(
        "{} booted, {} restored, {} ms; sudbox {}",
        verdict.boots,
        verdict.restored,
        verdict.millis,
        line(&verdict.sudbox)
    );
    body.push_str(&rows(&[
        ("date", line(&verdict.date)),
        ("kernel", line(&kernel.reference)),
        ("architecture", line(&kernel.arch)),
        ("flavour", line(&kernel.flavour)),
        ("stands in", line(kernel.stands_in.as_deref().unwrap_or_default())),
        ("source", line(&kernel.source)),
        ("options", line(&verdict.options)),
        ("machine", line(&verdict.machine)),
        ("guest", block(&guest)),
        ("VMs", vms),
    ]));
}

/// A foldable element with all fields of a case.
fn case(case: &CaseReport, open: bool) -> String {
    let log: Vec<String> = case.log.iter().flat_map(|entry| text::lines(entry)).collect();
    let console = case.console.as_deref().map(text::lines).unwrap_or_default();
    let word = case.outcome.as_str();
    let rows = rows(&[
        ("promise", line(&case.promise)),
        ("kernel", line(&case.kernel_function)),
        ("expected", line(&case.expected)),
        ("got", line(&case.got)),
        ("log", block(&log)),
        ("console", block(&console)),
        ("again", format!("<code>{}</code>", line(&case.rerun))),
    ]);
    let open = if open { " open" } else { "" };
    let id = line(&case.id);
    format!(
        "<details{open}><summary><span class=\"word {word}\">{word}</span> {id}</summary>\n\
         {rows}</details>\n"
    )
}

/// The cases with an outcome.
fn cases_with(verdict: &Verdict, outcome: Outcome) -> impl Iterator<Item = &CaseReport> {
    verdict.cases.iter().filter(move |case| case.outcome == outcome)
}

fn failures(verdict: &Verdict) -> String {
    let failed = Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure());
    failed
        .flat_map(|outcome| cases_with(verdict, outcome))
        .map(|failed| case(failed, true))
        .collect()
}

/// The recorded bugs of the cases with an outcome, each with its citation and its cases.
fn bugs(verdict: &Verdict, outcome: Outcome) -> String {
    let mut bugs: Vec<(String, String, Vec<&CaseReport>)> = Vec::new();
    for case in cases_with(verdict, outcome) {
        // Reports of older versions have the bug only in `got`.
        let (id, citation) = match &case.bug {
            Some(bug) => (line(&bug.id), line(&bug.citation)),
            None => (String::new(), line(&case.got)),
        };
        match bugs.iter_mut().find(|bug| bug.0 == id && bug.1 == citation) {
            Some(bug) => bug.2.push(case),
            None => bugs.push((id, citation, vec![case])),
        }
    }
    let mut out = String::new();
    for (id, citation, cases) in bugs {
        let _ = writeln!(out, "<h3>{id}</h3>\n<p class=\"wrap\">{citation}</p>");
        out.extend(cases.into_iter().map(|shown| case(shown, false)));
    }
    out
}

/// The cases with an outcome, grouped by reason.
fn by_reason(verdict: &Verdict, outcome: Outcome) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for case in cases_with(verdict, outcome) {
        let entry =
            format!("<li class=\"wrap\">{}: {}</li>\n", line(&case.id), line(&case.promise));
        match reasons.iter_mut().find(|(reason, _)| *reason == case.got) {
            Some((_, entries)) => entries.push(entry),
            None => reasons.push((&case.got, vec![entry])),
        }
    }
    let mut out = String::new();
    for (reason, entries) in reasons {
        let reason = line(reason);
        let _ = writeln!(out, "<p class=\"wrap\">{reason}</p>\n<ul>\n{}</ul>", entries.concat());
    }
    out
}

/// The passed cases, folded by group.
fn passes(verdict: &Verdict) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for case in cases_with(verdict, Outcome::Pass) {
        let entry =
            format!("<li class=\"wrap\">{}: {}</li>\n", line(&case.id), line(&case.promise));
        match groups.iter_mut().find(|(group, _)| *group == case.group()) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((case.group(), vec![entry])),
        }
    }
    let mut out = String::new();
    for (group, entries) in groups {
        let (group, count) = (line(group), entries.len());
        let _ = writeln!(
            out,
            "<details><summary><span class=\"word pass\">pass</span> {group}: {count}</summary>\n\
             <ul>\n{}</ul></details>",
            entries.concat()
        );
    }
    out
}
