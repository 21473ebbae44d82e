// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::fs;

const SERIES: Series = Series { major: 6, minor: 12 };

fn configuration(user: Option<&str>) -> Configuration {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), user.unwrap_or_default()).unwrap();
    let files: Vec<PathBuf> = user.map(|_| file.path().to_owned()).into_iter().collect();
    Configuration::new(Arch::X86_64, "default", &files).unwrap()
}

/// A .config with all required settings.
pub(crate) fn sufficient() -> String {
    let requirements = parse_required(REQUIRED_LIST).unwrap();
    let requirements =
        requirements.iter().filter(|n| n.applies_to(Arch::X86_64, "default", SERIES));
    requirements.map(|n| format!("{}={}\n", n.symbol, n.value)).collect()
}

#[test]
fn settings_are_read() {
    assert_eq!(parse_setting("CONFIG_A=y"), Some(("CONFIG_A", "y")));
    assert_eq!(parse_setting("# CONFIG_A is not set"), Some(("CONFIG_A", "n")));
    assert_eq!(parse_setting("CONFIG_B=\"a=b\""), Some(("CONFIG_B", "\"a=b\"")));
    assert_eq!(parse_setting("# CONFIG_A decides"), None);
    assert_eq!(parse_setting("# a comment"), None);
}

#[test]
fn the_last_setting_of_a_symbol_counts() {
    let merged = configuration(Some("CONFIG_MINE=y\n# CONFIG_SMP is not set\n"))
        .merge("# CONFIG_MINE is not set\nCONFIG_TINY=y\n");
    assert!(merged.contains("CONFIG_TINY=y\n") && merged.contains("CONFIG_MINE=y\n"));
    assert!(!merged.contains("# CONFIG_MINE") && !merged.contains("CONFIG_SMP=y"));
    assert!(merged.contains("# CONFIG_SMP is not set\n"));
}

#[test]
fn the_last_symbol_of_a_choice_counts() {
    let merged = configuration(None).merge("CONFIG_SLOB=y\n# CONFIG_SLUB is not set\n");
    assert!(merged.find("CONFIG_SLOB=y").unwrap() < merged.find("CONFIG_SLUB=y").unwrap());
}

#[test]
fn everything_that_is_missing_is_named() {
    assert!(!sufficient().is_empty());
    let own_count = configuration(None);
    assert_eq!(own_count.check(&sufficient(), SERIES).unwrap(), Vec::<String>::new());
    let requirements = parse_required(REQUIRED_LIST).unwrap();
    let error = own_count.check("", SERIES).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Kernel);
    for requirement in requirements.iter().filter(|n| n.applies_to(Arch::X86_64, "default", SERIES))
    {
        if requirement.value != "n" {
            assert!(error.to_string().contains(requirement.symbol), "{error}");
        }
    }
}

#[test]
fn a_fragment_that_unsets_a_required_symbol_is_bad_input() {
    let requirements = parse_required(REQUIRED_LIST).unwrap();
    let requirement =
        requirements.iter().find(|n| n.applies_to(Arch::X86_64, "default", SERIES)).unwrap();
    let user = configuration(Some(&format!("# {} is not set\n", requirement.symbol)));
    let error = user.check("", SERIES).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
    assert!(error.to_string().contains(requirement.symbol));
}

#[test]
fn a_setting_without_effect_is_reported() {
    let output = configuration(Some("CONFIG_NO_SUCH=y\n")).check(&sufficient(), SERIES).unwrap();
    assert_eq!(output.len(), 1);
    assert!(output[0].starts_with("CONFIG_NO_SUCH=y of "), "{output:?}");
}

#[test]
fn bad_input_is_refused() {
    let error = Configuration::new(Arch::X86_64, "vanilla", &[]).unwrap_err();
    assert!(error.to_string().contains("default, full"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "CONFIG_A=y\nhello\n").unwrap();
    let files = [file.path().to_owned()];
    let error = Configuration::new(Arch::X86_64, "default", &files).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
    assert!(error.to_string().contains("line 2"));
    let missing = [PathBuf::from("/no/such.config")];
    assert!(Configuration::new(Arch::X86_64, "default", &missing).is_err());
}

#[test]
fn conditions_of_required_lines() {
    let requirements =
        parse_required("CONFIG_A=y arch=x86_64 flavour=full since=6.5 before=7.3 # why\n\n# c\n")
            .unwrap();
    let [requirement] = &requirements[..] else { panic!("one") };
    let at = |major, minor| Series { major, minor };
    assert!(requirement.applies_to(Arch::X86_64, "full", at(6, 5)));
    assert!(!requirement.applies_to(Arch::X86_64, "default", at(6, 5)));
    assert!(!requirement.applies_to(Arch::X86_64, "full", at(6, 4)));
    assert!(!requirement.applies_to(Arch::X86_64, "full", at(7, 3)));
    assert!(parse_required("CONFIG_A=y sinc=6.5").is_err());
}
