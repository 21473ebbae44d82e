// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Turns results into reports. Does no I/O.
//!
//! A [`Verdict`] is the result of judging one kernel, a [`matrix::Matrix`] of many, [`costs::Costs`] and
//! [`costs::comparison::Comparison`] are the results of measuring. Each implements [`Report`], whose
//! [`Form`]s are a file and a row each: a table for people, KTAP, JUnit, JSON, KCIDB, HTML.
//!
//! [`runs::RunList`] and [`history::History`] are about earlier runs, [`kernels::KernelList`] is about
//! kernels, [`machine::MachineReport`] about this machine, [`bisection::Bisection`] about commits.
//!
//! [`judgement`] decides what a verdict amounts to and the exit code. [`status_map`] translates outcomes
//! into the words of other tools. [`text`] makes harmless what a guest printed.

pub mod bisection;
mod console_excerpt;
pub mod costs;
mod form;
mod forms;
pub mod history;
mod html_page;
pub mod judgement;
pub mod kernels;
pub mod machine;
pub mod matrix;
pub mod runs;
#[cfg(test)]
mod schemas;
pub mod status_map;
mod terminal;
pub mod text;
pub mod verdict;

pub use form::{Form, Report};
pub use judgement::Judgement;
pub use terminal::Screen;
pub use verdict::{Bug, CaseReport, Coverage, Kernel, Outcome, Totals, Verdict};
