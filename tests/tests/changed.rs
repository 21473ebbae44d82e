// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verdicts that compare a kernel with the recordings of its neighbours: the pinned kernels are as they were
//! recorded.

use sudbox_tests::{PINNED_SERIES, run, sudbox_run};

/// The cases whose observations are recorded.
const RECORDED: &str = "compare conserve ptrace/number-replaced";

#[test]
fn the_pinned_kernels_are_as_recorded() {
    for series in [PINNED_SERIES, "7.3"] {
        let result = run(sudbox_run(&[series, "--cases", RECORDED]));
        let result = result.expect_code(0);
        let (report, stderr) = (result.json(), &result.stderr);
        let recording = &report["recording"];
        let release = report["kernel"]["release"].as_str().expect("a release");
        assert_eq!(recording["releases"], serde_json::json!([release]), "{recording}");
        assert!(recording["compared"].as_u64() > Some(60), "{recording}");
        let changed = stderr.contains("differ from the recording");
        assert!(!changed, "{series} differs from its recording: run `make recordings`\n{stderr}");
        assert_eq!(report["totals"]["changed"], 0);
    }
}
