// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox kselftest`: builds the selftests of dispatch from a kernel tree, statically, and runs
//! them on that kernel.

use crate::cli::{KselftestArgs, OutputFormat, UserOptions};
use crate::execute::{self, GuestCommand};
use crate::failure::{self, Code, Failure};
use crate::output::progress::Progress;
use crate::{interrupt, kernel, output, program};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use sudbox_images::{Cache, Ctx};
use sudbox_report::program::Execution;
use sudbox_report::selftests::{Selftest, SelftestOutcome, SelftestReport};
use sudbox_report::text;

/// The selftests of dispatch, below `tools/testing/selftests`.
const TESTS: [&str; 2] = ["syscall_user_dispatch/sud_test", "ptrace/get_set_sud"];

/// UAPI headers that are taken from the kernel tree. All other headers are those of this machine.
const HEADERS: [&str; 2] = ["linux/prctl.h", "linux/ptrace.h"];

/// Time limit of a test, equal to that of kselftest (tools/testing/selftests/kselftest/runner.sh).
const TEST_TIME_LIMIT: Duration = Duration::from_secs(45);

/// Exit status of a test that cannot run here (`KSFT_SKIP`, kselftest.h).
const SKIPPED: u8 = 4;

/// Maximum number of lines of the compiler's output that are printed for a test.
const MAX_COMPILER_LINES: usize = 8;

/// Builds and runs the tests. Returns the exit code: 1 if a test fails, else 125 if a test does not
/// compile.
pub(crate) fn kselftest(args: &KselftestArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let kernel = args.kernel.as_deref().unwrap_or_default();
    execute::refuse_running_kernel(kernel)?;
    let mut progress = Progress::new();
    let cache = Cache::open()?;
    let request = kernel::new_request(kernel, &args.build, user_options)?;
    let selftests = sudbox_images::selftests(&mut Ctx::new(&cache, &mut progress), &request)?;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::machine(format!("no temporary directory: {error}")))?;
    let compiler = args.build.source.toolchain.cc.as_deref().unwrap_or("cc");
    let mut builds = Vec::new();
    for test in TESTS {
        builds.push((test, build(&selftests.tree, test, folder.path(), compiler)?));
    }
    if builds.iter().all(|(_, build)| *build == Built::Absent) {
        return Err(Failure::usage(format!(
            "{} has no selftests of dispatch",
            selftests.tree.display()
        )));
    }
    let captures_output = args.format == OutputFormat::Json;
    let mut report = SelftestReport { schema: 1, ..SelftestReport::default() };
    let mut result = Ok(0);
    for (name, build) in builds {
        let (outcome, execution) = match build {
            Built::Absent => {
                progress.print("note", &format!("this kernel has no selftest {name}"));
                (SelftestOutcome::Absent, Execution::default())
            }
            Built::Refused(reason) => {
                let error = Some(format!("does not compile:\n{reason}"));
                (SelftestOutcome::NotCompiled, Execution { error, ..Execution::default() })
            }
            Built::Program(_) if result.is_err() => (SelftestOutcome::NotRun, Execution::default()),
            Built::Program(path) => {
                progress.print("selftest", name);
                let command = GuestCommand {
                    name: name.to_owned(),
                    packed: program::pack_program(&[path.into()])?,
                    timeout: Some(TEST_TIME_LIMIT),
                    boot_timeout: Duration::from_secs(args.boot.boot_timeout),
                    captures_output,
                };
                let program_run =
                    execute::execute(command, kernel, &args.vm, &args.build, user_options)?;
                let outcome = outcome_of(name, &program_run.result, &mut progress);
                if outcome == SelftestOutcome::Fail {
                    result = Ok(1);
                }
                if program_run.result.is_err() {
                    result = program_run.result;
                }
                report.kernel = Some(program_run.kernel);
                report.machine = Some(program_run.machine);
                (outcome, program_run.execution)
            }
        };
        report.tests.push(Selftest { name: name.to_owned(), outcome, execution });
    }
    // These notes come last, because the output of the other tests is long.
    for test in report.tests.iter().filter(|test| test.outcome == SelftestOutcome::NotCompiled) {
        let reason = test.execution.error.as_deref().unwrap_or_default();
        output::stderr_line(&format!("sudbox: {} was not tested: it {reason}", test.name));
        if matches!(result, Ok(0)) {
            result = Ok(Code::Unjudged as u8);
        }
    }
    if captures_output {
        report.exit_code = failure::exit_code(&result);
        output::print(&report.to_json())?;
    }
    result
}

