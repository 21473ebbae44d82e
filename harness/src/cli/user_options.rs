// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The options that the user gave, on the command line or by a variable of make.

use super::{BUILD_HEADING, VM_HEADING};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::{Deserialize, Serialize};

/// Prefix of the environment variables in which the Makefile passes make variables to sudbox.
const VARIABLE_PREFIX: &str = "SUDBOX_";

/// The subject of an option: its heading in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OptionSubject {
    /// VMs.
    Vm,
    /// The build of a kernel.
    Build,
    /// Any other subject.
    Other,
}

/// An option that the user gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserOption {
    /// The long name, without dashes.
    pub(crate) name: String,
    /// The make variable of the option, if it has one.
    #[serde(rename = "variable")]
    pub(crate) make_variable: Option<String>,
    pub(crate) subject: OptionSubject,
    /// The values; none for a flag.
    pub(crate) values: Vec<String>,
}

/// All options that the user gave to a verb, in the order of the help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserOptions(Vec<UserOption>);

impl UserOptions {
    /// The options that were given for the verb, from the matches of the whole command line.
    pub(crate) fn from_matches(command: &Command, matches: &ArgMatches) -> UserOptions {
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            return UserOptions::from_matches(command, matches);
        }
        UserOptions(command.get_arguments().filter_map(|arg| user_option(arg, matches)).collect())
    }

    /// All options that were given.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &UserOption> {
        self.0.iter()
    }

    /// The first given option with this subject whose name is not in `except`. Returns the name with
    /// dashes, such as `--cc`.
    pub(crate) fn first_with_subject(
        &self,
        subject: OptionSubject,
        except: &[&str],
    ) -> Option<String> {
        let is_wanted =
            |option: &&UserOption| option.subject == subject && !except.contains(&&*option.name);
        self.0.iter().find(is_wanted).map(|option| format!("--{}", option.name))
    }

    /// Keeps only the options whose name is accepted.
    pub(crate) fn retaining(mut self, accept: impl Fn(&str) -> bool) -> UserOptions {
        self.0.retain(|option| accept(&option.name));
        self
    }

    /// Replaces the values of the option of this name, if it was given.
    pub(crate) fn replace_values(&mut self, name: &str, values: Vec<String>) {
        if let Some(option) = self.0.iter_mut().find(|option| option.name == name) {
            option.values = values;
        }
    }
}

/// The option of `arg`; `None` if the user did not give it, or if it is an option of all verbs.
fn user_option(arg: &Arg, matches: &ArgMatches) -> Option<UserOption> {
    if arg.is_global_set() {
        return None;
    }
    let name = arg.get_long()?.to_owned();
    let id = arg.get_id().as_str();
    if matches.value_source(id).is_none_or(|source| source == ValueSource::DefaultValue) {
        return None;
    }
    let values = match arg.get_action() {
        ArgAction::SetTrue => {
            if !matches.get_flag(id) {
                return None;
            }
            Vec::new()
        }
        _ => matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned()).collect(),
    };
    let env_name = arg.get_env().and_then(|name| name.to_str());
    let make_variable = env_name.and_then(|name| name.strip_prefix(VARIABLE_PREFIX));
    let subject = match arg.get_help_heading() {
        Some(VM_HEADING) => OptionSubject::Vm,
        Some(BUILD_HEADING) => OptionSubject::Build,
        _ => OptionSubject::Other,
    };
    Some(UserOption { name, make_variable: make_variable.map(str::to_owned), subject, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    impl UserOptions {
        /// The options that a command line gives.
        pub(crate) fn of_line(line: &str) -> UserOptions {
            let mut command = Cli::command();
            let matches = command.clone().get_matches_from(line.split(' '));
            command.build();
            UserOptions::from_matches(&command, &matches)
        }
    }

    #[test]
    fn options_have_values_subject_and_variable() {
        let user_options = UserOptions::of_line(
            "sudbox run 6.12 --memory 512 --strict --config a --config b --cc clang",
        );
        let names: Vec<&str> = user_options.iter().map(|option| &*option.name).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        let of = |name: &str| user_options.iter().find(|option| option.name == name).unwrap();
        assert_eq!((of("memory").subject, &of("memory").make_variable), (OptionSubject::Vm, &None));
        assert!(of("strict").values.is_empty());
        assert_eq!(of("config").values, ["a", "b"]);
        assert_eq!(of("cc").make_variable.as_deref(), Some("CC"));
        assert_eq!(
            user_options.first_with_subject(OptionSubject::Build, &["config"]).as_deref(),
            Some("--cc")
        );
    }

    #[test]
    fn options_with_default_values_are_not_given() {
        assert_eq!(UserOptions::of_line("sudbox run"), UserOptions::default());
        assert_eq!(UserOptions::of_line("sudbox report list"), UserOptions::default());
    }
}
