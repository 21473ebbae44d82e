// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packages of the distribution that some tests need.

use crate::print_uncaptured;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether these programs are in `PATH`. Installs the packages first if a program is missing and the
/// test runs as root.
#[must_use]
pub fn ensure_installed(programs: &[&str], packages: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all_found =
        || programs.iter().all(|program| dirs.iter().any(|dir| dir.join(program).is_file()));
    if all_found() {
        return true;
    }
    // SAFETY: geteuid() has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return false;
    }
    print_uncaptured(&format!("installing {}", packages.join(" ")));
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat();
    for words in [&["update", "-qq"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        let _ = apt.stdout(Stdio::null()).status();
    }
    all_found()
}
