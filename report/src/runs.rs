// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Summaries of earlier runs, and the list of runs.

use serde::{Deserialize, Serialize};

use crate::costs::Costs;
use crate::costs::comparison::{Comparison, Finding};
use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::judgement::Judgement;
use crate::matrix::Matrix;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Kernel, Printable, Verdict, text};

/// Name of the file with the [`Summary`] in the folder of a run.
pub const SUMMARY_FILE: &str = "summary.json";

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Kind"))]
pub enum RunKind {
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
    /// Random walks and points on one kernel.
    Campaign,
}

impl RunKind {
    /// The name in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunKind::Run => "run",
            RunKind::Matrix => "matrix",
            RunKind::Bench => "bench",
            RunKind::Comparison => "comparison",
            RunKind::Diff => "diff",
            RunKind::Campaign => "campaign",
        }
    }
}

/// A run in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// The kind of run.
    pub kind: RunKind,
    /// The kernel or kernels.
    pub kernel: String,
    /// The result in words.
    pub result: String,
    /// The exit code of the run.
    pub exit_code: u8,
}

impl Summary {
    /// Whether the folder of the run is kept until the user prunes it: of a matrix, or of a run that
    /// failed. The folder of any other run is removed after ten newer runs.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kind == RunKind::Matrix || self.exit_code != 0
    }
}

/// A result that has a summary.
pub trait Summarised {
    /// The result in one line.
    fn summary(&self) -> Summary;
}

/// Release (or reference), architecture and flavour of a kernel.
pub(crate) fn kernel_name(kernel: &Kernel) -> String {
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let words = [name, &kernel.arch, &kernel.flavour];
    let words: Vec<&str> =
        words.into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    words.join(", ")
}

impl Summarised for Verdict {
    fn summary(&self) -> Summary {
        let judgement = Judgement::from_verdict(self);
        let result = match &judgement {
            Judgement::AsExpected => self.coverage().to_string(),
            Judgement::Broken(count) => format!("{count} of {} broken", self.cases.len()),
            Judgement::NotAsExpected(count) => {
                format!("{count} of {} not as expected", self.cases.len())
            }
            Judgement::NotJudged(reason) => format!("not judged: {reason}"),
        };
        let (kernel, exit_code) = (kernel_name(&self.kernel), judgement.exit_code());
        Summary { kind: RunKind::Run, kernel, result, exit_code }
    }
}

impl Summarised for Matrix {
    fn summary(&self) -> Summary {
        let kernels: Vec<&str> = self.plan.cells.iter().map(|cell| cell.kernel.as_str()).collect();
        let codes: Vec<u8> =
            self.cells_with_results().map(|(_, result)| Matrix::exit_code_of(result)).collect();
        let count =
            |condition: fn(&u8) -> bool| codes.iter().filter(|code| condition(code)).count();
        let (as_expected, broken) = (count(|code| *code == 0), count(|code| *code == 1));
        let unjudged = codes.len() - as_expected - broken;
        Summary {
            kind: RunKind::Matrix,
            kernel: kernels.join(" "),
            result: format!("{as_expected} as expected, {broken} broken, {unjudged} not judged"),
            exit_code: self.exit_code(),
        }
    }
}

impl Summarised for Costs {
    fn summary(&self) -> Summary {
        let failed = self.missing.iter().filter(|cost| cost.outcome.is_failure()).count();
        Summary {
            kind: RunKind::Bench,
            kernel: kernel_name(&self.kernel),
            result: format!("{} costs, {failed} failed", self.costs.len()),
            exit_code: u8::from(failed > 0),
        }
    }
}

impl Summarised for Comparison {
    fn summary(&self) -> Summary {
        let count =
            |finding| self.compared_costs.iter().filter(|cost| cost.finding == finding).count();
        let (slower, faster) = (count(Finding::Slower), count(Finding::Faster));
        let failed = self.failed_names().count();
        Summary {
            kind: RunKind::Comparison,
            kernel: self.kernels.each_ref().map(kernel_name).join(" and "),
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
    #[serde(rename = "date")]
    pub start_time: String,
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
            render: |list, _| to_json(list),
        },
    ];
}

impl RunList {
    /// The list of these runs.
    #[must_use]
    pub fn from_runs(runs: Vec<Run>) -> RunList {
        RunList { schema: 1, runs }
    }
}

/// Width of the exit code in the table.
const EXIT_CODE_WIDTH: usize = 3;

fn render(list: &RunList, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    for run in &list.runs {
        let (kind, exit_code, description) = match &run.summary {
            None => ("-", None, "left no report".to_owned()),
            Some(summary) => {
                let description = format!("{}: {}", summary.kernel, summary.result);
                (summary.kind.as_str(), Some(summary.exit_code), description)
            }
        };
        let colour = match exit_code {
            Some(0) => Colour::Green,
            Some(1) => Colour::Red,
            _ => Colour::Yellow,
        };
        let exit_code = exit_code.map_or_else(|| "-".to_owned(), |exit_code| exit_code.to_string());
        let exit_code = writer.paint(colour, &format!("{exit_code:>EXIT_CODE_WIDTH$}"));
        let prefix = format!("{:>3}  {}  {kind:<10} ", run.number, run.start_time);
        let indent = text::width_in_columns(&prefix) + EXIT_CODE_WIDTH + 2;
        let (prefix, description) =
            (format!("{prefix}{exit_code}  "), text::escaped_line(&description));
        if screen.width() < 2 * indent {
            writer.write_line(&prefix);
            writer.write_wrapped("     ", "     ", &description);
        } else {
            writer.write_wrapped(&prefix, &" ".repeat(indent), &description);
        }
    }
    if list.runs.is_empty() {
        writer.write_line("no run has left a report");
    }
    writer.finish()
}
