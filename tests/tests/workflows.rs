// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration files of CI services: they are valid, and their steps work when run locally.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use sudbox_tests::{python, root};
use yaml_rust2::{Yaml, YamlLoader};

const CI: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";
const ACTION: &str = "action.yml";
const GITLAB: &str = ".gitlab-ci.yml";

fn yaml(file: &str) -> Yaml {
    let text = fs::read_to_string(root().join(file)).expect(file);
    YamlLoader::load_from_str(&text).expect(file).remove(0)
}

/// The command and the environment of each `run` step of a job or an action.
fn steps(steps: &Yaml) -> Vec<(String, BTreeMap<String, String>)> {
    let steps = steps.as_vec().expect("steps").iter();
    let text = |yaml: &Yaml| yaml.as_str().expect("text").to_owned();
    steps
        .filter(|step| !step["run"].is_badvalue())
        .map(|step| {
            let env = step["env"].as_hash().into_iter().flatten();
            (text(&step["run"]), env.map(|(key, value)| (text(key), text(value))).collect())
        })
        .collect()
}

fn lines(list: &Yaml) -> Vec<String> {
    let list = list.as_vec().expect("a list").iter();
    list.map(|line| line.as_str().expect("a line").to_owned()).collect()
}

/// Runs a step with the shell options of GitHub's runner. Returns the exit code.
fn run_step(script: &str, env: &BTreeMap<String, String>, directory: &Path) -> i32 {
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).envs(env);
    let status = bash.current_dir(directory).status().expect("bash starts");
    status.code().expect("an exit code")
}

/// The environment of a runner, with a PATH that contains the folder of `make install`.
fn runner_environment(home: &Path) -> BTreeMap<String, String> {
    let path_variable = std::env::var("PATH").expect("PATH");
    let path = |name: &str| home.join(name).to_str().expect("UTF-8").to_owned();
    fs::create_dir_all(path("temp")).expect("a folder");
    BTreeMap::from([
        ("CI".into(), "true".into()),
        ("PATH".into(), format!("{}:{path_variable}", path("bin"))),
        ("CARGO_INSTALL_ROOT".into(), path("")),
        ("RUNNER_TEMP".into(), path("temp")),
        ("GITHUB_OUTPUT".into(), path("output")),
        ("GITHUB_STEP_SUMMARY".into(), path("summary")),
        ("GITHUB_ACTION_PATH".into(), root().to_str().expect("UTF-8").into()),
    ])
}

#[test]
fn configuration_files_are_valid() {
    if let Some(bin) = python::environment_with("check-jsonschema") {
        for (schema, files) in [
            ("vendor.github-workflows", vec![CI, RELEASE]),
            ("vendor.github-actions", vec![ACTION]),
            ("vendor.gitlab-ci", vec![GITLAB]),
        ] {
            let mut check = Command::new(bin.join("check-jsonschema"));
            check.args(["--builtin-schema", schema]).args(&files).current_dir(root());
            assert!(check.status().expect("check-jsonschema starts").success(), "{files:?}");
        }
    }
    if let Some(bin) = python::environment_with("zizmor") {
        let mut lint = Command::new(bin.join("zizmor"));
        lint.args(["--offline", "--quiet", "--no-progress", ACTION, ".github"]);
        assert!(lint.current_dir(root()).status().expect("zizmor starts").success());
    }
}

/// Every service runs the same targets of make as `.ci/run`, in the same order.
#[test]
fn every_service_runs_the_same_targets() {
    let commands = ["make lint", "make setup", "make test-kernel", "make test"];
    let github = steps(&yaml(CI)["jobs"]["test"]["steps"]);
    let github: Vec<&str> = github.iter().map(|(run, _)| run.as_str()).collect();
    let (prepare, github) = github.split_first().expect("steps");
    assert_eq!(github, commands);
    let gitlab = &yaml(GITLAB)["test"];
    assert_eq!(lines(&gitlab["script"]), commands);
    let run = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    // With `CI` set, a test that needs iasl fails if iasl is missing.
    for prepare in [prepare, lines(&gitlab["before_script"]).join("\n").as_str(), run.as_str()] {
        assert!(prepare.contains("acpica-tools"), "{prepare}");
    }
    let position = |command: &&str| run.find(&format!("\" {command}\n")).expect(command);
    assert!(commands.iter().map(position).is_sorted(), "{commands:?}");
}

