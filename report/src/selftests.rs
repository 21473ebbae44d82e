// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel's own selftests and their outcomes: the JSON of `kselftest`.

use serde::Serialize;

use crate::Kernel;
use crate::forms::json::to_json;
use crate::program::Execution;
use crate::text::Printable;

/// The outcome of a selftest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum SelftestOutcome {
    /// The test exited with 0.
    Pass,
    /// The test exited with another status, or a signal killed the test.
    Fail,
    /// The test exited with `KSFT_SKIP` (kselftest.h), because it cannot run on this kernel or machine.
    Skip,
    /// The test did not start or end; `error` has the reason.
    Error,
    /// The test was not run, because an earlier test did not start or end.
    NotRun,
    /// The source of the test does not compile; `error` has the first lines of the compiler's output.
    NotCompiled,
    /// The source of this kernel does not have the test.
    Absent,
}

/// A selftest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Selftest {
    /// Name of the test: its path below `tools/testing/selftests`.
    pub name: String,
    /// Outcome of the test.
    pub outcome: SelftestOutcome,
    /// Output of the test, in TAP, and its end; empty if the test was not run.
    #[serde(flatten)]
    pub execution: Execution,
}

/// The selftests of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SelftestReport {
    /// Version of the schema.
    pub schema: u32,
    /// The kernel; null if no selftest was run.
    pub kernel: Option<Kernel>,
    /// The machine that the kernel ran on; null if no selftest was run.
    pub machine: Option<String>,
    /// The selftests.
    pub tests: Vec<Selftest>,
    /// The exit code of sudbox.
    pub exit_code: u8,
}

impl SelftestReport {
    /// The JSON document.
    #[must_use]
    pub fn to_json(&self) -> Printable {
        to_json(self)
    }
}
