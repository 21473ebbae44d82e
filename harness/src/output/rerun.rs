// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command that runs one case again on the same kernel: a make command if make started sudbox,
//! else a sudbox command.

use crate::cli::{Cli, UserOptions};
use crate::selection::BOOT_CASE;
use clap::CommandFactory as _;
use std::fmt::Write as _;
use sudbox_guest_init::bench;
use sudbox_guest_init::case::{Case, Run};

/// Options that a rerun command leaves out, because they select cases or the form of the report.
const OMITTED_OPTIONS: [&str; 7] = ["cases", "fuzz", "seed", "list", "format", "only", "compare"];

/// The verb of a rerun command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RerunVerb {
    /// `sudbox run`
    Run,
    /// `sudbox bench`
    Bench,
}

impl RerunVerb {
    fn name(self) -> &'static str {
        match self {
            RerunVerb::Run => "run",
            RerunVerb::Bench => "bench",
        }
    }

    fn make_target(self) -> &'static str {
        match self {
            RerunVerb::Run => "test-kernel",
            RerunVerb::Bench => "bench",
        }
    }
}

/// A rerun command, without the case.
#[derive(Clone, Debug)]
pub(crate) struct RerunCommand {
    command: String,
    is_for_make: bool,
    /// The options other than kernel, architecture and flavour, as on the command line.
    options: String,
}

impl RerunCommand {
    /// The command for this kernel, with all given options that `verb` takes.
    pub(crate) fn new(verb: RerunVerb, kernel: &str, user_options: &UserOptions) -> RerunCommand {
        RerunCommand::with_syntax(
            verb,
            kernel,
            user_options,
            std::env::var_os("SUDBOX_MAKE").is_some(),
        )
    }

    fn with_syntax(
        verb: RerunVerb,
        kernel: &str,
        user_options: &UserOptions,
        is_for_make: bool,
    ) -> RerunCommand {
        let cli = Cli::command();
        let command = cli.find_subcommand(verb.name());
        let verb_has_option = |name: &str| {
            let mut arguments = command.iter().flat_map(|command| command.get_arguments());
            arguments.any(|arg| arg.get_long() == Some(name))
        };
        let user_options = user_options
            .clone()
            .retaining(|name| verb_has_option(name) && !OMITTED_OPTIONS.contains(&name));
        let mut command_line = match is_for_make {
            true => format!("make {}", verb.make_target()),
            false => format!("sudbox {}", verb.name()),
        };
        if !kernel.is_empty() {
            let variable = if is_for_make { "KERNEL=" } else { "" };
            let _ = write!(command_line, " {variable}{}", shell_quoted(kernel));
        }
        command_line.push_str(&if is_for_make {
            make_variables(&user_options)
        } else {
            command_line_options(&user_options)
        });
        let shown_options = user_options.retaining(|name| !["arch", "flavour"].contains(&name));
        RerunCommand {
            command: command_line,
            is_for_make,
            options: command_line_options(&shown_options).trim_start().to_owned(),
        }
    }

    /// Adds architecture and flavour, unless they are the default.
    pub(crate) fn with_arch_and_flavour(mut self, arch: &str, flavour: &str) -> RerunCommand {
        for (name, value, default) in
            [("arch", arch, sudbox_images::Arch::default().name()), ("flavour", flavour, "default")]
        {
            if value != default {
                let _ = match self.is_for_make {
                    true => {
                        write!(self.command, " {}={}", name.to_uppercase(), shell_quoted(value))
                    }
                    false => write!(self.command, " --{name} {}", shell_quoted(value)),
                };
            }
        }
        self
    }

    /// The options other than kernel, architecture and flavour, as on the command line.
    pub(crate) fn options(&self) -> &str {
        &self.options
    }

    /// The command for this case.
    pub(crate) fn for_case(&self, case: &Case) -> String {
        match (case.run, self.is_for_make) {
            (Run::Walk([seed]), true) => format!("{} FUZZ=1 SEED={seed}", self.command),
            (Run::Walk([seed]), false) => format!("{} --fuzz 1 --seed {seed}", self.command),
            _ => self.with_case(case.id),
        }
    }

    /// The command for the case about booting.
    pub(crate) fn for_boot(&self) -> String {
        self.with_case(BOOT_CASE)
    }

