// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report`: the reports of earlier runs.

mod history;
mod list;
mod merge;
mod prune;
mod show;

pub(crate) use history::history;
pub(crate) use list::list;
pub(crate) use merge::merge;
pub(crate) use prune::prune;
pub(crate) use show::show;
