// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Suggestions of completion scripts for arguments that also take other values.

use crate::selection;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use std::ffi::OsStr;
use sudbox_protocol::Arch;

/// A value parser that accepts any text and lists suggestions.
#[derive(Clone, Copy)]
pub(super) struct Suggested(pub(super) fn() -> Vec<String>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// Words for `--cases`: `core`, `all`, the groups, the ids.
pub(super) fn cases() -> Vec<String> {
    let ids = selection::table().map(|case| case.id.to_owned());
    let words = ["core", "all"].map(str::to_owned);
    words.into_iter().chain(selection::groups()).chain(ids).collect()
}

/// The names of the architectures.
pub(super) fn architectures() -> Vec<String> {
    Arch::ALL.iter().map(|arch| arch.name().to_owned()).collect()
}

/// The names of the flavours.
pub(super) fn flavours() -> Vec<String> {
    ["default", "full", "debug", "kvm"].map(str::to_owned).to_vec()
}
