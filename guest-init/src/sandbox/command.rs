// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `guest-init --sandbox ENGINE FILE`: runs a Windows program and prints its transcript.

use super::engine::{Engine, SandboxError};
use super::personalities::Nt;
use super::{pe, run};
use crate::{arch, probe, runner};

// Exit codes, with the meanings that they have for `sudbox`.
const DIED_EXIT_CODE: i32 = 1;
const NOT_AVAILABLE_EXIT_CODE: i32 = 125;
const MACHINE_EXIT_CODE: i32 = 128;
const USAGE_EXIT_CODE: i32 = 129;

/// Runs the program in the file `path` and prints its transcript. Returns the exit code of guest-init, which
/// is 0 if the program ran to its end, even if its own exit status is not 0. `engine` is the name of an
/// engine, or `any` for the first engine that the kernel supports.
#[must_use]
pub fn command(engine: &str, path: &str) -> i32 {
    match run_file(engine, path) {
        Ok(transcript) => {
            print!("{transcript}");
            0
        }
        Err((code, reason)) => {
            eprintln!("sudbox: {path}: {reason}");
            code
        }
    }
}

/// Runs the program and returns its transcript.
///
/// # Errors
/// The exit code and the reason.
fn run_file(engine: &str, path: &str) -> Result<String, (i32, String)> {
    if !arch::RUNS_PE {
        return Err((
            USAGE_EXIT_CODE,
            "Windows programs in PE files run on x86-64 only".to_owned(),
        ));
    }
    probe::probe_process();
    let engine = find_engine(engine)?;
    let bytes = std::fs::read(path).map_err(|error| (USAGE_EXIT_CODE, error.to_string()))?;
    let image = pe::read(&bytes).map_err(|refusal| (USAGE_EXIT_CODE, refusal.to_string()))?;
    runner::prepare().map_err(|error| (MACHINE_EXIT_CODE, error.to_string()))?;
    run(&image, &Nt, engine).map_err(|error| {
        let code = match error {
            SandboxError::Missing(_) => NOT_AVAILABLE_EXIT_CODE,
            SandboxError::Refused { .. } | SandboxError::TooLarge => USAGE_EXIT_CODE,
            SandboxError::System(..) => MACHINE_EXIT_CODE,
            SandboxError::Died => DIED_EXIT_CODE,
        };
        (code, error.to_string())
    })
}

/// Returns the engine with this name, or for `any` the first engine that the kernel supports.
///
/// # Errors
/// The exit code and the reason.
fn find_engine(name: &str) -> Result<Engine, (i32, String)> {
    let mut engines = Engine::ALL.into_iter();
    if name == "any" {
        return engines.find(|engine| engine.check_available().is_ok()).ok_or_else(|| {
            (NOT_AVAILABLE_EXIT_CODE, "this kernel offers no sandbox engine".to_owned())
        });
    }
    engines.find(|engine| engine.name() == name).ok_or_else(|| {
        let names = Engine::ALL.map(Engine::name).join(", ");
        (USAGE_EXIT_CODE, format!("there is no engine `{name}`: the engines are {names}, and any"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_engine_is_quoted_and_the_known_ones_are_listed() {
        for engine in Engine::ALL {
            assert_eq!(find_engine(engine.name()), Ok(engine));
        }
        let (code, why) = find_engine("magic").unwrap_err();
        assert_eq!(code, USAGE_EXIT_CODE);
        assert!(why.contains("`magic`"), "{why}");
        for engine in Engine::ALL {
            assert!(why.contains(engine.name()), "{why}");
        }
    }
}
