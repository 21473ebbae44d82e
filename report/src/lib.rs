//! A verdict and its forms. Turns a [`Verdict`] into text and does no I/O.
//!
//! One file per form: [`table`] for people, [`ktap`] for kernel tooling, [`junit`] for CI servers,
//! [`json`] for scripts, [`kcidb`] for the community's database, [`annotations`] for a CI's page;
//! [`matrix`] has the forms of many verdicts, [`costs`] what dispatch costs and the forms of that.
//! [`words`] is the one table between our outcomes and theirs, [`text`] the one place where what a guest
//! said is made harmless, [`judgement`] the one that decides what it all comes to and with which code the
//! process ends.

pub mod annotations;
pub mod costs;
pub mod json;
pub mod judgement;
pub mod junit;
pub mod kcidb;
pub mod ktap;
pub mod matrix;
mod page;
pub mod table;
mod telling;
pub mod text;
pub mod verdict;
pub mod words;

pub use judgement::{Judgement, exit_code};
pub use verdict::{CaseReport, Kernel, Outcome, Totals, Verdict};

/// What the forms need to know beyond the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the table may use colour: the caller knows about terminals and `NO_COLOR`.
    pub colour: bool,
    /// Whether `fixed` and `unmet` count as not expected (`--strict`).
    pub strict: bool,
    /// Whether `boot/reaches-init` was selected: if not, a kernel that does not boot is not
    /// judged instead of being at fault.
    pub boot_selected: bool,
}
