// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report`: what is done with reports of earlier runs.

mod merge;

pub(crate) use merge::merge;
