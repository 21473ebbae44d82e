// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox kselftest`: builds the selftests of dispatch from a kernel tree, statically, and runs
//! them on that kernel.

use crate::cli::{GivenOptions, KselftestArgs, OutputFormat};
use crate::execute::{self, GuestCommand};
use crate::failure::{self, Failure};
use crate::output::progress::Progress;
use crate::{kernel, output, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use sudbox_images::{Cache, Ctx};
use sudbox_report::program::Execution;
use sudbox_report::selftests::{Selftest, SelftestOutcome, SelftestReport};

/// The selftests of dispatch, below `tools/testing/selftests`.
const TESTS: [&str; 2] = ["syscall_user_dispatch/sud_test", "ptrace/get_set_sud"];

/// UAPI headers taken from the kernel tree; all others are this machine's.
const HEADERS: [&str; 2] = ["linux/prctl.h", "linux/ptrace.h"];

/// Time limit of a test, that of kselftest (tools/testing/selftests/kselftest/runner.sh).
const TEST_TIME_LIMIT: Duration = Duration::from_secs(45);

/// Exit status of a test that cannot run here (`KSFT_SKIP`, kselftest.h).
const SKIPPED: u8 = 4;

/// Builds and runs the tests; 1 if one fails.
pub(crate) fn kselftest(args: &KselftestArgs, given: &GivenOptions) -> anyhow::Result<u8> {
    let kernel = args.kernel.as_deref().unwrap_or_default();
    execute::refuse_running_kernel(kernel)?;
    let mut progress = Progress::new();
    let cache = Cache::open()?;
    let request = kernel::new_request(kernel, &args.build, given)?;
    let selftests = sudbox_images::selftests(&mut Ctx::new(&cache, &mut progress), &request)?;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::machine(format!("no temporary directory: {error}")))?;
    let compiler = args.build.source.toolchain.cc.as_deref().unwrap_or("cc");
    let mut built = Vec::new();
    let mut report = SelftestReport { schema: 1, ..SelftestReport::default() };
    for test in TESTS {
        match build(&selftests.tree, test, folder.path(), compiler)? {
            Some(path) => built.push((test, path)),
            None => {
                progress.print("note", &format!("this kernel has no selftest {test}"));
                report.tests.push(selftest(test, SelftestOutcome::Absent));
            }
        }
    }
    if built.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no selftests of dispatch",
            selftests.tree.display()
        )));
    }
    let captures = args.format == OutputFormat::Json;
    let mut result = Ok(0);
    for (test, path) in built {
        if result.is_err() {
            report.tests.push(selftest(test, SelftestOutcome::NotRun));
            continue;
        }
        progress.print("selftest", test);
        let packed = program::pack_program(&[path.into()])?;
        let command = GuestCommand {
            name: test.to_owned(),
            packed,
            timeout: Some(TEST_TIME_LIMIT),
            boot_timeout: Duration::from_secs(args.boot.boot_timeout),
            captures,
        };
        let executed = execute::execute(command, kernel, &args.vm, &args.build, given)?;
        let outcome = match &executed.result {
            Ok(0) => SelftestOutcome::Pass,
            Ok(SKIPPED) => {
                progress.print("note", &format!("{test} was skipped"));
                SelftestOutcome::Skip
            }
            Ok(status) => {
                progress.print("failed", &format!("{test} exits with {status}"));
                result = Ok(1);
                SelftestOutcome::Fail
            }
            Err(_) => SelftestOutcome::Error,
        };
        if executed.result.is_err() {
            result = executed.result;
        }
        report.tests.push(Selftest { execution: executed.execution, ..selftest(test, outcome) });
        report.kernel = Some(executed.kernel);
        report.machine = Some(executed.machine);
    }
    if captures {
        report.exit_code = failure::exit_code(&result);
        output::print(&report.to_json())?;
    }
    result
}

/// A selftest that was not run.
fn selftest(name: &str, outcome: SelftestOutcome) -> Selftest {
    Selftest { name: name.to_owned(), outcome, execution: Execution::default() }
}

/// Builds one selftest; `None` if the tree does not have it.
fn build(tree: &Path, test: &str, to: &Path, compiler: &str) -> anyhow::Result<Option<PathBuf>> {
    let tests = tree.join("tools/testing/selftests");
    let source = tests.join(format!("{test}.c"));
    if !source.is_file() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| Failure::machine(format!("cannot copy headers: {error}"));
    // Other UAPI headers cannot be used by programs before `make headers`.
    let include = to.join("include");
    fs::create_dir_all(include.join("linux")).map_err(failed)?;
    for header in HEADERS {
        fs::copy(tree.join("include/uapi").join(header), include.join(header)).map_err(failed)?;
    }
    let program = to.join(test.replace('/', "-"));
    let output = Command::new(compiler)
        .args(["-static", "-O2", "-w", "-D_GNU_SOURCE=", "-I"])
        .arg(&tests)
        .arg("-isystem")
        .arg(&include)
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .map_err(|error| Failure::machine(format!("cannot run {compiler}: {error}")))?;
    if output.status.success() {
        return Ok(Some(program));
    }
    Err(Failure::machine(format!(
        "cannot build {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
