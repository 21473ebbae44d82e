// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox exec` and `sudbox kselftest`: programs of this machine on the pinned kernel.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use sudbox_tests::{RunOutput, run, run_on_terminal, start, sudbox, unbuildable_tree};

fn exec(options: &[&str], program: &[&str]) -> Command {
    let mut command = sudbox();
    command.arg("exec").args(options).arg("--").args(program);
    command
}

/// Runs a command with this stdin.
fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sudbox");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A write error is no failure, because the command may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the output of the command");
    writer.join().expect("a thread");
    output
}

/// Writes an executable file.
fn write_program(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a file");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn a_program_gets_stdin_directory_and_environment_and_its_output_and_status_are_forwarded() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = dir.path().canonicalize().expect("a path");
    let script = "echo out; echo err >&2; pwd; echo \"$SUDBOX_WORD $0\"; read -r line; echo $line; \
                  exit 7";
    let mut command = exec(&[], &["sh", "-c", script, "zero"]);
    command.current_dir(&directory).env("SUDBOX_WORD", "a b  c");
    let output = run_with_input(command, b"hello\n");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let expected = format!("out\n{}\na b  c zero\nhello\n", directory.display());
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "err\n");
}

#[test]
fn json_has_output_status_kernel_and_machine() {
    let script = "echo out; echo err >&2; exit 7";
    let result = run(exec(&["--format", "json"], &["sh", "-c", script])).expect_code(7);
    assert!(result.stderr.is_empty(), "{}", result.stderr);
    let report = result.json();
    let texts = ["program", "stdout", "stderr"].map(|field| report[field].as_str());
    assert_eq!(texts, [Some("sh"), Some("out\n"), Some("err\n")]);
    assert_eq!([&report["schema"], &report["exit_status"], &report["exit_code"]], [1, 7, 7]);
    for absent in ["signal", "kernel_fault", "error", "stdout_base64", "stderr_base64"] {
        assert!(report[absent].is_null(), "{absent}: {report}");
    }
    assert!(
        report["kernel"]["release"].as_str().is_some_and(|release| release.starts_with("6.12"))
    );
    assert!(report["machine"].as_str().is_some_and(|machine| !machine.is_empty()), "{report}");
}

#[test]
fn json_has_the_signal_or_the_reason_why_the_program_did_not_end() {
    let killed = run(exec(&["--format", "json"], &["sh", "-c", "kill -SEGV $$"]));
    let killed = killed.expect_code(128 + 11).json();
    assert_eq!([&killed["signal"], &killed["exit_code"]], [11, 128 + 11], "{killed}");
    assert!(killed["exit_status"].is_null(), "{killed}");

    let endless = ["sh", "-c", "echo begun; while :; do :; done"];
    let endless = run(exec(&["--format", "json", "--timeout", "2"], &endless)).expect_code(124);
    assert_eq!(endless.stderr, "sudbox: sh did not end within 2 s\n");
    let endless = endless.json();
    assert_eq!([&endless["stdout"], &endless["error"]], ["begun\n", "sh did not end within 2 s"]);
    assert_eq!(endless["exit_code"], 124);

    let options = ["--format", "json", "--append", "sysctl.vm.panic_on_oom=2", "--memory", "96"];
    let greedy = "echo start; a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done";
    let died = run(exec(&options, &["sh", "-c", greedy])).expect_code(125).json();
    assert_eq!((&died["stdout"], &died["exit_code"]), (&"start\n".into(), &125.into()), "{died}");
    let error = died["error"].as_str().unwrap_or_else(|| panic!("{died}"));
    assert!(error.contains("the kernel died while sh ran: "), "{error}");
    assert!(died["kernel_fault"].as_str().is_some_and(|fault| error.contains(fault)), "{died}");

    let options = ["--format", "json", "--console"];
    let script = "echo begun; echo ready >/dev/console; while :; do :; done";
    let mut running = start(exec(&options, &["sh", "-c", script]));
    running.wait_for("ready");
    running.signal(libc::SIGINT);
    let interrupted = running.finish().expect_code(130).json();
    assert_eq!([&interrupted["stdout"], &interrupted["error"]], ["begun\n", "interrupted"]);
    assert_eq!(interrupted["exit_code"], 130);
}