/// A machine of level 1 that froze and was replaced is counted, as is a test that did not run.
#[test]
fn the_closing_counts_of_ci_name_frozen_machines() {
    let run = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let program = run.split("awk '").nth(1).and_then(|rest| rest.split('\'').next());
    let log = tempfile::NamedTempFile::new().expect("a file");
    let lines = "test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured\n\
                 NOT RUN: iasl is not installed\n\
                 SEEN AGAIN: level 1 stalled (docs/kvm.md); booting another\n";
    fs::write(log.path(), lines).expect("the log is written");
    let awk = Command::new("awk").arg(program.expect("a program")).arg(log.path()).output();
    let counts = String::from_utf8(awk.expect("awk").stdout).expect("UTF-8");
    assert_eq!(counts, "3 passed, 0 failed, 3 skipped, 1 frozen\n");
}

/// The steps of the action judge the pinned kernel and a kernel that does not exist.
#[test]
fn the_action_writes_its_reports() {
    let home = tempfile::tempdir().expect("a folder");
    let mut env = runner_environment(home.path());
    let action = yaml(ACTION);
    let reports = home.path().join("temp/sudbox");
    let mut codes = Vec::new();
    for (script, given) in steps(&action["runs"]["steps"]) {
        for (name, value) in given {
            let value = match value.as_str() {
                "${{ inputs.kernels }}" => "6.12 deb:linux-image-none",
                "${{ inputs.cases }}" => "siginfo",
                "${{ inputs.flavours }}" | "${{ inputs.linux }}" | "${{ inputs.shard }}" => "",
                "${{ steps.judge.outputs.reports }}" => reports.to_str().expect("UTF-8"),
                other => panic!("{name}: this test has no value for {other}"),
            };
            env.insert(name, value.to_owned());
        }
        codes.push(run_step(&script, &env, home.path()));
    }
    assert_eq!(codes, [0, 0, 129, 0]);
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let output = read(&home.path().join("output"));
    assert_eq!(output, format!("reports={}\n", reports.display()));
    for (name, text) in [
        ("junit.xml", "<testsuite"),
        ("kcidb.json", "\"tests\""),
        ("matrix.html", "siginfo/code"),
        (
            "matrix.annotations",
            "::error title=deb%3Alinux-image-none%2C x86_64%2C default%3A not judged::",
        ),
    ] {
        assert!(read(&reports.join(name)).contains(text), "{name} without {text}");
    }
    assert!(read(&home.path().join("summary")).contains("siginfo"));
}

/// The job for GitLab leaves reports. Its `before_script` clones and installs sudbox.
#[test]
fn the_gitlab_job_writes_its_reports() {
    let home = tempfile::tempdir().expect("a folder");
    let mut env = runner_environment(home.path());
    env.insert("SUDBOX_URL".into(), format!("file://{}", root().display()));
    env.insert("KERNELS".into(), "6.12".into());
    env.insert("FLAVOURS".into(), String::new());
    env.insert("CASES".into(), "siginfo".into());
    let job = &yaml(GITLAB)[".sudbox"];
    for part in ["before_script", "script", "after_script"] {
        for line in lines(&job[part]) {
            assert_eq!(run_step(&line, &env, home.path()), 0, "{line}");
        }
    }
    for name in lines(&job["artifacts"]["paths"]).iter().map(String::as_str).chain(["junit.xml"]) {
        assert!(home.path().join(name).metadata().is_ok_and(|file| file.len() > 0), "{name}");
    }
}

/// The released binary judges a kernel in a directory without the checkout.
#[test]
fn the_release_judges_a_kernel() {
    let home = tempfile::tempdir().expect("a folder");
    let env = runner_environment(home.path());
    // The last step publishes the release, and is not run.
    let all_steps = steps(&yaml(RELEASE)["jobs"]["release"]["steps"]);
    let (publish, local_steps) = all_steps.split_last().expect("steps");
    assert!(publish.0.starts_with("gh release create"), "{publish:?}");
    let mut directory = root();
    for (script, _) in local_steps {
        assert_eq!(run_step(script, &env, directory), 0, "{script}");
        if script == "make dist" {
            let copied =
                Command::new("cp").arg("-r").arg(root().join("dist")).arg(home.path()).status();
            assert!(copied.expect("cp").success());
            directory = home.path();
        }
    }
    let check = "cd dist && sha256sum --check SHA256SUMS";
    assert_eq!(run_step(check, &env, home.path()), 0);
}
