// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs of the Python world that check what we write.

use crate::say;
use crate::tree::held;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The `bin` folder of an environment that has a package, and is kept; `None`, loudly, if it cannot
/// be had.
///
/// # Panics
/// If the cache cannot be written.
#[must_use]
pub fn with(package: &str) -> Option<PathBuf> {
    let (home, _lock) = held(&format!("python/{package}"));
    let bin = home.join("bin");
    // Written last: an environment that was interrupted is made again.
    let mark = home.join("installed");
    if !mark.exists() {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&home);
        let mut pip = Command::new(bin.join("python"));
        pip.args(["-m", "pip", "install", "--quiet", package]);
        let done = [venv, pip].into_iter().all(|mut command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        });
        if done {
            fs::write(&mark, "").expect("a mark");
        }
    }
    if mark.exists() {
        return Some(bin);
    }
    say(&format!("NOT RUN: pip cannot install {package} (python3-venv, a network?)"));
    None
}
