// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The faults in `tests/faults/`: patches, each of which breaks one promise of a kernel.

use crate::root;
use std::fs;

/// The kernels that are broken: the pinned one and the newest, and the pinned one of every other
/// architecture.
pub const KERNELS: [&str; 5] = ["6.12", "7.3", "6.12-riscv64", "6.12-s390x", "6.12-aarch64"];

/// A patch that breaks a promise, and what its header says of it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// File in `tests/faults/`.
    pub patch: String,
    /// What becomes of the promise, in one sentence or two.
    pub says: String,
    /// `Cases:` ids or globs over them; of each, one at least must fail.
    pub cases: Vec<String>,
    /// `Kernels:` those to which the patch applies, of [`KERNELS`].
    pub kernels: Vec<String>,
    /// `Run:` arguments of `sudbox run` where the fault shows only on a certain machine.
    pub run: Vec<String>,
    /// Whether it changes a header, so that a rebuild takes longer.
    pub header: bool,
}

impl Fault {
    /// The name of the fault: its file without the extension.
    #[must_use]
    pub fn name(&self) -> &str {
        self.patch.strip_suffix(".patch").unwrap_or(&self.patch)
    }
}

/// Every fault, those of one kind of rebuild together.
///
/// # Panics
/// If a file cannot be read or its header is not whole.
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
    faults.sort_by(|a, b| (a.header, &a.patch).cmp(&(b.header, &b.patch)));
    faults
}

/// The files that a patch changes.
pub(crate) fn files_of(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().filter_map(|line| line.strip_prefix("+++ b/"))
}

/// Reads a patch's header: a licence, what breaks, and `Cases:`, `Kernels:` and `Run:`.
fn parse(patch: &str, text: &str) -> Result<Fault, String> {
    let (header, diff) = text.split_once("\n--- ").ok_or("no diff")?;
    let (says, fields) = header.split_once("\nCases:").ok_or("no Cases:")?;
    let says = says.strip_prefix("SPDX-License-Identifier: GPL-2.0-only\n").ok_or("no licence")?;
    let (cases, fields) = fields.split_once("\nKernels:").ok_or("no Kernels:")?;
    let (kernels, run) = fields.split_once("\nRun:").unwrap_or((fields, ""));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let fault = Fault {
        patch: patch.to_owned(),
        says: words(says).join(" "),
        cases: words(cases),
        kernels: words(kernels),
        run: words(run),
        header: files_of(diff).any(|file| file.ends_with(".h")),
    };
    if fault.says.is_empty() || fault.cases.is_empty() || fault.kernels.is_empty() {
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
        assert_eq!((fault.name(), fault.says.as_str(), fault.header), ("x", "It breaks.", true));
        assert_eq!((fault.cases, fault.kernels.len()), (vec!["a/b".to_owned(), "c/*".into()], 2));
        assert_eq!(fault.run, ["--cpus", "2"]);
    }

    #[test]
    fn a_header_that_is_not_whole_is_refused() {
        for what in ["SPDX-License-Identifier: GPL-2.0-only", "Cases:", "Kernels:", "--- a/"] {
            assert!(parse("x.patch", &PATCH.replacen(what, "", 1)).is_err(), "{what}");
        }
        assert!(parse("x.patch", &PATCH.replace("7.3", "7.9")).is_err());
        assert!(parse("x.patch", &PATCH.replace("It\nbreaks.", "")).is_err());
    }

    #[test]
    fn there_are_faults() {
        assert!(all().len() >= 40);
    }
}
