// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the output of make: its progress, and the cause of a failure.

use std::path::Path;

use crate::error::{BuildError, Error, is_full_disk};

/// Number of last lines of output in the message of a build that fails without an error line.
const LAST_LINES: usize = 6;

/// The information from make's output so far.
#[derive(Default)]
pub(super) struct MakeOutput {
    /// Number of `CC` lines.
    pub(super) compiled_files: u64,
    /// First error line.
    error: Option<String>,
    /// Whether a line reports a full disk.
    disk_was_full: bool,
    /// Whether a line reports that the compiler was killed.
    compiler_was_killed: bool,
    /// The last lines, except kbuild's lines such as `  LD      vmlinux`.
    last_lines: Vec<String>,
}

impl MakeOutput {
    /// Evaluates a line of output. Returns true for a `CC` line.
    pub(super) fn add_line(&mut self, line: &str) -> bool {
        if line.starts_with("  CC ") {
            self.compiled_files += 1;
            return true;
        }
        self.disk_was_full |= is_full_disk(line);
        self.compiler_was_killed |= line.contains("Killed signal terminated program");
        if self.error.is_none() && is_failure_cause(line) {
            self.error = Some(relative_to_source(line));
        }
        if !line.starts_with("  ") && !line.trim().is_empty() {
            if self.last_lines.len() == LAST_LINES {
                self.last_lines.remove(0);
            }
            self.last_lines.push(relative_to_source(line));
        }
        false
    }

    /// The error of a build that failed with this output.
    pub(super) fn into_error(self, target: &str, log: &Path) -> Error {
        if self.disk_was_full {
            return full_disk_error();
        }
        if self.compiler_was_killed {
            return BuildError::CompilerKilled.into();
        }
        let operation = if target.ends_with("config") { "configure" } else { "build" };
        let reason = self.error.unwrap_or_else(|| self.last_lines.join("; "));
        BuildError::Failed { operation, reason, log: log.to_owned() }.into()
    }
}

/// A compiler's message with paths relative to the source: make runs in a subdirectory of the
/// source, so the message has `../kernel/fork.c` for `kernel/fork.c`.
fn relative_to_source(line: &str) -> String {
    line.strip_prefix("../").unwrap_or(line).to_owned()
}

/// Whether a line names the cause of a failure: an error of the compiler, assembler, linker or
/// Kconfig, or a missing rule of make. Lines of make such as `Error 2` name no cause.
fn is_failure_cause(line: &str) -> bool {
    [": error: ", ": fatal error: ", ": Error: ", "undefined reference to", ": syntax error"]
        .iter()
        .any(|mark| line.contains(mark))
        || line.contains("*** No rule to make target")
}

/// The error of a build that found no space on a disk.
pub(super) fn full_disk_error() -> Error {
    Error::DiskFull("write the output of the kernel build (in the cache or in TMPDIR)".into())
}
