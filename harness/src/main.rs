// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The `sudbox` command.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)
)]

mod arch;
mod backend;
mod behaviour;
mod capacity;
mod cli;
mod execute;
mod expectations;
mod failure;
mod guest;
mod interrupt;
mod judge;
mod kernel;
mod known_bugs;
mod measure;
mod output;
mod program;
mod recordings;
mod running;
mod selection;
mod session;
mod setup;
mod symbols;
mod verb;
mod version;

use clap::{CommandFactory as _, FromArgMatches as _};
use cli::{Cli, ReportVerb, SandboxVerb, UserOptions, Verb};
use failure::Code;
use std::process::ExitCode;
use verb::{
    bench, bisect, campaign, completions, diff, doctor, exec, kernels, kselftest, matrix, record,
    report, run, sandbox,
};

fn main() -> ExitCode {
    match completions::answer_completion_script() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return print_error(&error),
    }
    let (cli, user_options) = match parse_command_line() {
        Ok(parsed) => parsed,
        Err(error) => {
            // clap reports --help and --version as errors, too.
            return match output::print_clap_message(&error) {
                Err(error) => print_error(&error),
                Ok(()) if error.use_stderr() => ExitCode::from(Code::Usage as u8),
                Ok(()) => ExitCode::SUCCESS,
            };
        }
    };
    output::set_verbosity(cli.quiet, cli.verbose);
    // 101, the exit code of a panic in Rust, would mean a bad commit to `git bisect run`.
    std::panic::set_hook(Box::new(|panic| {
        output::stderr_line(&format!("sudbox: a fault of sudbox, not of the kernel: {panic}"));
    }));
    match std::panic::catch_unwind(|| run_verb(&cli.verb, &user_options)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => print_error(&error),
        Err(_) => ExitCode::from(Code::Machine as u8),
    }
}

/// Prints an error. Returns its exit code.
fn print_error(error: &anyhow::Error) -> ExitCode {
    output::stderr_line(&format!("sudbox: {error:#}"));
    ExitCode::from(failure::error_code(error) as u8)
}

/// Parses the command line.
fn parse_command_line() -> Result<(Cli, UserOptions), clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, UserOptions::from_matches(&command, &matches)))
}

/// Runs the verb of the command line. Returns the exit code.
fn run_verb(verb: &Verb, user_options: &UserOptions) -> anyhow::Result<u8> {
    interrupt::install_handlers()?;
    match verb {
        Verb::Run(args) => run::run(args, user_options),
        Verb::Matrix(args) => matrix::matrix(args, user_options),
        Verb::Report { verb } => match verb {
            ReportVerb::List(args) => report::list(args),
            ReportVerb::Show(args) => report::show(args),
            ReportVerb::History(args) => report::history(args),
            ReportVerb::Prune(args) => report::prune(args),
            ReportVerb::Merge(args) => report::merge(args),
        },
        Verb::Bench(args) => bench::bench(args, user_options),
        Verb::Bisect(args) => bisect::bisect(args, user_options),
        Verb::Diff(args) => diff::diff(args, user_options),
        Verb::Campaign(args) => campaign::campaign(args, user_options),
        Verb::Record(args) => record::record(args, user_options),
        Verb::Exec(args) => exec::exec(args, user_options),
        Verb::Sandbox { verb: SandboxVerb::Run(args) } => sandbox::run(args, user_options),
        Verb::Kselftest(args) => kselftest::kselftest(args, user_options),
        Verb::Kernels(args) => kernels::kernels(args),
        Verb::Doctor { format } => doctor::doctor(format),
        Verb::Setup { format } => doctor::set_up(format),
        Verb::Completions { install: true, .. } | Verb::Completions { shell: None, .. } => {
            completions::install()
        }
        Verb::Completions { shell: Some(shell), .. } => completions::print(*shell),
        Verb::Man { verb } => completions::man(verb.as_deref()),
    }
}
