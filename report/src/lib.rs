// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Turns results into reports. Does no I/O.
//!
//! A [`Verdict`] is the result of judging one kernel, a [`matrix::Matrix`] the result of judging many.
//! [`diff::Diff`] is the comparison of the behaviour of two kernels. [`costs::Costs`] and
//! [`costs::comparison::Comparison`] are results of measuring. Each implements [`Report`] and has
//! several [`Form`]s, such as a table, KTAP, JUnit, JSON, KCIDB and HTML. Each form has a file of this
//! crate and a row in a list of forms, [`Report::FORMS`].
//!
//! [`runs::RunList`] and [`history::History`] are about earlier runs, [`kernels::KernelList`] is about
//! kernels, [`machine::MachineReport`] about this machine, [`bisection::Bisection`] about commits, [`pruned`]
//! about what was removed. [`program::ProgramReport`] and [`selftests::SelftestReport`] have the output of
//! programs.
//!
//! [`judgement`] decides the overall result of a verdict and the exit code. [`status_map`] translates
//! outcomes into the results of other tools' formats. [`text`] escapes text of strangers; a rendered report is a
//! [`Printable`], which the escaping functions alone can make.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)
)]

pub mod bisection;
pub mod campaign;
pub mod case_list;
mod case_measurement;
mod console_excerpt;
pub mod costs;
pub mod diff;
mod form;
mod forms;
pub mod history;
mod html_page;
pub mod judgement;
pub mod kernels;
pub mod machine;
pub mod matrix;
pub mod program;
pub mod pruned;
pub mod runs;
#[cfg(test)]
mod schemas;
pub mod selftests;
pub mod status_map;
mod terminal;
pub mod text;
pub mod verdict;

pub use case_measurement::{CaseMeasurement, FunctionCost};
pub use form::{Form, Report};
pub use forms::json::to_json;
pub use judgement::Judgement;
pub use terminal::Screen;
pub use text::Printable;
pub use verdict::{
    Bug, CaseReport, Coverage, Kernel, Outcome, RecordingComparison, Totals, Verdict,
};
