// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Summaries of earlier runs, and the list of runs.

use serde::{Deserialize, Serialize};

use crate::costs::Costs;
use crate::costs::comparison::{Comparison, Finding};
use crate::form::{Form, Report};
use crate::forms::json::pretty;
use crate::judgement::Judgement;
use crate::matrix::Matrix;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Kernel, Verdict, text};

/// Name of the file with the [`Summary`] in the folder of a run.
pub const SUMMARY_FILE: &str = "summary.json";

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Kind {
    /// A verdict on one kernel.
    Run,
    /// Verdicts on many kernels.
    Matrix,
    /// Costs on one kernel.
    Bench,
    /// Costs on two kernels, compared.
    Comparison,
    /// The behaviour of two kernels, compared.
    Diff,
}

impl Kind {
    /// The name in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Matrix => "matrix",
            Kind::Bench => "bench",
            Kind::Comparison => "comparison",
            Kind::Diff => "diff",
        }
    }
}

/// A run in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// The kind of run.
    pub kind: Kind,
    /// The kernel or kernels.
    pub kernel: String,
    /// The result in words.
    pub result: String,
    /// The exit code of the run.
    pub exit_code: u8,
}

impl Summary {
    /// Whether the folder of the run is kept until the user prunes it. Folders of other runs are removed
    /// when there are enough newer ones.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.kind == Kind::Matrix || self.exit_code != 0
    }
}

/// A result that has a summary.
pub trait Summarised {
    /// The result in one line.
    fn summary(&self) -> Summary;
}

/// Release (or reference), architecture and flavour of a kernel.
fn name(kernel: &Kernel) -> String {
    let first = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let words = [first, &kernel.arch, &kernel.flavour];
    let words: Vec<&str> =
        words.into_iter().map(String::as_str).filter(|w| !w.is_empty()).collect();
    words.join(", ")
}

impl Summarised for Verdict {
    fn summary(&self) -> Summary {
        let judgement = Judgement::of(self);
        let result = match &judgement {
            Judgement::Kept => self.coverage().to_string(),
            Judgement::Broken(n) => format!("{n} of {} broken", self.cases.len()),
            Judgement::Surprised(n) => format!("{n} of {} not as expected", self.cases.len()),
            Judgement::NotJudged(reason) => format!("not judged: {reason}"),
        };
        let (kernel, exit_code) = (name(&self.kernel), judgement.exit_code());
        Summary { kind: Kind::Run, kernel, result, exit_code }
    }
}

impl Summarised for Matrix {
    fn summary(&self) -> Summary {
        let kernels: Vec<&str> = self.plan.cells.iter().map(|cell| cell.kernel.as_str()).collect();
        let codes: Vec<u8> = self.cells().map(|(_, found)| Matrix::exit_code_of(found)).collect();
        let count = |wanted: fn(&u8) -> bool| codes.iter().filter(|code| wanted(code)).count();
        let (kept, broken) = (count(|code| *code == 0), count(|code| *code == 1));
        let unjudged = codes.len() - kept - broken;
        Summary {
            kind: Kind::Matrix,
            kernel: kernels.join(" "),
            result: format!("{kept} as expected, {broken} broken, {unjudged} not judged"),
            exit_code: self.exit_code(),
        }
    }
}

impl Summarised for Costs {
    fn summary(&self) -> Summary {
        let failed = self.lacks.iter().filter(|lack| lack.outcome.is_failure()).count();
        Summary {
            kind: Kind::Bench,
            kernel: name(&self.kernel),
            result: format!("{} costs, {failed} failed", self.costs.len()),
            exit_code: u8::from(failed > 0),
        }
    }
}

impl Summarised for Comparison {
    fn summary(&self) -> Summary {
        let count = |finding| self.lines.iter().filter(|line| line.finding == finding).count();
        let (slower, faster) = (count(Finding::Slower), count(Finding::Faster));
        let failed = self.failed().count();
        Summary {
            kind: Kind::Comparison,
            kernel: self.kernels.each_ref().map(name).join(" and "),
            result: format!("{slower} slower, {faster} faster, {failed} failed"),
            exit_code: u8::from(slower + failed > 0),
        }
    }
}

/// A run with a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// The number in the list; 1 is the newest run.
    pub number: usize,
    /// Start of the run in UTC, as in `2026-11-29 19:43`.
    pub date: String,
    /// The folder.
    pub folder: String,
    /// The summary, if the run left a report.
    #[serde(flatten)]
    pub summary: Option<Summary>,
}

/// The runs with folders, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunList {
    /// Version of the schema.
    pub schema: u32,
    /// The runs.
    pub runs: Vec<Run>,
}

impl Report for RunList {
    const FORMS: &'static [Form<RunList>] = &[
        Form { name: "table", about: "For people", file_name: "runs.txt", render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "runs.json",
            render: |list, _| pretty(list),
        },
    ];
}

impl RunList {
    /// The list of these runs.
    #[must_use]
    pub fn of(runs: Vec<Run>) -> RunList {
        RunList { schema: 1, runs }
    }
}

/// Width of the exit code in the table.
const CODE_COLUMNS: usize = 3;

fn render(list: &RunList, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    for run in &list.runs {
        let (kind, code, words) = match &run.summary {
            None => ("-", None, "left no report".to_owned()),
            Some(summary) => {
                let words = format!("{}: {}", summary.kernel, summary.result);
                (summary.kind.as_str(), Some(summary.exit_code), words)
            }
        };
        let colour = match code {
            Some(0) => Colour::Green,
            Some(1) => Colour::Red,
            _ => Colour::Yellow,
        };
        let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let code = writer.paint(colour, &format!("{code:>CODE_COLUMNS$}"));
        let first = format!("{:>3}  {}  {kind:<10} ", run.number, run.date);
        let indent = text::columns(&first) + CODE_COLUMNS + 2;
        let (first, words) = (format!("{first}{code}  "), text::line(&words));
        if screen.width() < 2 * indent {
            writer.line(&first);
            writer.wrapped("     ", "     ", &words);
        } else {
            writer.wrapped(&first, &" ".repeat(indent), &words);
        }
    }
    if list.runs.is_empty() {
        writer.line("no run has left a report");
    }
    writer.finish()
}
