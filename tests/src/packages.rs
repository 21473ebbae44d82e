// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What single tests need of the distribution.

use crate::say;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether these programs are there; root gets the packages installed that have them.
#[must_use]
pub fn installed(programs: &[&str], packages: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let there =
        || programs.iter().all(|program| dirs.iter().any(|dir| dir.join(program).is_file()));
    if there() {
        return true;
    }
    // SAFETY: geteuid() has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return false;
    }
    say(&format!("installing {}", packages.join(" ")));
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat();
    for words in [&["update", "-qq"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        let _ = apt.stdout(Stdio::null()).status();
    }
    there()
}