#[test]
fn the_console_keeps_colours_and_tabs_on_a_terminal_only() {
    let script = r"printf '\033[31mred\t\033[2J\033]0;title\007x\n::error::y\n' >/dev/console";
    let on_terminal = run_on_terminal(100, exec(&["--console"], &["sh", "-c", script]));
    assert!(
        on_terminal
            .contains("\x1b[31mred\t\\u{1b}[2J\\u{1b}]0;title\\u{7}x\x1b[0m\r\n\\u{3a}:error::y"),
        "{on_terminal:?}"
    );
    let in_file = run(exec(&["--console"], &["sh", "-c", script])).expect_code(0).stderr;
    assert!(in_file.contains(r"\u{1b}[31mred \u{1b}[2J"), "{in_file:?}");
    assert!(!in_file.contains(['\x1b', '\t', '\r', '\x07']), "{in_file:?}");
}

#[test]
fn json_keeps_bytes_that_are_not_utf8() {
    let script = "printf 'a\\377'; printf '\\200b' >&2";
    let report = run(exec(&["--format", "json"], &["sh", "-c", script])).expect_code(0).json();
    let fields = ["stdout", "stdout_base64", "stderr", "stderr_base64"];
    // The base64 is the output of: printf 'a\377' | base64; printf '\200b' | base64
    let expected = ["a\u{fffd}", "Yf8=", "\u{fffd}b", "gGI="];
    assert_eq!(fields.map(|field| report[field].as_str()), expected.map(Some), "{report}");
}

#[test]
fn json_has_a_bounded_part_of_a_long_output() {
    let command = exec(&["--format", "json"], &["head", "-c", "9437184", "/dev/zero"]);
    let result = run(command).expect_code(0);
    assert!(result.stderr.contains("the first 8 MiB that head wrote to stdout"));
    let report = result.json();
    assert_eq!(report["stdout"].as_str().map(str::len), Some(8 << 20));
    assert_eq!([&report["stdout_omitted_bytes"], &report["stderr_omitted_bytes"]], [1 << 20, 0]);
}

#[test]
fn an_error_before_the_program_starts_prints_no_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = unbuildable_tree(dir.path());
    for (options, program, code, words) in [
        (&["--format", "json"][..], "./no-such-program", 129, "no such program"),
        (&["--format", "json", "--kernel", "banana"], "true", 129, "kernel banana: neither"),
        (&["--format", "json", "--kernel", &tree], "true", 125, "sudbox: "),
    ] {
        run(exec(options, &[program])).expect_error(code, &[words]);
    }
}

#[test]
fn the_exit_code_of_a_killed_program_is_128_plus_the_signal() {
    let _ = run(exec(&[], &["sh", "-c", "kill -SEGV $$"])).expect_code(128 + 11);
}

#[test]
fn input_and_output_of_four_megabytes_are_forwarded() {
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let output = run_with_input(exec(&[], &["cat"]), &input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input, "{} bytes of {}", output.stdout.len(), input.len());
    // A program that does not read its input ends too.
    assert_eq!(run_with_input(exec(&[], &["true"]), &input).status.code(), Some(0));
}

#[test]
fn a_closed_stdout_ends_the_program_with_sigpipe() {
    let mut command = exec(&[], &["sh", "-c", "while :; do echo yes; done"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("sudbox");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("an exit status").code(), Some(128 + libc::SIGPIPE));
}

#[test]
fn a_script_runs_by_its_interpreter() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("script");
    write_program(&path, b"#!/bin/sh -e\necho \"$1 $#\"\nfalse\necho not here\n");
    let result = run(exec(&[], &[path.to_str().expect("UTF-8"), "one", "two"])).expect_code(1);
    assert_eq!(result.stdout, "one 2\n");
}

