// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Completion in bash, zsh and fish, and man pages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use sudbox_tests::{ensure_installed, print_uncaptured, run, sudbox};

fn stdout_of(arguments: &[&str]) -> String {
    let mut command = sudbox();
    command.args(arguments);
    run(command).expect_code(0).stdout
}

/// A shell with sudbox's completion script.
struct Shell {
    name: &'static str,
    /// `sudbox` for `PATH`, the script, and a kernel image to complete.
    folder: tempfile::TempDir,
}

/// Script that completes `$line` and prints each offer on a line.
const BASH: &str = "
    source script
    COMP_LINE=$line COMP_POINT=${#line}
    _sudbox 2>/dev/null
    printf '%s\\n' \"${COMPREPLY[@]}\"";

/// The same as [`BASH`] for zsh. The completion functions of zsh work only at a terminal, so the script
/// defines replacements for them.
const ZSH: &str = "
    compdef() {}
    _files() { print -l -- *(N) }
    _describe() {
        local one
        for one in \"${(@P)3}\"; do
            one=${one//\\\\:/@colon@}
            print -r -- ${${one%%:*}//@colon@/:}${5:+/}
        done
    }
    source ./script
    words=(\"${(@s: :)line}\") CURRENT=$#words
    _sudbox";

/// The same as [`BASH`] for fish, which adds a description after a tab.
const FISH: &str = "
    source script
    complete --do-complete $line";

impl Shell {
    /// `None` if the shell is not installed.
    fn new(name: &'static str) -> Option<Shell> {
        if !ensure_installed(&[name], &[name]) {
            print_uncaptured(&format!("NOT RUN: completion in {name}: it is not installed"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let program = fs::canonicalize(sudbox().get_program()).expect("a program");
        symlink(program, folder.path().join("sudbox")).expect("a symbolic link");
        fs::write(folder.path().join("script"), stdout_of(&["completions", name])).expect("a file");
        fs::create_dir(folder.path().join("linux")).expect("a folder");
        fs::write(folder.path().join("vmlinux"), "").expect("a file");
        Some(Shell { name, folder })
    }

    /// The completions that are offered for the last word of a line.
    fn offers(&self, line: &str) -> Vec<String> {
        let script = match self.name {
            "bash" => BASH,
            "zsh" => ZSH,
            _ => FISH,
        };
        let mut command = Command::new(self.name);
        let path = std::env::var("PATH").expect("a PATH");
        command.env("PATH", format!("{}:{path}", self.path().display()));
        // A completion must not use the network.
        command.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        command.env("line", line).args(["-c", script]).current_dir(self.path());
        let result = run(command);
        assert!(result.elapsed.as_secs() < 20, "{:?}", result.elapsed);
        let words = result.stdout.lines().filter_map(|line| line.split('\t').next());
        words.map(str::to_owned).collect()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    fn check_offers(&self, line: &str, expected: &[&str]) {
        let offers = self.offers(line);
        for word in expected {
            assert!(offers.iter().any(|offer| offer == word), "{line}: no {word}: {offers:?}");
        }
    }
}

fn shells() -> impl Iterator<Item = Shell> {
    ["bash", "zsh", "fish"].into_iter().filter_map(Shell::new)
}

#[test]
fn cases_flavours_architectures_and_verbs_are_completed() {
    for shell in shells() {
        shell.check_offers("sudbox ", &["run", "bisect", "report"]);
        shell.check_offers("sudbox run --cases ", &["core", "all", "selector"]);
        shell.check_offers("sudbox run --cases selector/block", &["selector/block-dispatches"]);
        shell.check_offers("sudbox run --cases core,!sele", &["core,!selector"]);
        shell.check_offers("sudbox matrix --cases co", &["core"]);
        shell.check_offers("sudbox report history selector/block", &["selector/block-dispatches"]);
        shell.check_offers("sudbox run --flavour ", &["default", "full", "debug"]);
        shell.check_offers("sudbox run --arch ", &["x86_64", "riscv64"]);
        shell.check_offers("sudbox run --ex", &["--exact"]);
        assert!(!shell.offers("sudbox run --flavour d").contains(&"full".to_owned()));
    }
}

/// `run` is offered each kernel that `kernels` lists and `run` takes, and files.
#[test]
fn kernels_and_files_are_completed() {
    let mut command = sudbox();
    command.args(["kernels", "--format", "json"]);
    let list = run(command).expect_code(0).json();
    let kernels = list["kernels"].as_array().expect("kernels").iter();
    let kernels = kernels.filter(|kernel| {
        kernel["state"].as_str().is_some_and(|state| !state.starts_with("cached"))
    });
    let kernels: Vec<&str> = kernels.filter_map(|kernel| kernel["name"].as_str()).collect();
    assert!(kernels.contains(&"6.12"), "{kernels:?}");
    for shell in shells() {
        shell.check_offers("sudbox run ", &kernels);
        shell.check_offers("sudbox run ", &["running", "installed", "latest", "vmlinux", "linux/"]);
        shell.check_offers("sudbox exec --kernel ", &kernels);
        shell.check_offers("sudbox bench --compare ", &kernels);
        shell.check_offers("sudbox run ./vml", &["./vmlinux"]);
        let offers = shell.offers("sudbox run runn");
        assert_eq!(offers, ["running"], "{}", shell.name);
    }
}

/// bash replaces only the text after the `:`.
#[test]
fn packages_are_completed_after_a_colon() {
    let mut command = sudbox();
    command.args(["kernels"]);
    let listed = run(command).expect_code(0).stdout;
    let Some(package) = listed.lines().find_map(|line| line.strip_prefix("deb:")) else {
        print_uncaptured("NOT RUN: completion of packages: the distribution offers no kernels");
        return;
    };
    let series = package.split_whitespace().next().expect("a series");
    for shell in shells() {
        let offer = if shell.name == "bash" { series.to_owned() } else { format!("deb:{series}") };
        shell.check_offers("sudbox run deb:", &[&offer]);
    }
}

#[test]
fn every_verb_has_a_man_page() {
    let help = stdout_of(&["--help"]);
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<&str> =
        verbs.map_while(|line| line.split_whitespace().next()).filter(|v| *v != "help").collect();
    assert!(verbs.len() > 8, "{verbs:?}");
    for verb in verbs {
        let page = stdout_of(&["man", verb]);
        assert!(page.contains(".TH") && page.contains(verb), "{verb}: {page}");
    }
}
