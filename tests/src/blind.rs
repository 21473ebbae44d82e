// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Blind sets: sets of slips (mistakes) in a kernel, written from its source alone by people who had not seen
//! the cases. Each slip is a patch `tests/blind/SET/NAME.patch` with a C program `NAME.c` beside it that
//! exits with 0 on the right kernel and with 1 on the broken one.

use crate::root;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel that every blind set is written for.
pub const KERNEL: &str = "7.3";

/// One slip of a blind set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// Name of the slip: its file names without the extension.
    pub name: String,
    /// The fault of the kernel, in one or two sentences.
    pub description: String,
    /// The kernel function that the patch changes.
    pub function: String,
    /// The patch.
    pub patch: PathBuf,
    /// The C program that detects the slip.
    pub program: PathBuf,
}

/// The folder of a blind set.
#[must_use]
pub fn set_folder(set: &str) -> PathBuf {
    root().join("tests/blind").join(set)
}

/// Reads the slips of a set, sorted by name.
///
/// # Errors
/// The set does not exist, a header is incomplete, or a slip has no C program; the error says which.
pub fn read_slips(set: &str) -> Result<Vec<Slip>, String> {
    let folder = set_folder(set);
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut slips = Vec::new();
    for entry in entries.flatten() {
        let patch = entry.path();
        if patch.extension().is_some_and(|extension| extension == "patch") {
            slips.push(parse_slip(&patch)?);
        }
    }
    slips.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(slips)
}

fn parse_slip(patch: &Path) -> Result<Slip, String> {
    let fail = |what: &str| format!("{}: {what}", patch.display());
    let text = fs::read_to_string(patch).map_err(|error| fail(&error.to_string()))?;
    let (description, function) = parse_header(&text).map_err(|what| fail(&what))?;
    let program = patch.with_extension("c");
    if !program.is_file() {
        return Err(fail("no C program beside it"));
    }
    let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Slip { name, description, function, patch: patch.to_owned(), program })
}

/// Returns the description and the function that a patch's header names.
fn parse_header(text: &str) -> Result<(String, String), String> {
    let (header, _) = text.split_once("\n--- ").ok_or("no diff")?;
    let rest = header
        .strip_prefix("SPDX-License-Identifier: GPL-2.0-only\n")
        .ok_or("no licence in the first line")?;
    let (description, function) = rest.split_once("\nFunction:").ok_or("no line `Function:`")?;
    let join = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (description, function) = (join(description), join(function));
    if description.is_empty() || function.is_empty() {
        return Err("an empty description or function".into());
    }
    Ok((description, function))
}

/// Compiles the C program of a slip to a static executable in `folder`.
///
/// # Errors
/// The program does not compile; the error is the compiler's output.
///
/// # Panics
/// If there is no C compiler.
pub fn compile(slip: &Slip, folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join(&slip.name);
    let output = Command::new("gcc")
        .args(["-static", "-O1", "-w", "-pthread", "-o"])
        .args([&program, &slip.program])
        .output()
        .expect("gcc is installed");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "SPDX-License-Identifier: GPL-2.0-only\n\nThe number\nis lost.\n\n\
                         Function: trigger_sigsys()\n\n--- a/x.c\n+++ b/x.c\n";

    #[test]
    fn a_header_is_read() {
        let expected = ("The number is lost.".to_owned(), "trigger_sigsys()".to_owned());
        assert_eq!(parse_header(PATCH), Ok(expected));
    }

    #[test]
    fn an_incomplete_header_is_refused() {
        for part in ["SPDX-License-Identifier", "Function:", "--- a/", "trigger_sigsys()"] {
            assert!(parse_header(&PATCH.replacen(part, "", 1)).is_err(), "{part}");
        }
    }
}
