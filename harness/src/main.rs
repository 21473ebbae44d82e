// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The `sudbox` command.

mod arch;
mod backend;
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
mod selection;
mod session;
mod setup;
mod symbols;
mod verb;

use clap::{CommandFactory, Parser};
use cli::{Cli, ReportVerb, SandboxVerb, Verb};
use failure::Code;
use std::process::ExitCode;
use verb::{bench, bisect, doctor, exec, kernels, kselftest, matrix, report, run, sandbox};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Code::Usage as u8 } else { 0 });
        }
    };
    let outcome = interrupt::install().map_err(Into::into).and_then(|()| match &cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Matrix(args) => matrix::matrix(args),
        Verb::Report { verb } => match verb {
            ReportVerb::List(args) => report::list(args),
            ReportVerb::Show(args) => report::show(args),
            ReportVerb::History(args) => report::history(args),
            ReportVerb::Prune(args) => report::prune(args),
            ReportVerb::Merge(args) => report::merge(args),
        },
        Verb::Bench(args) => bench::bench(args),
        Verb::Bisect(args) => bisect::bisect(args),
        Verb::Exec(args) => exec::exec(args),
        Verb::Sandbox { verb: SandboxVerb::Run(args) } => sandbox::run(args),
        Verb::Kselftest(args) => kselftest::kselftest(args),
        Verb::Kernels(args) => kernels::kernels(args),
        Verb::Doctor => doctor::doctor(),
        Verb::Setup => doctor::set_up(),
        Verb::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "sudbox", &mut std::io::stdout());
            Ok(0)
        }
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sudbox: {error:#}");
            ExitCode::from(failure::code(&error) as u8)
        }
    }
}
