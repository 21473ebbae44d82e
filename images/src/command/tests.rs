// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

#[test]
fn only_listed_variables_are_inherited() {
    let variables = stdout_of(clean("env", Owner::default())).unwrap();
    for line in variables.lines() {
        let name = line.split('=').next().unwrap();
        let is_allowed = INHERITED_VARIABLES.contains(&name)
            || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || ["LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name);
        assert!(is_allowed, "{line} was inherited");
    }
    // cargo test sets variables that must not be inherited.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")), "the test can fail");
}
