// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The values of `--format`.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use sudbox_report::{Form, Report};

/// A parser for the names of the forms of `T`.
pub(crate) fn form_parser<T: Report>() -> impl TypedValueParser<Value = &'static Form<T>> {
    let names = T::FORMS.iter().map(|form| PossibleValue::new(form.name).help(form.about));
    PossibleValuesParser::new(names)
        .map(|name| T::form(&name).expect("only names of forms are possible"))
}

/// The form in which the output of a program is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The output as it comes
    Text,
    /// One document at the end: output, exit status, kernel and machine
    Json,
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory as _};

    /// Verbs without `--format`: they print text for a shell or for man, or only write files.
    const WITHOUT_FORMAT: [&str; 3] = ["completions", "man", "record"];

    /// Collects the command lines of the verbs that do something: `sudbox run`, `sudbox report list`.
    fn verbs(command: &Command, line: &str, found: &mut Vec<String>) {
        if !command.is_subcommand_required_set() {
            found.push(line.to_owned());
        }
        for verb in command.get_subcommands() {
            verbs(verb, &format!("{line} {}", verb.get_name()), found);
        }
    }

    #[test]
    fn every_verb_takes_json() {
        let mut found = Vec::new();
        verbs(&Cli::command(), "sudbox", &mut found);
        assert!(found.iter().any(|line| line == "sudbox kernels prune"), "{found:?}");
        for line in found {
            if WITHOUT_FORMAT.iter().any(|verb| line.ends_with(verb)) {
                continue;
            }
            let words = line.split(' ').chain(["--format", "json"]);
            let refusal = Cli::command().try_get_matches_from(words).err();
            // Arguments that the verb requires are missing here.
            let refusal = refusal.filter(|e| e.kind() != ErrorKind::MissingRequiredArgument);
            assert!(refusal.is_none(), "{line} --format json: {refusal:?}");
        }
    }
}
