//! A verdict and its forms. Turns a [`Verdict`] into text and does no I/O.

pub mod verdict;

pub use verdict::{CaseReport, Kernel, Outcome, Totals, Verdict};
