// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Python packages that check sudbox's output formats.

use crate::print_uncaptured;
use crate::tree::lock_in_cache;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The `bin` folder of a virtual environment with a package, kept in the cache. Prints `NOT RUN` and
/// returns `None` if the package cannot be installed.
///
/// # Panics
/// If the cache cannot be written.
#[must_use]
pub fn environment_with(package: &str) -> Option<PathBuf> {
    let (home, _lock) = lock_in_cache(&format!("python/{package}"));
    let bin = home.join("bin");
    // This file is written last, so that an interrupted installation is repeated.
    let installed_file = home.join("installed");
    if !installed_file.exists() {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&home);
        let mut pip = Command::new(bin.join("python"));
        pip.args(["-m", "pip", "install", "--quiet", package]);
        let succeeded = [venv, pip].into_iter().all(|mut command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        });
        if succeeded {
            fs::write(&installed_file, "").expect("an empty file");
        }
    }
    if installed_file.exists() {
        return Some(bin);
    }
    print_uncaptured(&format!("NOT RUN: pip cannot install {package} (python3-venv, a network?)"));
    None
}
