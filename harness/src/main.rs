//! The `sudbox` command.

mod arch;
mod backend;
mod bench;
mod bisect;
mod cli;
mod conduct;
mod doctor;
mod exec;
mod expectations;
mod failure;
mod folder;
mod guest;
mod input;
mod interrupt;
mod judge;
mod kernel;
mod kernel_log;
mod kernels;
mod kselftest;
mod matrix;
mod merge;
mod overlap;
mod program;
mod progress;
mod rerun;
mod run;
mod running;
mod sandbox;
mod selection;
mod setup;
mod symbols;
mod watch;

use clap::{CommandFactory, Parser};
use cli::{Cli, ReportVerb, SandboxVerb, Verb};
use failure::Code;
use std::process::ExitCode;

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
        Verb::Report { verb: ReportVerb::Merge(args) } => merge::merge(args),
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
