// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox completions` and `sudbox man`: completion scripts and man pages, printed or installed.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;
use crate::output::progress::Progress;
use clap::CommandFactory as _;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};
use sudbox_report::Printable;

/// Environment variable that a completion script sets to the name of its shell when it asks for
/// completions.
const SHELL_VARIABLE: &str = "SUDBOX_COMPLETE";

/// Prints the completions that a completion script asks for. Returns `false` if sudbox was not run
/// by a completion script.
///
/// # Errors
/// If the shell is unknown, or stdout cannot be written.
pub(crate) fn answer_completion_script() -> anyhow::Result<bool> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command)
        .var(SHELL_VARIABLE)
        .try_complete(std::env::args_os(), folder.as_deref())
        .map_err(|error| Failure::usage(format!("{SHELL_VARIABLE}: {error}")))
}

/// Prints the script of a shell. Returns the exit code.
pub(crate) fn print(shell: Shell) -> anyhow::Result<u8> {
    output::print(&Printable::document(&completion_script(shell)?))?;
    Ok(0)
}

/// Prints the man page of the command, or of one of its verbs. Returns the exit code.
pub(crate) fn man(verb: Option<&str>) -> anyhow::Result<u8> {
    let mut command = Cli::command();
    command.build();
    let command = match verb {
        None => command,
        Some(verb) => command
            .find_subcommand(verb)
            .cloned()
            .ok_or_else(|| Failure::usage(format!("no verb is called `{verb}`: see --help")))?,
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    output::print(&Printable::document(&String::from_utf8_lossy(&page)))?;
    Ok(0)
}

/// Writes the man pages, and the scripts for bash, zsh and fish, into the folders of this user.
/// Returns the exit code.
pub(crate) fn install() -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let home = std::env::home_dir()
        .ok_or_else(|| Failure::machine("HOME is not set: there is no place to install to"))?;
    let xdg_folder = |variable: &str, default: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        path.unwrap_or_else(|| home.join(default))
    };
    let data_folder = xdg_folder("XDG_DATA_HOME", ".local/share");
    let config_folder = xdg_folder("XDG_CONFIG_HOME", ".config");
    for (shell, path) in [
        (Shell::Bash, data_folder.join("bash-completion/completions/sudbox")),
        (Shell::Zsh, data_folder.join("zsh/site-functions/_sudbox")),
        (Shell::Fish, config_folder.join("fish/completions/sudbox.fish")),
    ] {
        make_folder(path.parent().unwrap_or(&data_folder))?;
        fs::write(&path, completion_script(shell)?).map_err(|error| cannot_write(&path, &error))?;
        progress.print("installed", &path.display().to_string());
    }
    let man_folder = data_folder.join("man/man1");
    make_folder(&man_folder)?;
    clap_mangen::generate_to(Cli::command(), &man_folder)
        .map_err(|error| cannot_write(&man_folder, &error))?;
    progress.print("installed", &format!("{} for man(1)", man_folder.display()));
    Ok(0)
}

/// The completion script of a shell. The script runs sudbox at each completion.
fn completion_script(shell: Shell) -> anyhow::Result<String> {
    match shell {
        Shell::Bash => Ok(include_str!("sudbox.bash").to_owned()),
        Shell::Zsh => Ok(include_str!("_sudbox").to_owned()),
        Shell::Fish => Ok(include_str!("sudbox.fish").to_owned()),
        _ => {
            let name = shell.to_string();
            let shells = Shells::builtins();
            let completer = shells
                .completer(&name)
                .ok_or_else(|| Failure::usage(format!("there is no script for {name}")))?;
            let mut script = Vec::new();
            completer.write_registration(
                SHELL_VARIABLE,
                "sudbox",
                "sudbox",
                "sudbox",
                &mut script,
            )?;
            Ok(String::from_utf8(script)?)
        }
    }
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> anyhow::Error {
    Failure::machine(format!("{} cannot be written: {error}", path.display()))
}