#[test]
fn programs_that_cannot_run_are_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let valid = fs::read("/bin/true").expect("a program");
    let mut foreign = valid.clone();
    // e_machine: EM_AARCH64.
    foreign[18] = 183;
    write_program(&path("foreign"), &foreign);
    let mut without_library = valid.clone();
    let name =
        without_library.windows(9).position(|bytes| bytes == b"libc.so.6").expect("a library");
    without_library[name + 3] = b'x';
    write_program(&path("without-library"), &without_library);
    write_program(&path("truncated"), &valid[..100]);
    write_program(&path("text"), b"hello\n");
    let interpreter = path("interpreter-script");
    write_program(&path("script-of-script"), format!("#!{}\n", interpreter.display()).as_bytes());
    write_program(&interpreter, b"#!/bin/sh\n");
    fs::write(path("not-executable"), &valid).expect("a file");
    for (name, words) in [
        ("nowhere", "no such program"),
        ("not-executable", "chmod +x"),
        ("foreign", "machine is number 183"),
        ("without-library", "libx.so.6, which "),
        ("truncated", "damaged"),
        ("text", "no ELF file"),
        ("script-of-script", "is a script too"),
        (".", "is a directory"),
    ] {
        let path = path(name);
        let result = run(exec(&[], &[path.to_str().expect("UTF-8")])).expect_code(129);
        assert!(
            result.stderr.starts_with("sudbox: ") && result.stderr.contains(words),
            "{}",
            result.stderr
        );
        assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
        assert!(result.stdout.is_empty(), "{}", result.stdout);
    }
    let result = run(exec(&[], &["no-such-program"])).expect_code(129);
    assert!(result.stderr.contains("is in PATH"), "{}", result.stderr);
    let _ = run(exec(&[], &[])).expect_code(129);
    let result = run(exec(&["--kernel", "running"], &["true"])).expect_code(129);
    assert!(result.stderr.contains("without sudbox"), "{}", result.stderr);
}

#[test]
fn an_endless_program_ends_at_the_timeout() {
    let result =
        run(exec(&["--timeout", "2"], &["sh", "-c", "while :; do :; done"])).expect_code(124);
    assert!(result.stderr.contains("did not end within 2 s"), "{}", result.stderr);
}

#[test]
fn a_program_is_interrupted_and_nothing_is_left() {
    let mut running = start(exec(&[], &["sh", "-c", "echo ready >&2; while :; do :; done"]));
    running.wait_for("ready");
    running.signal(libc::SIGINT);
    let _ = running.finish().expect_code(130);
}

#[test]
fn a_crash_of_the_kernel_is_not_blamed_on_the_program() {
    let options = ["--append", "sysctl.vm.panic_on_oom=2", "--memory", "96"];
    let greedy = "echo start; a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done";
    let result = run(exec(&options, &["sh", "-c", greedy])).expect_code(125);
    assert_eq!(result.stdout, "start\n");
    assert!(result.stderr.contains("the kernel died while sh ran: "), "{}", result.stderr);
    assert!(result.stderr.contains("ut of memory"), "{}", result.stderr);
    let result =
        run(exec(&["--append", "init=/nowhere rdinit=/nowhere"], &["true"])).expect_code(125);
    assert!(
        result.stderr.contains("the kernel died before true was started: "),
        "{}",
        result.stderr
    );
}

#[test]
fn a_kernels_own_selftests_run_on_it() {
    let mut command = sudbox();
    command.arg("kselftest");
    let result = run(command).expect_code(0);
    for line in ["ok 1 global.dispatch_trigger_sigsys", "ok 1 global.get_set_sud"] {
        assert!(result.stdout.lines().any(|printed| printed == line), "{}", result.stdout);
    }
    assert!(!result.stdout.contains("not ok"), "{}", result.stdout);
    let mut command = sudbox();
    command.args(["kselftest", "/no/such/tree"]);
    let _ = run(command).expect_code(129);
    let mut command = sudbox();
    command.args(["kselftest", "--format", "json"]);
    let report = run(command).expect_code(0).json();
    assert_eq!([&report["schema"], &report["exit_code"]], [1, 0], "{report}");
    assert_eq!(report["kernel"]["flavour"], "default", "{report}");
    let tests = report["tests"].as_array().expect("tests");
    let names: Vec<&str> = tests.iter().filter_map(|test| test["name"].as_str()).collect();
    assert_eq!(names, ["syscall_user_dispatch/sud_test", "ptrace/get_set_sud"]);
    for test in tests {
        assert_eq!((&test["outcome"], &test["exit_status"]), (&"pass".into(), &0.into()), "{test}");
        assert!(test["stdout"].as_str().is_some_and(|tap| tap.contains("\nok 1 ")), "{test}");
    }
}

