// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `guest-init --sandbox ENGINE FILE`: runs a Windows program and prints its transcript.

use super::engine::{Engine, SandboxError};
use super::personalities::Nt;
use super::{pe, run};
use crate::{arch, probe, runner};

/// Exit codes, as the whole project uses them.
const DIED: i32 = 1;
const NOT_OFFERED: i32 = 125;
const MACHINE: i32 = 128;
const USAGE: i32 = 129;

/// Runs the program and gives the exit code: 0 if the program ended by itself, with any status. The
/// engine `any` is the first that the kernel offers.
#[must_use]
pub fn command(engine: &str, path: &str) -> i32 {
    match try_run(engine, path) {
        Ok(transcript) => {
            print!("{transcript}");
            0
        }
        Err((code, why)) => {
            eprintln!("sudbox: {path}: {why}");
            code
        }
    }
}

/// Runs the program and gives its transcript, or the exit code and the reason.
fn try_run(engine: &str, path: &str) -> Result<String, (i32, String)> {
    if !arch::RUNS_PE {
        return Err((USAGE, "Windows programs in PE files run on x86-64 only".to_owned()));
    }
    let engines = || Engine::ALL.into_iter();
    probe::find(false);
    let engine = match engine {
        "any" => engines().find(|engine| engine.offered().is_ok()),
        name => engines().find(|engine| engine.name() == name),
    };
    let engine = engine.ok_or((USAGE, "there is no such engine".to_owned()))?;
    let bytes = std::fs::read(path).map_err(|error| (USAGE, error.to_string()))?;
    let image = pe::read(&bytes).map_err(|refusal| (USAGE, refusal.to_string()))?;
    runner::prepare().map_err(|problem| (MACHINE, problem.to_string()))?;
    run(&image, &Nt, engine).map_err(|problem| {
        let code = match problem {
            SandboxError::Missing(_) => NOT_OFFERED,
            SandboxError::Refused { .. } | SandboxError::TooLarge => USAGE,
            SandboxError::System(..) => MACHINE,
            SandboxError::Died => DIED,
        };
        (code, problem.to_string())
    })
}
