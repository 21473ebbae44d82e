// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The faults of `tests/faults/`: patches, each of which makes a kernel break one promise.

use crate::root;
use std::fs;

/// The kernels to which faults apply: the pinned and the newest kernel of x86-64, and the pinned kernel
/// of every other architecture.
pub const KERNELS: [&str; 5] = ["6.12", "7.3", "6.12-riscv64", "6.12-s390x", "6.12-aarch64"];

/// A patch that breaks a promise, with the fields of its header.
#[derive(Clone, Debug)]
pub struct Fault {
    /// File name in `tests/faults/`.
    pub patch: String,
    /// The way in which the promise is broken, in one or two sentences.
    pub description: String,
    /// `Cases:` case ids or globs. At least one case of each must fail.
    pub cases: Vec<String>,
    /// `Kernels:` the [`KERNELS`] to which the patch applies.
    pub kernels: Vec<String>,
    /// `Run:` more arguments of `sudbox run`, for a fault that has effects only on a certain machine.
    pub run: Vec<String>,
    /// Whether the patch changes a C header, so that more is rebuilt.
    pub changes_header: bool,
}

impl Fault {
    /// Name of the fault: its file name without the extension.
    #[must_use]
    pub fn name(&self) -> &str {
        self.patch.strip_suffix(".patch").unwrap_or(&self.patch)
    }
}

/// Every fault; those that change a C header come last.
///
/// # Panics
/// If a file cannot be read or its header is incomplete.
#[must_use]
pub fn all() -> Vec<Fault> {
    let dir = root().join("tests/faults");
    let mut faults: Vec<Fault> = fs::read_dir(&dir)
        .expect("tests/faults")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a UTF-8 name"))
        .filter(|name| name.ends_with(".patch"))
        .map(|name| {
            let text = fs::read_to_string(dir.join(&name)).expect("a patch");
            parse(&name, &text).unwrap_or_else(|what| panic!("{name}: {what}"))
        })
        .collect();
    faults.sort_by(|a, b| (a.changes_header, &a.patch).cmp(&(b.changes_header, &b.patch)));
    faults
}

/// The files that a patch changes.
pub(crate) fn changed_files(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().filter_map(|line| line.strip_prefix("+++ b/"))
}

/// Parses a patch's header: licence, description, `Cases:`, `Kernels:` and, optionally, `Run:`.
fn parse(patch: &str, text: &str) -> Result<Fault, String> {
    let (header, diff) = text.split_once("\n--- ").ok_or("no diff")?;
    let (description, fields) = header.split_once("\nCases:").ok_or("no Cases:")?;
    let description =
        description.strip_prefix("SPDX-License-Identifier: GPL-2.0-only\n").ok_or("no licence")?;
    let (cases, fields) = fields.split_once("\nKernels:").ok_or("no Kernels:")?;
    let (kernels, run) = fields.split_once("\nRun:").unwrap_or((fields, ""));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let fault = Fault {
        patch: patch.to_owned(),
        description: words(description).join(" "),
        cases: words(cases),
        kernels: words(kernels),
        run: words(run),
        changes_header: changed_files(diff).any(|file| file.ends_with(".h")),
    };
    if fault.description.is_empty() || fault.cases.is_empty() || fault.kernels.is_empty() {
        return Err("a field is empty".into());
    }
    match fault.kernels.iter().find(|kernel| !KERNELS.contains(&kernel.as_str())) {
        Some(kernel) => Err(format!("no tests break {kernel}")),
        None => Ok(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "SPDX-License-Identifier: GPL-2.0-only\n\nIt\nbreaks.\n\nCases: a/b\n  c/*\n\
                         Kernels: 6.12 7.3\nRun: --cpus 2\n\n--- a/x.h\n+++ b/x.h\n@@ -1 +1 @@\n";

    #[test]
    fn a_header_is_read() {
        let fault = parse("x.patch", PATCH).unwrap();
        assert_eq!((fault.name(), fault.description.as_str()), ("x", "It breaks."));
        assert!(fault.changes_header);
        assert_eq!((fault.cases, fault.kernels.len()), (vec!["a/b".to_owned(), "c/*".into()], 2));
        assert_eq!(fault.run, ["--cpus", "2"]);
    }

    #[test]
    fn an_incomplete_header_is_refused() {
        for what in ["SPDX-License-Identifier: GPL-2.0-only", "Cases:", "Kernels:", "--- a/"] {
            assert!(parse("x.patch", &PATCH.replacen(what, "", 1)).is_err(), "{what}");
        }
        assert!(parse("x.patch", &PATCH.replace("7.3", "7.9")).is_err());
        assert!(parse("x.patch", &PATCH.replace("It\nbreaks.", "")).is_err());
    }

    #[test]
    fn every_patch_of_the_folder_is_parsed() {
        assert!(all().len() >= 40);
    }
}
