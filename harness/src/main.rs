//! The `sudbox` command.

mod cli;
mod conduct;
mod doctor;
mod expectations;
mod failure;
mod folder;
mod guest;
mod interrupt;
mod judge;
mod kernel_log;
mod progress;
mod run;
mod selection;
mod setup;
mod symbols;
mod watch;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
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
        Verb::Doctor => doctor::doctor(),
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
