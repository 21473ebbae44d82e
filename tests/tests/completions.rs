// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Completion in bash, zsh and fish, and man pages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use sudbox_tests::{ensure_installed, print_uncaptured, run, sudbox};

fn printed(arguments: &[&str]) -> String {
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

/// Completes `$line` and prints what is offered, one to a line.
const BASH: &str = "
    source script
    COMP_LINE=$line COMP_POINT=${#line}
    _sudbox 2>/dev/null
    printf '%s\\n' \"${COMPREPLY[@]}\"";

/// As [`BASH`]. The functions of zsh's completion system are those of a session at a terminal.
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

/// As [`BASH`]. fish adds a description after a tab.
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
        fs::write(folder.path().join("script"), printed(&["completions", name])).expect("a file");
        fs::create_dir(folder.path().join("linux")).expect("a folder");
        fs::write(folder.path().join("vmlinux"), "").expect("a file");
        Some(Shell { name, folder })
    }

    /// What is offered for the last word of a line.
    fn offers(&self, line: &str) -> Vec<String> {
        let script = match self.name {
            "bash" => BASH,
            "zsh" => ZSH,
            _ => FISH,
        };
        let mut command = Command::new(self.name);
        let path = std::env::var("PATH").expect("a PATH");
        command.env("PATH", format!("{}:{path}", self.path().display()));
        // Nothing may wait for the network.
        command.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        command.env("line", line).args(["-c", script]).current_dir(self.path());
        let ran = run(command);
        assert!(ran.elapsed.as_secs() < 20, "{:?}", ran.elapsed);
        let words = ran.stdout.lines().filter_map(|line| line.split('\t').next());
        words.map(str::to_owned).collect()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    fn is_offered(&self, line: &str, expected: &[&str]) {
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
fn cases_flavours_architectures_and_verbs() {
    for shell in shells() {
        shell.is_offered("sudbox ", &["run", "bisect", "report"]);
        shell.is_offered("sudbox run --cases ", &["core", "all", "selector"]);
        shell.is_offered("sudbox run --cases selector/block", &["selector/block-dispatches"]);
        shell.is_offered("sudbox run --cases core,!sele", &["core,!selector"]);
        shell.is_offered("sudbox matrix --cases co", &["core"]);
        shell.is_offered("sudbox report history selector/block", &["selector/block-dispatches"]);
        shell.is_offered("sudbox run --flavour ", &["default", "full", "debug"]);
        shell.is_offered("sudbox run --arch ", &["x86_64", "riscv64"]);
        shell.is_offered("sudbox run --ex", &["--exact"]);
        assert!(!shell.offers("sudbox run --flavour d").contains(&"full".to_owned()));
    }
}

/// `run` is offered each kernel that `kernels` lists and `run` takes, and files.
#[test]
fn kernels_beside_files() {
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
        shell.is_offered("sudbox run ", &kernels);
        shell.is_offered("sudbox run ", &["running", "installed", "latest", "vmlinux", "linux/"]);
        shell.is_offered("sudbox exec --kernel ", &kernels);
        shell.is_offered("sudbox bench --compare ", &kernels);
        shell.is_offered("sudbox run ./vml", &["./vmlinux"]);
        let offers = shell.offers("sudbox run runn");
        assert_eq!(offers, ["running"], "{}", shell.name);
    }
}

/// bash replaces only what follows the `:`.
#[test]
fn packages_after_a_colon() {
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
        shell.is_offered("sudbox run deb:", &[&offer]);
    }
}

#[test]
fn every_verb_has_a_man_page() {
    let help = printed(&["--help"]);
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<&str> =
        verbs.map_while(|line| line.split_whitespace().next()).filter(|v| *v != "help").collect();
    assert!(verbs.len() > 8, "{verbs:?}");
    for verb in verbs {
        let page = printed(&["man", verb]);
        assert!(page.contains(".TH") && page.contains(verb), "{verb}: {page}");
    }
}