/// `sudbox kselftest` with this shell script as `cc`. The variable `compiler` of the script is the path
/// of the installed compiler.
fn kselftest_with_compiler(script: &str, options: &[&str]) -> RunOutput {
    let path = std::env::var("PATH").expect("a PATH");
    let mut compilers = std::env::split_paths(&path).map(|folder| folder.join("cc"));
    let compiler = compilers.find(|path| path.exists()).expect("cc is installed");
    let bin = tempfile::tempdir().expect("a directory");
    let script = format!("#!/bin/sh\ncompiler={}\n{script}\n", compiler.display());
    write_program(&bin.path().join("cc"), script.as_bytes());
    let mut command = sudbox();
    command.env("PATH", format!("{}:{path}", bin.path().display()));
    command.arg("kselftest").args(options);
    run(command)
}

#[test]
fn other_selftests_run_if_one_does_not_compile() {
    let refuses_one = r#"
        case "$*" in *get_set_sud.c) set -- -include /no/such/header.h "$@";; esac
        exec "$compiler" "$@""#;
    let text = kselftest_with_compiler(refuses_one, &["--quiet"]).expect_code(125);
    assert!(text.stdout.contains("ok 1 global.dispatch_trigger_sigsys\n"), "{}", text.stdout);
    assert!(!text.stdout.contains("get_set_sud"), "{}", text.stdout);
    let message = "sudbox: ptrace/get_set_sud was not tested: it does not compile:\n";
    let (_, why) = text.stderr.split_once(message).unwrap_or_else(|| panic!("{}", text.stderr));
    assert!(why.contains("/no/such/header.h"), "{why}");
    assert!((1..=9).contains(&why.lines().count()), "{why}");

    let report = kselftest_with_compiler(refuses_one, &["--format", "json"]).expect_code(125);
    let report = report.json();
    let outcomes = [0, 1].map(|test| report["tests"][test]["outcome"].as_str());
    assert_eq!(outcomes, [Some("pass"), Some("not-compiled")], "{report}");
    let error = report["tests"][1]["error"].as_str().unwrap_or_else(|| panic!("{report}"));
    assert!(error.starts_with("does not compile:\n") && error.contains("/no/such/header.h"));
    assert_eq!(report["exit_code"], 125);
}

#[test]
fn without_a_selftest_that_compiles_no_kernel_is_run() {
    let refuses_all = r#"
        case "$*" in */selftests/*) set -- -include /no/such/header.h "$@";; esac
        exec "$compiler" "$@""#;
    let report = kselftest_with_compiler(refuses_all, &["--format", "json"]).expect_code(125);
    assert_eq!(report.stderr.matches("was not tested: it does not compile").count(), 2);
    let report = report.json();
    assert!(report["kernel"].is_null() && report["machine"].is_null(), "{report}");

    // A compiler that cannot build any static program is a fault of the machine.
    let broken = "echo cannot find -lc >&2; exit 1";
    let result = kselftest_with_compiler(broken, &[]);
    assert!(result.stderr.ends_with("\ncannot find -lc\n"), "{}", result.stderr);
    result.expect_error(128, &["cc cannot build static programs here"]);
}

/// The host reads a program's ELF interpreter, which may be untrusted, but never runs it.
#[test]
fn an_interpreter_is_not_run_on_the_host() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = dir.path().canonicalize().expect("a path");
    let path = |name: &str| directory.join(name);
    let (interpreter, written_file) = (path("interpreter"), path("written"));
    write_program(
        &interpreter,
        format!("#!/bin/sh\necho run > {}\n", written_file.display()).as_bytes(),
    );
    let (program, source) = (path("program"), path("program.c"));
    fs::write(&source, "int main(void) { return 0; }\n").expect("a file");
    let status = Command::new("gcc")
        .arg(format!("-Wl,--dynamic-linker={}", interpreter.display()))
        .arg("-o")
        .args([&program, &source])
        .status()
        .expect("gcc is installed");
    assert!(status.success());
    // In the guest, the kernel does not accept a script as ELF interpreter, so the program fails.
    let result = run(exec(&[], &[program.to_str().expect("UTF-8")]));
    assert_ne!(result.code, 0, "{}", result.stderr);
    assert!(!written_file.exists(), "the interpreter ran on the host");
}
