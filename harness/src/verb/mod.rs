// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The verbs of the command line, one file or folder each. No verb imports another.

pub(crate) mod bench;
pub(crate) mod bisect;
pub(crate) mod campaign;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod kernels;
pub(crate) mod kselftest;
pub(crate) mod matrix;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sandbox;
