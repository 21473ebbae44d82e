// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Completion scripts and man pages.

use sudbox_tests::{run, sudbox};

fn printed(arguments: &[&str]) -> String {
    let mut command = sudbox();
    command.args(arguments);
    run(command).expect_code(0).stdout
}

#[test]
fn shells_are_told_cases_flavours_architectures_and_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for word in ["selector/block-dispatches", "debug", "riscv64", "bisect", "--exact"] {
            let plain = script.replace("\\", "");
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(plain.contains(word), "{shell} is not told {word}");
        }
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