    fn with_case(&self, id: &str) -> String {
        let (option, id) = match (id.strip_prefix(bench::PREFIX), self.is_for_make) {
            (Some(name), true) => ("BENCH=", name),
            (Some(name), false) => ("--only ", name),
            (None, true) => ("CASES=", id),
            (None, false) => ("--cases ", id),
        };
        format!("{} {option}{id}", self.command)
    }
}

/// The options as on the command line, each after a space.
fn command_line_options(user_options: &UserOptions) -> String {
    let mut text = String::new();
    for option in user_options.iter() {
        if option.values.is_empty() {
            let _ = write!(text, " --{}", option.name);
        }
        for value in &option.values {
            let _ = write!(text, " --{} {}", option.name, shell_quoted(value));
        }
    }
    text
}

/// The options as make variables, each after a space. An option without a variable is left out:
/// make cannot pass it to sudbox.
fn make_variables(user_options: &UserOptions) -> String {
    let mut text = String::new();
    for option in user_options.iter() {
        if let (Some(variable), Some(value)) = (&option.make_variable, option.values.first()) {
            let _ = write!(text, " {variable}={}", shell_quoted(value));
        }
    }
    text
}

/// The `sudbox matrix` command without `--shard`, `--list` and `--format`.
pub(crate) fn matrix_command(user_options: &UserOptions) -> String {
    let mut user_options =
        user_options.clone().retaining(|name| !["shard", "list", "format"].contains(&name));
    let lists: Vec<(String, String)> = user_options
        .iter()
        .filter(|option| ["kernels", "arches", "flavours"].contains(&&*option.name))
        .map(|option| (option.name.clone(), option.values.join(" ")))
        .collect();
    for (name, words) in lists {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        user_options.replace_values(&name, vec![words]);
    }
    format!("sudbox matrix{}", command_line_options(&user_options))
}

/// Quotes a word for a shell, if necessary.
fn shell_quoted(word: &str) -> String {
    let needs_no_quotes = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(needs_no_quotes) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rerun(line: &str, is_for_make: bool) -> RerunCommand {
        RerunCommand::with_syntax(RerunVerb::Run, "6.12", &UserOptions::of_line(line), is_for_make)
    }

    #[test]
    fn every_option_that_was_given_is_repeated() {
        let line = "sudbox run 6.12 --cases core --memory 512 --timeout 9 --repeat 2 --strict \
                    --append a=1 --patches x.mbox --patches y";
        let rerun = rerun(line, false);
        assert_eq!(
            rerun.for_boot(),
            "sudbox run 6.12 --strict --repeat 2 --timeout 9 --patches x.mbox --patches y \
             --memory 512 --append a=1 --cases boot/reaches-init"
        );
        assert!(rerun.options().starts_with("--strict --repeat 2"), "{}", rerun.options());
    }

    #[test]
    fn the_options_of_the_report_are_without_architecture_and_flavour() {
        let rerun = rerun("sudbox run --arch aarch64 --flavour full", false);
        assert_eq!(rerun.options(), "");
        assert!(
            rerun.for_boot().starts_with("sudbox run 6.12 --arch aarch64 --flavour full --cases")
        );
    }

    #[test]
    fn a_command_for_make_sets_the_variables_of_options() {
        let rerun = rerun("sudbox run 6.12 --flavour full --append a", true);
        assert_eq!(
            rerun.for_boot(),
            "make test-kernel KERNEL=6.12 APPEND=a FLAVOUR=full CASES=boot/reaches-init"
        );
    }

    #[test]
    fn options_of_a_matrix_are_repeated_for_one_of_its_kernels() {
        let user_options =
            UserOptions::of_line("sudbox matrix --kernels 6.12 --cpus 2 --shard 1/2");
        let rerun = RerunCommand::with_syntax(RerunVerb::Run, "6.12", &user_options, false)
            .with_arch_and_flavour("aarch64", "default");
        assert_eq!(
            rerun.for_boot(),
            "sudbox run 6.12 --cpus 2 --arch aarch64 --cases boot/reaches-init"
        );
        assert_eq!(matrix_command(&user_options), "sudbox matrix --kernels 6.12 --cpus 2");
    }

    #[test]
    fn a_shell_reads_quoted_words_unchanged() {
        assert_eq!(shell_quoted("~/src"), "'~/src'");
        assert_eq!(shell_quoted("v6.12"), "v6.12");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