/// The outcome of a selftest that was run. Prints a line unless it passed.
fn outcome_of(name: &str, result: &anyhow::Result<u8>, progress: &mut Progress) -> SelftestOutcome {
    match result {
        Ok(0) => SelftestOutcome::Pass,
        Ok(SKIPPED) => {
            progress.print("note", &format!("{name} was skipped"));
            SelftestOutcome::Skip
        }
        Ok(status) => {
            progress.print("failed", &format!("{name} exits with {status}"));
            SelftestOutcome::Fail
        }
        Err(_) => SelftestOutcome::Error,
    }
}

/// The result of building a selftest.
#[derive(Debug, PartialEq, Eq)]
enum Built {
    /// The path of the program.
    Program(PathBuf),
    /// The compiler refused the source. The text is the first lines of its output.
    Refused(String),
    /// The kernel tree does not have the test.
    Absent,
}

/// Builds one selftest in `folder`.
///
/// # Errors
/// If the compiler cannot build any program, or a signal interrupted the run.
fn build(tree: &Path, test: &str, folder: &Path, compiler: &str) -> anyhow::Result<Built> {
    let tests = tree.join("tools/testing/selftests");
    let source = tests.join(format!("{test}.c"));
    if !source.is_file() {
        return Ok(Built::Absent);
    }
    let copy_failure =
        |error: std::io::Error| Failure::machine(format!("cannot copy headers: {error}"));
    // Other UAPI headers cannot be used by programs before `make headers`.
    let include = folder.join("include");
    fs::create_dir_all(include.join("linux")).map_err(copy_failure)?;
    for header in HEADERS {
        fs::copy(tree.join("include/uapi").join(header), include.join(header))
            .map_err(copy_failure)?;
    }
    let program = folder.join(test.replace('/', "-"));
    match compile(compiler, &[&tests, &include], &source, &program)? {
        Ok(()) => Ok(Built::Program(program)),
        Err(reason) => {
            check_compiler(compiler, folder)?;
            Ok(Built::Refused(reason))
        }
    }
}

/// Checks that the compiler can build a static program.
///
/// # Errors
/// If the compiler cannot build a static program. The selftest is not at fault then.
fn check_compiler(compiler: &str, folder: &Path) -> anyhow::Result<()> {
    let source = folder.join("empty.c");
    fs::write(&source, "int main(void) { return 0; }\n")
        .map_err(|error| Failure::machine(format!("cannot write {}: {error}", source.display())))?;
    compile(compiler, &[], &source, &folder.join("empty"))?.map_err(|reason| {
        Failure::machine(format!(
            "{compiler} cannot build static programs here, which needs a static C library:\n{reason}"
        ))
    })
}

/// Compiles a C file to a static program. If the compiler refuses the file, the inner error has the
/// first lines of its output.
fn compile(
    compiler: &str,
    include_folders: &[&Path],
    source: &Path,
    program: &Path,
) -> anyhow::Result<Result<(), String>> {
    let output = Command::new(compiler)
        .args(["-static", "-O2", "-w", "-D_GNU_SOURCE="])
        .args(
            include_folders.iter().flat_map(|folder| [OsStr::new("-isystem"), folder.as_os_str()]),
        )
        .arg("-o")
        .args([program, source])
        .output()
        .map_err(|error| Failure::machine(format!("cannot run {compiler}: {error}")))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    // Ctrl-C ends the compiler too.
    if interrupt::is_pending() {
        return Err(Failure::interrupted());
    }
    let mut lines = text::escaped_lines(&String::from_utf8_lossy(&output.stderr));
    let omitted_count = lines.len().saturating_sub(MAX_COMPILER_LINES);
    lines.truncate(MAX_COMPILER_LINES);
    if omitted_count > 0 {
        lines.push(format!("({omitted_count} more lines)"));
    }
    Ok(Err(lines.join("\n")))
}
